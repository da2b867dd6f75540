"""The one exception the port raises for input it cannot accept."""


class Qwen2VLError(ValueError):
    """Bad input: the message names what was wrong, where, and what to do about it."""
