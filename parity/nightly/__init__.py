"""The nightly job: is the machine fit, does the port hold, did anything get worse, what to say."""
