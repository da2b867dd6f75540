"""One series as a small drawing: ratio over runs, on a logarithmic scale."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup

WIDTH, HEIGHT, EDGE = 200, 32, 4
"""In the drawing's own units; nothing is drawn nearer than ``EDGE`` to a border."""
_SPAN = 2.0
"""At least so many times is what the height stands for, so that noise does not look like more."""
_NEAR = 4.0
"""The gate is drawn if the largest ratio is within so many times of it."""
_STEP = 6
"""From run to run in a small drawing."""
_LOW, _HIGH = 1e-3, 1e3


@dataclass(frozen=True)
class Spark:
    """What is drawn."""

    values: Sequence[float]
    """A ratio for each run in units of its gate; NaN where there is none."""
    changes: Sequence[int] = ()
    """Runs at which the level changes."""
    failing: Sequence[int] = ()
    """Runs in which the point fails."""
    label: str = ""
    """The same in words."""


def draw(spark: Spark) -> Markup:
    """Draw a series as one ``<svg role="img">``, styled by the page's classes."""
    scale = _Scale(spark)
    parts = [
        Markup('<svg class="spark" role="img" viewBox="0 0 {} {}" aria-label="{}">').format(
            WIDTH, HEIGHT, spark.label
        )
    ]
    if scale.low <= 1 <= scale.high:
        parts.append(Markup('<path class="gate" d="M0 {}H{}"/>').format(scale.y(1.0), WIDTH))
    for run in spark.changes:
        parts.append(Markup('<path class="step" d="M{} 0V{}"/>').format(scale.x(run - 0.5), HEIGHT))
    parts.append(Markup('<path class="line" d="{}"/>').format("".join(_line(spark.values, scale))))
    for run in spark.failing:
        parts.append(
            Markup('<path class="fail" d="M{} {}l5 5m0-5l-5 5"/>').format(
                round(scale.x(run) - 2.5, 1), round(scale.y(spark.values[run]) - 2.5, 1)
            )
        )
    return Markup("").join([*parts, Markup("</svg>")])


def draw_small(values: Sequence[float]) -> Markup:
    """Draw a series in as few characters as there can be, beside its newest ratio in words."""
    scale, parts = _Scale(Spark(values)), []
    drawn: tuple[int, int] | None = None
    for run, value in enumerate(values):
        if math.isnan(value):
            drawn = None
            continue
        x, y = _STEP * run, round(scale.y(value) / 2)
        parts.append(f"M{x} {y}h0" if drawn is None else f"l{x - drawn[0]} {y - drawn[1]}")
        drawn = (x, y)
    line = "".join(parts).replace(" -", "-")
    return Markup('<svg viewBox="0 0 {} {}" aria-hidden="true"><path d="{}"/></svg>').format(
        max(_STEP * (len(values) - 1), 1), HEIGHT // 2, line
    )


class _Scale:
    """Where runs and ratios are."""

    def __init__(self, spark: Spark) -> None:
        self.count = len(spark.values)
        shown = [_inside(value) for value in spark.values if not math.isnan(value)] or [1.0]
        low, high = min(shown), max(shown)
        if high <= 1 <= high * _NEAR:
            high = 1.0
        if low >= 1 >= low / _NEAR:
            low = 1.0
        wanted = math.sqrt(max(1.0, _SPAN / (high / low)))
        self.low, self.high = low / wanted, high * wanted

    def x(self, run: float) -> float:
        """Of a run."""
        room = WIDTH - 2 * EDGE
        return round(EDGE + (room * run / (self.count - 1) if self.count > 1 else room), 1)

    def y(self, value: float) -> float:
        """Of a ratio; what is off the scale is at its edge."""
        share = math.log(_inside(value) / self.low) / math.log(self.high / self.low)
        return round(HEIGHT - EDGE - (HEIGHT - 2 * EDGE) * min(max(share, 0.0), 1.0), 1)


def _inside(value: float) -> float:
    """A ratio within the scale's utmost ends; NaN counts as bad."""
    return _HIGH if math.isnan(value) else min(max(value, _LOW), _HIGH)


def _line(values: Sequence[float], scale: _Scale) -> Iterator[str]:
    """The line, a step for each run that differs, broken where there is no ratio."""
    drawn: float | None = None
    for run, value in enumerate(values):
        if math.isnan(value):
            drawn = None
            continue
        y = scale.y(value)
        last = run + 1 == len(values) or math.isnan(values[run + 1])
        if drawn is None:
            yield f"M{scale.x(run):g} {y:g}" + ("h0" if last else "")
        elif y != drawn:
            yield f"H{scale.x(run - 1):g}L{scale.x(run):g} {y:g}"
        elif last:
            yield f"H{scale.x(run):g}"
        drawn = y
