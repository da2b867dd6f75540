"""An arithmetic that was used although another one was declared, and what shows it."""

from __future__ import annotations

from dataclasses import dataclass

HF32 = "HF32"
FUSED = "fused attention"
FLOAT16_SUMS = "float16 sums"
SATURATING = "saturating float16"


def operands_of(dtype: str) -> str:
    """The name of products of float32 whose operands are rounded to ``dtype``."""
    return f"{dtype} operands"


@dataclass(frozen=True)
class Arithmetic:
    """What a value was really computed in."""

    name: str
    share: float
    """Of the squared norm of its error, what this arithmetic predicts; at saturation, of the
    numbers that are infinite in the reference those that are the largest finite one."""
    error: float
    """Measured, relative to the truth."""
    expected: float
    """What this arithmetic makes."""

    def __str__(self) -> str:
        """For a person."""
        if self.name == SATURATING:
            return f"{self.name}: {self.error:.0f} at its end, {self.expected:.0f} infinite"
        accounts = (
            f"accounts for {100 * self.share:.3g} % of the error"
            if self.share > 0
            else ("its errors have that size")
        )
        return f"{self.name}: {accounts} ({self.error:.2g}, expected {self.expected:.2g})"
