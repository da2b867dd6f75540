"""What each dtype can represent."""

from __future__ import annotations

from dataclasses import dataclass

from parity.core.errors import ParityError


@dataclass(frozen=True)
class Precision:
    """A floating-point format, as far as judging errors needs it."""

    name: str
    torch: str
    """Its name in PyTorch and MindSpore alike."""
    mantissa: int
    """Bits of precision, the implicit one included."""

    @property
    def noise(self) -> float:
        """Unit roundoff: the largest relative error of rounding one number to the format."""
        return float(2.0**-self.mantissa)


PRECISIONS = {
    "fp32": Precision("fp32", "float32", 24),
}


def precision(name: str) -> Precision:
    """Look a dtype up by name.

    Raises:
        ParityError: the name is none of the supported ones.
    """
    try:
        return PRECISIONS[name]
    except KeyError:
        raise ParityError(f"unknown dtype {name!r}; supported: {', '.join(PRECISIONS)}") from None
