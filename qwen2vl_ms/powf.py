"""PyTorch's float32 power, bit for bit, without PyTorch.

``inv_freq`` holds powers of the rotary base, and one ulp in it moves the angle of position 3000 by
1e-4 of a radian, so it has to equal the reference's exactly. PyTorch's CPU build computes float32
powers with SLEEF's ``powf``, whose error is up to one ulp: NumPy's power, and the correctly rounded
one, differ from it in one value of a hundred. This follows SLEEF's algorithm; its exponential's
polynomial in float32 is where the differences come from, everything else may be more exact.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

# SLEEF 3, sleefsimdsp.c, expkf: coefficients of (exp(s) - 1 - s) / s^2, highest power first.
_EXP = tuple(
    np.float32(c)
    for c in (
        *(0.00136324646882712841033936, 0.00836596917361021041870117),
        *(0.0416710823774337768554688, 0.166665524244308471679688, 0.499999850988388061523438),
    )
)


def powf(base: float, exponents: Floats) -> Floats:
    """``base ** exponents`` for a positive base, as ``torch.pow`` computes it on a CPU.

    Args:
        base: A positive number, rounded to float32 first.
        exponents: float32, any shape.

    Returns:
        float32, of the same shape.
    """
    z = exponents.astype(np.float64) * np.log(np.float64(np.float32(base)))
    q = np.rint(z / np.log(2.0))
    s = z - q * np.log(2.0)
    u = _horner(s.astype(np.float32)).astype(np.float64)
    return np.ldexp(1.0 + (s + s * s * u), q.astype(np.int32)).astype(np.float32)


def _horner(s: Floats) -> Floats:
    """The polynomial with one rounding to float32 a step (a fused multiply-add)."""
    u = np.full_like(s, _EXP[0])
    for c in _EXP[1:]:
        u = (u.astype(np.float64) * s + np.float64(c)).astype(np.float32)
    return u
