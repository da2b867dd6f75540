"""What is not a number: told apart by kind and sign, counted, and set apart from the figures.

NaN is of one kind whatever its sign and payload; the two infinities are two kinds. An element of
one kind on both sides is nobody's fault, and is left out of every figure. Any other element
that is not finite on one side at least is a difference.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from parity.core.blocks import Block, Numbers, Operands

FINITE, NAN, PLUS, MINUS = range(4)


@dataclass(frozen=True)
class NonFinite:
    """What one side holds that is not a number, by kind."""

    nan: int
    plus_inf: int
    minus_inf: int
    first: tuple[int, ...]
    """Index of the first one, of whichever kind."""


@dataclass
class Census:
    """What of two tensors is not finite, as far as they have been looked at."""

    alike: int = 0
    """Elements that are so on both sides, and of one kind."""
    unlike: int = 0
    """Elements that are so on one side at least, and not the same on the other."""
    sides: dict[str, NonFinite] = field(default_factory=dict)
    """What ``candidate`` and ``reference`` hold, each by row and column; absent if nothing."""

    def set_apart(self, part: Operands, block: Block) -> Operands:
        """Count a block, and return it in float64 with zeros for what both sides have alike."""
        wide = part.map(lambda operand: operand.astype(np.float64))
        candidate, reference = kinds(wide.candidate), kinds(wide.reference)
        alike = (candidate == reference) & (candidate != FINITE)
        self.alike += int(np.count_nonzero(alike))
        self.unlike += int(np.count_nonzero(candidate != reference))
        self._count("candidate", candidate, block)
        self._count("reference", reference, block)
        return wide.map(lambda operand: np.where(alike, 0, operand))

    def _count(self, side: str, found: NDArray[np.int8], block: Block) -> None:
        """Add what one side holds in a block."""
        if not found.any():
            return
        first = block.place(int(np.argmax(found != FINITE)))
        before = self.sides.get(side, NonFinite(0, 0, 0, first))
        self.sides[side] = replace(
            before,
            nan=before.nan + int(np.count_nonzero(found == NAN)),
            plus_inf=before.plus_inf + int(np.count_nonzero(found == PLUS)),
            minus_inf=before.minus_inf + int(np.count_nonzero(found == MINUS)),
        )


def kinds(values: Numbers) -> NDArray[np.int8]:
    """``FINITE``, ``NAN``, ``PLUS`` or ``MINUS`` for each value."""
    found = np.where(np.isnan(values), NAN, FINITE).astype(np.int8)
    found[np.isposinf(values)] = PLUS
    found[np.isneginf(values)] = MINUS
    return found
