"""The candidate in processes of its own, which may hang or die without ending the run."""
