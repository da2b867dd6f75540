"""Floats narrower than 32 bits: float32 in memory, their own 16 bits on disk.

NumPy has no bfloat16, and arithmetic on its float16 rounds at every step. So a narrow tensor is
worked on as float32, which holds each of its values exactly, and stored as what it was.
"""

from __future__ import annotations

import numpy as np

from parity.core.trace import Array

NARROW = {"bfloat16": np.dtype(np.uint16), "float16": np.dtype(np.float16)}
"""What is stored of each; bfloat16 as its bits."""


def pack(array: Array, dtype: str) -> Array:
    """Values of the narrow ``dtype``, held as float32, as they are stored.

    Raises:
        ValueError: a value is not one of ``dtype``'s, so that storing it would change it.
    """
    if array.dtype != np.float32:
        raise ValueError(f"{dtype} values come as float32, not as {array.dtype}")
    if dtype == "bfloat16":
        packed = np.asarray(array.view(np.uint32) >> 16, np.uint16)
    else:
        with np.errstate(over="ignore"):
            packed = array.astype(np.float16)
    if not np.array_equal(unpack(packed, dtype), array, equal_nan=True):
        raise ValueError(f"not every value is one of {dtype}'s")
    return packed


def unpack(stored: Array, dtype: str) -> Array:
    """What :func:`pack` was given.

    Raises:
        ValueError: ``stored`` does not hold ``dtype``.
    """
    if stored.dtype != NARROW[dtype]:
        raise ValueError(f"{dtype} is stored as {NARROW[dtype]}, not as {stored.dtype}")
    if dtype == "float16":
        return stored.astype(np.float32)
    bits = np.asarray(np.left_shift(stored, 16, dtype=np.uint32))
    return bits.view(np.float32)
