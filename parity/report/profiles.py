"""The ratio along the tokens or the channels of a tensor: a line as plain data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from parity.core.detail import Profile
from parity.report.levels import LEAST
from parity.report.text import number, plural

WIDTH, HEIGHT = 420, 90
"""Of the plot, in its own units."""
LOWEST = 0.1
"""Ratios under this are drawn at the bottom."""


@dataclass(frozen=True)
class ProfileView:
    """One line."""

    axis: str
    scope: str
    sentence: str
    width: int
    height: int
    path: str
    """Steps of the line, left open where a bin is padding."""
    gate: float
    """Height of the gate's line from the top; negative if it is out of sight."""
    worst: float
    """Where from the left the worst one is."""
    top: float
    """Height of the worst one from the top."""
    ticks: tuple[tuple[float, str], ...]
    """Heights of powers of ten, with their numbers."""


def profile_view(found: Profile | None, scope: str) -> ProfileView | None:
    """Draw a profile; ``None`` if there is none, or it cannot be one."""
    if found is None or not found.ratios or found.count < 1 or found.width < 1:
        return None
    sizes = [one for one in found.ratios if one is not None and math.isfinite(one)]
    high = max([found.gate * 2, *sizes, LOWEST * LEAST])
    up = _Height(high)
    step = WIDTH / len(found.ratios)
    worst = min(max(found.worst // found.width, 0), len(found.ratios) - 1)
    ratio = found.ratios[worst]
    decades = range(math.ceil(math.log10(LOWEST)), math.floor(math.log10(high)) + 1)
    every = max(1, math.ceil(len(decades) / 5))
    return ProfileView(
        found.axis,
        scope,
        _sentence(found, ratio),
        WIDTH,
        HEIGHT,
        _path(found.ratios, step, up),
        up(found.gate) if found.gate > 0 else -1,
        round((worst + 0.5) * step, 1),
        up(math.inf if ratio is None else ratio),
        tuple((up(10.0**n), number(10.0**n)) for n in decades[::every]),
    )


@dataclass(frozen=True)
class _Height:
    """Where on a log scale a ratio is, from the top."""

    high: float

    def __call__(self, ratio: float) -> float:
        if not ratio <= self.high:  # NaN and infinity are at the very top
            return 0.0
        share = math.log(max(ratio, LOWEST) / LOWEST) / math.log(self.high / LOWEST)
        return round(HEIGHT * (1 - share), 1)


def _path(ratios: Sequence[float | None], step: float, up: _Height) -> str:
    """Return a step a bin."""
    parts, inside = [], False
    for place, ratio in enumerate(ratios):
        if ratio is None:
            inside = False
            continue
        left, right = round(place * step), round((place + 1) * step)
        parts.append(f"{'V' if inside else f'M{left} '}{round(up(ratio))}H{right}")
        inside = True
    return "".join(parts)


def _sentence(found: Profile, worst: float | None) -> str:
    """Say which one is worst and how much is over the gate."""
    size = "padding" if worst is None else number(worst)
    text = f"Worst {found.axis} {found.worst} of {found.count:,}: {size}, gate {number(found.gate)}"
    over = sum(one is not None and not one <= found.gate for one in found.ratios)
    if found.width > 1:
        bins = plural(len(found.ratios), "bin")
        return f"{text}; {over:,} of {bins} of {found.width} over it, the largest of each drawn."
    return f"{text}; {over:,} of {plural(found.count, found.axis)} over it."
