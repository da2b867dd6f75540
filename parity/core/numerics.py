"""What each dtype can represent, and which dtype each way of running the candidate is held to."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from parity.core.errors import ParityError

Sizes: TypeAlias = NDArray[np.float64]
UNIFORM = 3**-0.5
"""Standard deviation of what is spread evenly over [-1, 1]."""


@dataclass(frozen=True)
class Format:
    """A floating-point format, as far as judging errors needs it."""

    name: str
    """Its name in PyTorch and MindSpore alike."""
    mantissa: int
    """Bits of precision, the implicit one included."""
    least_exponent: int
    """Exponent of the smallest normal number; below it numbers are evenly spaced."""
    largest: float
    """Largest finite number."""

    @property
    def noise(self) -> float:
        """Unit roundoff: the largest relative error of rounding one number to the format."""
        return float(2.0**-self.mantissa)

    @property
    def least(self) -> float:
        """Largest absolute error of rounding a number below the normal range: half a spacing."""
        return float(2.0 ** (self.least_exponent - self.mantissa))

    def rounding(self, norm: Sizes, count: int) -> Sizes:
        """Norm of the error of rounding ``count`` numbers whose norm is ``norm``.

        A single number may be off by half a spacing. The errors of many are spread evenly over
        it, so that their norm is that much times ``UNIFORM`` at most, but for chance.
        Array in, array out: one norm for each slice of ``count`` numbers.
        """
        most = np.maximum(self.noise * norm, self.least * math.sqrt(count))
        return most * (UNIFORM + (1 - UNIFORM) / math.sqrt(count))


FORMATS = {
    found.name: found
    for found in (
        Format("float32", 24, -126, float((2 - 2.0**-23) * 2.0**127)),
        Format("bfloat16", 8, -126, float((2 - 2.0**-7) * 2.0**127)),
        Format("float16", 11, -14, 65504.0),
    )
}


@dataclass(frozen=True)
class Precision:
    """One way of running the candidate, and what the reference runs in for it."""

    name: str
    """Name of the candidate's policy; what a run's ``--dtype`` names."""
    reference: str
    """Name of the uniform precision whose reference, and so whose bundle, it is held to."""
    format: Format
    """In which the reference runs, and in which modules hand values on."""

    @property
    def torch(self) -> str:
        """The reference's dtype, by its name in PyTorch."""
        return self.format.name


def _uniform(name: str, dtype: str) -> Precision:
    """Reference and candidate both in one dtype."""
    return Precision(name, name, FORMATS[dtype])


PRECISIONS = {
    found.name: found
    for found in (
        _uniform("fp32", "float32"),
        _uniform("fp16", "float16"),
        _uniform("bf16", "bfloat16"),
        # Attention in fp16 between modules that hand on bf16: no worse than bf16 throughout.
        Precision("ascend-mixed", "bf16", FORMATS["bfloat16"]),
    )
}


def precision(name: str) -> Precision:
    """Look a precision up by name.

    Raises:
        ParityError: the name is none of the supported ones.
    """
    try:
        return PRECISIONS[name]
    except KeyError:
        raise ParityError(f"unknown dtype {name!r}; supported: {', '.join(PRECISIONS)}") from None
