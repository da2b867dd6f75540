"""MindSpore's values as NumPy arrays, hashes and names of dtypes."""

from __future__ import annotations

from typing import Any

import numpy as np
from mindspore import Tensor

from parity.core.narrow import NARROW
from parity.core.store import tensor_name
from parity.core.trace import Array


def as_array(value: Any) -> Array:
    """A copy of the values; floats narrower than 32 bits widened to float32 (exact)."""
    array = np.array(value.asnumpy() if isinstance(value, Tensor) else value)
    narrow = dtype_name(value) in NARROW if isinstance(value, Tensor) else False
    return array.astype(np.float32) if narrow else array


def bits(array: Array) -> str:
    """A hash by which two arrays of the same shape, dtype and bits are known."""
    return tensor_name(array, None)


def dtype_name(value: Any) -> str:
    """The dtype as PyTorch spells it."""
    return str(value.dtype).lower()
