"""The figure of a row that matters most, and how much of its gate it uses."""

from __future__ import annotations

import math
from dataclasses import dataclass

from parity.core.rows import Comparison, Row, Slice, Verdict

SLICE_WORDS = {"whole": "whole tensor", "row": "token", "column": "channel", "update": "update"}
NOT_ITS_OWN_FAULT = frozenset({Verdict.PASS, Verdict.VICTIM, Verdict.DRIFT, Verdict.ABSENT})


@dataclass(frozen=True)
class Worst:
    """The slice of a comparison that is nearest to its gate, or furthest over it."""

    name: str
    """``whole``, ``row``, ``column`` or ``update``."""
    figure: Slice
    use: float
    """Ratio in units of the gate: over 1 fails. NaN counts as infinite."""

    @property
    def where(self) -> str:
        """``worst token 17``, ``worst channel 3``, ``whole tensor`` or ``update``."""
        words = SLICE_WORDS[self.name]
        return words if self.figure.index is None else f"worst {words} {self.figure.index}"


def use_of_gate(figure: Slice) -> float:
    """Return the ratio in units of the gate; infinite for NaN and for any error at a zero gate."""
    if math.isnan(figure.ratio) or math.isnan(figure.gate):
        return math.inf
    if figure.gate <= 0:
        return 0.0 if figure.ratio <= figure.gate else math.inf
    # Infinity over infinity is within its gate, as ``Slice.ok`` has it.
    return 1.0 if figure.ratio == figure.gate else figure.ratio / figure.gate


def worst_of(comparison: Comparison | None) -> Worst | None:
    """Return the slice with the largest use of its gate; the first of equals."""
    if comparison is None:
        return None
    found = [Worst(name, one, use_of_gate(one)) for name, one in comparison.slices.items()]
    return max(found, key=lambda worst: worst.use)


def local_figure(row: Row) -> Worst | None:
    """Return the worst local figure of a row."""
    return worst_of(row.local)


def end_figure(row: Row) -> Worst | None:
    """Return the worst end-to-end figure of a row."""
    return worst_of(row.end_to_end)


def shown_difference(row: Row) -> tuple[str, Comparison] | None:
    """Choose the comparison whose largest difference explains the verdict, with its name.

    A victim or a drifting point is right on clean inputs, so only its end-to-end difference says
    anything; every other point is judged on its local one first.
    """
    sides = [("local", row.local), ("end to end", row.end_to_end)]
    if row.verdict in (Verdict.VICTIM, Verdict.DRIFT):
        sides.reverse()
    return next(((name, side) for name, side in sides if side is not None), None)


def at_fault(row: Row) -> bool:
    """Whether the row fails for a reason of its own: neither a victim nor drift."""
    return row.verdict not in NOT_ITS_OWN_FAULT


def was_compared(row: Row) -> bool:
    """Whether any value of the row was held against the reference's."""
    return not (row.local is None and row.end_to_end is None and row.mismatches is None)
