"""PyTorch's float32 power without PyTorch.

``inv_freq`` holds powers of the rotary base. One ulp in it moves the angle of position 3000 by
1e-4 of a radian, so it has to equal the reference's bit for bit, and the reference calls
``torch.pow`` on the CPU. That uses SLEEF's vectorised ``powf`` for whole vectors and the C
library's for the rest. The former is up to one ulp off; NumPy's power, and the correctly rounded
one, differ from it in nearly two values of a hundred (in one of 64 for base 1e6 and width 128).

What makes the difference is that SLEEF evaluates its exponential's polynomial in float32. This
does the same, and everything else in float64: one value in 1e5 is left over. Where the last whole
vector ends depends on the machine. The two ways agree on every value of the published models that
this could concern (base 1e4, width 40).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

LANES = 16  # values that AVX2 code computes in a round: two vectors of eight

# SLEEF 3, sleefsimdsp.c, expkf: (exp(s) - 1 - s) / s^2, highest power first.
_EXP = np.array(
    [
        *(0.00136324646882712841033936, 0.00836596917361021041870117),
        *(0.0416710823774337768554688, 0.166665524244308471679688, 0.499999850988388061523438),
    ],
    np.float32,
)


def powf(base: float, exponents: Floats) -> Floats:
    """``base ** exponents`` for a positive base, as ``torch.pow`` computes it on a CPU.

    Args:
        base: A positive number, rounded to float32 first.
        exponents: float32 [n].

    Returns:
        float32 [n].
    """
    wide = np.float64(np.float32(base))
    whole = len(exponents) - len(exponents) % LANES
    rest = wide ** exponents[whole:].astype(np.float64)
    return np.concatenate([_sleef_powf(wide, exponents[:whole]), rest.astype(np.float32)])


def _sleef_powf(base: np.float64, exponents: Floats) -> Floats:
    """``exp(exponents * log(base))`` with the exponential of SLEEF."""
    z = exponents.astype(np.float64) * np.log(base)
    q = np.rint(z / np.log(2.0))  # exp(z) = 2^q exp(s)
    s = z - q * np.log(2.0)
    u = _polynomial(s.astype(np.float32)).astype(np.float64)
    return np.ldexp(1.0 + (s + s * s * u), q.astype(np.int32)).astype(np.float32)


def _polynomial(s: Floats) -> Floats:
    """Horner's rule with one rounding to float32 a step, as a fused multiply-add does it."""
    u = np.full_like(s, _EXP[0])
    for c in _EXP[1:].astype(np.float64):
        u = (u.astype(np.float64) * s + c).astype(np.float32)
    return u
