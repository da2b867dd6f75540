"""HF32, Ascend's short float32: its sign and eight bits of exponent, eleven bits of mantissa.

Matrix units that compute in it round their operands, multiply exactly and add up in float32.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

DROPPED = 12
"""Of float32's 23 stored bits of mantissa."""
NOISE = 2.0**-12
"""Unit roundoff."""


def hf32(values: NDArray[Any]) -> NDArray[np.float32]:
    """Round to the nearest, ties to even: the default of CANN's ``SetHF32`` (transMode 0).

    Its other mode rounds ties away from zero, which differs for one number in 4096 of random ones.

    Args:
        values: any shape; taken as float32.
    """
    single = np.ascontiguousarray(values, np.float32)
    bits = single.view(np.uint32)
    odd = (bits >> np.uint32(DROPPED)) & np.uint32(1)
    up = bits + np.uint32((1 << DROPPED - 1) - 1) + odd
    kept = (up & np.uint32(2**32 - (1 << DROPPED))).view(np.float32)
    return np.where(np.isfinite(single), kept, single)
