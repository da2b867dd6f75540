"""Truths in half their bits: what that may change, and what it cannot.

A truth is kept as a residual, truth minus the reference's value, and the value is kept exactly.
Rounding the residual to bfloat16, which has float32's range, moves no element of the truth by more
than ``ROUNDING`` of the reference's own error there. Ratios are counted in that error or in
something larger, so that none of them can move far: `ratio_bounds`.
"""

from __future__ import annotations

import numpy as np

from parity.core.trace import Array

ROUNDING = 2.0**-8
"""Largest error of a rounded residual, relative to the residual, element by element. (Residuals
under 2^-126, which none is that matters, round by an absolute 2^-134.)"""
DTYPE = "bfloat16"
_NAN, _LARGEST, _SIGN = np.uint32(0x7FC00000), np.uint32(0x7F7F0000), np.uint32(0x80000000)
_INFINITY = np.uint32(0x7F800000)


def compact(residual: Array) -> Array:
    """Each float32 rounded to the nearest bfloat16, ties to even, and held as float32.

    What is finite stays finite, NaN stays NaN, and infinities stay as they are.
    """
    bits = np.ascontiguousarray(residual, np.float32).view(np.uint32)
    sign, size = bits & _SIGN, bits & ~_SIGN
    even = (size >> np.uint32(16)) & np.uint32(1)
    near = (size + np.uint32(0x7FFF) + even) & np.uint32(0xFFFF0000)
    near = np.where(size < _INFINITY, np.minimum(near, _LARGEST), size)
    near = np.where(size > _INFINITY, _NAN, near)
    return np.asarray((near | sign).view(np.float32).reshape(residual.shape))


def ratio_bounds(ratio: float) -> tuple[float, float]:
    """The least and the largest that a ratio can be with rounded residuals, if it is ``ratio``.

    With ``u`` the rounding, the candidate's error moves by at most ``u`` times the reference's own
    error, which the floor is never under, and the floor itself by a factor of ``1 + u`` at most.
    A part in 2^20 more is allowed for the arithmetic of the norms themselves.
    """
    slack = ROUNDING * (1 + 2.0**-20)
    return max(0.0, ratio - slack) / (1 + slack), (ratio + slack) / (1 - slack)
