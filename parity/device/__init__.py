"""The device of a run: what it is, what it can compute in, and whether it is still there."""
