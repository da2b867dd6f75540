"""Rounding to a dtype that NumPy may not have, to nearest and ties to even, as frameworks do."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def rounded(values: NDArray[Any], dtype: str) -> NDArray[np.float64]:
    """``values`` rounded to ``float32``, ``float16`` or ``bfloat16``, held as float64.

    What is too large for the dtype becomes infinite, as in a cast. Values go through float32
    first, which is where both frameworks have them before they narrow them.

    Raises:
        ValueError: ``dtype`` is none of the three.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        single = np.asarray(values).astype(np.float32)
        if dtype == "float32":
            return single.astype(np.float64)
        if dtype == "float16":
            return single.astype(np.float16).astype(np.float64)
    if dtype != "bfloat16":
        raise ValueError(f"no rounding to {dtype!r}: there are float32, float16 and bfloat16")
    bits = np.atleast_1d(single).view(np.uint32).astype(np.uint64)
    up = np.uint64(0x7FFF) + ((bits >> np.uint64(16)) & np.uint64(1))  # ties to even
    result = (
        ((bits + up) & np.uint64(0xFFFF0000))
        .astype(np.uint32)
        .view(np.float32)
        .reshape(single.shape)
    )
    return np.where(np.isnan(single), np.nan, result).astype(np.float64)
