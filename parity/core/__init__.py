"""What a number and a verdict mean: NumPy and the standard library only, no framework."""
