"""What the figure of a comparison shows: each figure of run A against the same one of run B."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from parity.core.diff import Changed
from parity.core.shift import Shift
from parity.report.diff_words import factor, where
from parity.report.text import number, plural

SCOPES = {"local": "On clean inputs", "end_to_end": "End to end"}
LOWEST = -3
"""Lowest decade that is drawn; what is less is drawn on its line."""


@dataclass(frozen=True)
class Dot:
    """One figure in both runs: its ratios."""

    of: Changed
    shift: Shift
    a: float
    b: float
    way: int
    """1 worse, -1 better, 0 neither."""
    size: float
    """How far it moved: at least 1, infinite to or from what is no number."""

    @property
    def name(self) -> str:
        """Point, case and dtype, with both ratios."""
        ratios = f"{number(self.shift.ratio_a)} to {number(self.shift.ratio_b)}"
        return f"{where(self.of)}: ratio {ratios}, {factor(self.shift.growth)}"


@dataclass(frozen=True)
class Plot:
    """The figures of one scope."""

    anchor: str
    title: str
    summary: str
    """In words, for those who cannot see it."""
    dots: tuple[Dot, ...]
    low: int
    """Lowest decade of both axes, as a power of ten."""
    high: int
    clipped: bool
    """Whether something lies under the lowest decade, and is drawn on it."""


def plots(changes: Sequence[Changed]) -> tuple[Plot, ...]:
    """Compute a plot for each scope in which the runs share a figure."""
    found = []
    for scope, title in SCOPES.items():
        pairs = [(one, s) for one in changes for s in one.shifts if s.scope == scope]
        if pairs:
            found.append(_plot(scope, title, tuple(_dot(one, shift) for one, shift in pairs)))
    return tuple(found)


def _plot(scope: str, title: str, dots: tuple[Dot, ...]) -> Plot:
    """Choose the decades that hold everything, a ratio of 1 among them."""
    values = [one for dot in dots for one in (dot.a, dot.b) if math.isfinite(one) and one > 0]
    low = math.floor(math.log10(min(values, default=1.0)))
    high = math.ceil(math.log10(max(values, default=1.0)))
    summary = _summary(dots)
    return Plot(
        scope.replace("_", "-"), title, summary, dots,
        max(LOWEST, min(low, -1)), max(high, 1), low < LOWEST or any(0 in (d.a, d.b) for d in dots),
    )  # fmt: skip


def _dot(one: Changed, shift: Shift) -> Dot:
    """One figure of a row."""
    growth = shift.growth
    size = max(growth, 1 / growth if growth else math.inf)
    return Dot(one, shift, shift.ratio_a, shift.ratio_b, shift.direction, size)


def furthest(dots: Sequence[Dot], way: int) -> list[Dot]:
    """Those that got worse (1) or better (-1), what moved most first."""
    return sorted((dot for dot in dots if dot.way == way), key=lambda dot: -dot.size)


def _summary(dots: Sequence[Dot]) -> str:
    """Say in words what the plot shows."""
    worse, better = furthest(dots, 1), furthest(dots, -1)
    over = [(dot.shift.over_a, dot.shift.over_b) for dot in dots]
    crossed, back = over.count((False, True)), over.count((True, False))
    text = (
        f"{plural(len(dots), 'figure')} in both runs: {len(worse):,} worse, {len(better):,} "
        f"better, {len(dots) - len(worse) - len(better):,} neither. "
        f"{crossed:,} went over the gate, {back:,} came back."
    )
    if worse:
        text += f" Worst: {worse[0].name}."
    if better:
        text += f" Best: {better[0].name}."
    return text
