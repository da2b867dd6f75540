"""One failing module by itself: a folder that shows the failure without the rest of the model."""
