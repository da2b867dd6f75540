"""Five levels of error, so that a picture needs few colours and every one has a size too."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from parity.report.text import number

LEVELS = 4
"""Levels over the limit; 0 is what is within."""
LEAST = 16.0
"""The largest value is at least this many times the limit of the first level."""


@dataclass(frozen=True)
class Scale:
    """Where each level begins."""

    limits: tuple[float, ...]
    """Of levels 1 and up, rising. A value has to be over its limit; NaN is over all."""
    gated: bool
    """Whether the first limit is the gate; otherwise no single value is over it."""

    def level(self, value: float) -> int:
        """Return the level of a value, 0 to `LEVELS`."""
        return sum(not value <= limit for limit in self.limits)

    @property
    def labels(self) -> tuple[str, ...]:
        """What each level means, 0 first."""
        texts = [number(limit) for limit in self.limits]
        between = [f"{low} to {high}" for low, high in pairwise(texts)]
        return (f"up to {texts[0]}", *between, f"over {texts[-1]}")


def scale(values: Iterable[float | None], gate: float) -> Scale | None:
    """Return the levels that tell ``values`` apart; ``None`` where all are zero.

    They are as many times apart, from the gate to the largest value. Where no single value is
    over the gate, or where there is none, they go up to the largest.
    """
    given = [abs(one) for one in values if one is not None]
    known = [one for one in given if math.isfinite(one)]
    most, odd = max(known, default=0.0), len(known) < len(given)
    if not most and not odd:
        return None
    gated = gate > 0 and (odd or most > gate)
    low = gate if gated else most / LEAST or 1.0
    step = (max(most, low * LEAST) / low) ** (1 / LEVELS)
    return Scale(tuple(low * step**n for n in range(LEVELS)), gated)


def shares() -> Scale:
    """Return the levels of shares of values that differ, of which any is too many."""
    return Scale((0.0, 0.1, 0.5, 0.9), True)
