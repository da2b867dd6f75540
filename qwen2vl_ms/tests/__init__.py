"""Tests of the port; the only place in it that imports the reference."""
