"""What is compared with what: one file a model."""
