"""Portable bundles: a captured reference that travels to a machine without PyTorch."""
