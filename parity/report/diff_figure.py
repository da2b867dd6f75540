"""Run A against run B as inline SVG: a square with log axes, and the diagonal of no change.

Told apart without colour: what is worse is a filled triangle that points up, what is better a
hollow one that points down, all else a small dot.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from markupsafe import Markup

from parity.core.shift import FACTOR, PARITY
from parity.report.diff_plot import Dot, Plot, furthest
from parity.report.panels import label
from parity.report.text import clean

SIDE, LEFT, TOP, LANE = 400.0, 64.0, 20.0, 24.0
"""Side of the square, room beside and above it, and width of the lane of what is no number."""
WIDTH, HEIGHT = LEFT + SIDE + 16, TOP + SIDE + 44
RIGHT, BOTTOM = LEFT + SIDE, TOP + SIDE
NAMED = 60
"""Marks of each direction that say what they are under the pointer; the others are one path."""
CHARACTER = 7.0
"""Width of a character of a name, in the figure's units."""


def draw_plot(plot: Plot) -> Markup:
    """Draw one plot.

    Returns:
        One ``<svg role="img">`` with title and description, styled by the page's classes.
    """
    parts = [*_head(plot), *_axes(plot), *_lines(plot), *_marks(plot), *_labels(plot)]
    return Markup("\n").join([*parts, Markup("</svg>")])


def place(plot: Plot, ratio: float) -> float:
    """How far along an axis a ratio is, from 0 to the side; what is no number lies in the lane."""
    if not math.isfinite(ratio):
        return SIDE - LANE / 3
    if ratio <= 0:
        return 0.0
    share = (math.log10(ratio) - plot.low) / (plot.high - plot.low)
    return min(1.0, max(0.0, share)) * (SIDE - LANE)


def _head(plot: Plot) -> Iterator[Markup]:
    """Open the drawing and say in words what it is."""
    yield Markup(
        '<svg class="scatter" role="img" viewBox="0 0 {:g} {:g}" aria-labelledby="{id}-t {id}-d">'
    ).format(WIDTH, HEIGHT, id=plot.anchor)
    yield Markup('<title id="{}-t">{}: run A against run B</title>').format(plot.anchor, plot.title)
    yield Markup('<desc id="{}-d">{}</desc>').format(plot.anchor, plot.summary)
    yield Markup('<rect class="band0" x="{:g}" y="{:g}" width="{:g}" height="{:g}"/>').format(
        LEFT, TOP, SIDE, SIDE
    )


def _axes(plot: Plot) -> Iterator[Markup]:
    """A line and a number for each decade, on both axes, and what the axes are."""
    step = 1 + (plot.high - plot.low) // 8
    for power in range(plot.low, plot.high + 1):
        if power % step and power != plot.low:
            continue
        at = place(plot, 10.0**power)
        yield Markup('<path class="grid" d="M{} {}H{:g}M{} {:g}V{:g}"/>').format(
            _short(LEFT), _short(BOTTOM - at), RIGHT, _short(LEFT + at), TOP, BOTTOM
        )
        least = "<= " if plot.clipped and power == plot.low else ""
        yield _text(LEFT - 6, BOTTOM - at + 4, f"{least}{_power(power)}", "end-text")
        yield _text(LEFT + at, BOTTOM + 16, _power(power), "mid")
    yield _text(LEFT + (SIDE - LANE) / 2, BOTTOM + 36, "ratio in run A", "mid")
    yield Markup(
        '<text class="mid" transform="translate(14 {:g}) rotate(-90)">ratio in run B</text>'
    ).format(TOP + (SIDE + LANE) / 2)


def _power(power: int) -> str:
    """A power of ten."""
    return f"{10.0**power:g}" if -5 < power < 4 else f"1e{power}"


def _lines(plot: Plot) -> Iterator[Markup]:
    """Where the reference itself is, the diagonal, and how far from it nothing counts."""
    one, end = place(plot, PARITY), SIDE - LANE
    yield Markup('<path class="reference" d="M{:g} {}H{:g}M{} {:g}V{:g}"/>').format(
        LEFT, _short(BOTTOM - one), RIGHT, _short(LEFT + one), TOP, BOTTOM
    )
    yield Markup('<path class="axis" d="M{:g} {:g}L{:g} {:g}"/>').format(
        LEFT, BOTTOM, LEFT + end, BOTTOM - end
    )
    off = math.log10(FACTOR) / (plot.high - plot.low) * end
    for x, y in ((0.0, off), (off, 0.0)):
        yield Markup('<path class="parity" d="M{} {}L{} {}"/>').format(
            *map(_short, (LEFT + x, BOTTOM - y, LEFT + end - y, BOTTOM - end + x))
        )
    if any(not math.isfinite(dot.b) for dot in plot.dots):
        yield _text(LEFT + 4, TOP + LANE / 3 + 4, "off scale in B", "lane")
    if any(not math.isfinite(dot.a) for dot in plot.dots):
        yield _text(RIGHT - 4, BOTTOM - 6, "off scale in A", "lane end-text")


def _marks(plot: Plot) -> Iterator[Markup]:
    """A mark for every figure, the ones that matter on top."""
    still = _spots(plot, [dot for dot in plot.dots if dot.way == 0])
    yield Markup('<path class="still" d="{}"/>').format(
        Markup("").join(f"M{x} {y}h0" for x, y in still)
    )
    for way, style, shape in ((-1, "better", "l-4 -7h8z"), (1, "worse", "l4 7h-8z")):
        moved = furthest(plot.dots, way)
        rest = _spots(plot, moved[NAMED:])
        if rest:
            path = "".join(f"M{x} {_short(float(y) + 3.5 * -way)}{shape}" for x, y in rest)
            yield Markup('<path class="{}" d="{}"/>').format(style, path)
        for dot in reversed(moved[:NAMED]):
            x, y = _spot(plot, dot)
            yield Markup('<path class="{}" d="M{} {}{}"><title>{}</title></path>').format(
                style, x, _short(float(y) + 3.5 * -way), shape, dot.name
            )


def _labels(plot: Plot) -> Iterator[Markup]:
    """Name what moved furthest, each way, on the side where there is more room."""
    taken = -math.inf
    for way, style in ((1, "worse-name"), (-1, "better-name")):
        for dot in furthest(plot.dots, way)[:1]:
            x, y = map(float, _spot(plot, dot))
            right = WIDTH - x > x
            y = taken + 14 if abs(y - taken) < 14 else y
            taken = y
            name = clean(label(dot.of.row), int(((WIDTH - x if right else x) - 12) / CHARACTER))
            side = style if right else f"{style} end-text"
            yield _text(x + (9 if right else -9), y + 4, name, side)


def _spots(plot: Plot, dots: Sequence[Dot]) -> list[tuple[str, str]]:
    """The places of dots, each place once."""
    return list(dict.fromkeys(_spot(plot, dot) for dot in dots))


def _spot(plot: Plot, dot: Dot) -> tuple[str, str]:
    """The place of a dot, in the figure's units."""
    return _short(LEFT + place(plot, dot.a)), _short(BOTTOM - place(plot, dot.b))


def _text(x: float, y: float, text: str, style: str) -> Markup:
    """A text at a place."""
    return Markup('<text class="{}" x="{}" y="{}">{}</text>').format(
        style, _short(x), _short(y), text
    )


def _short(value: float) -> str:
    """A coordinate with one decimal."""
    return f"{value:.1f}".removesuffix(".0")
