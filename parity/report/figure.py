"""Error along depth as inline SVG, drawn here so that it can be read without JavaScript.

Two series, told apart without colour: local figures are filled dots that stand alone (each module
is measured by itself), end-to-end figures are hollow diamonds on a dashed line (errors add up).
What is at fault carries a cross in a ring, and the first of it its name.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from markupsafe import Markup

from parity.report.axes import (
    BOTTOM,
    HEIGHT,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    Layout,
    Scale,
    layout,
    ticks,
)  # fmt: skip
from parity.report.panels import Panel, PlotPoint
from parity.report.text import clean, number

CHARACTER = 6.3
"""Width of a small character, in the figure's units."""
DENSE = 160
"""Points from which marks are smaller, and fewer."""
RINGS = 40
"""Faults of a panel that are marked by a ring and a link each."""
CROSS = "m-3.5 -3.5l7 7m0 -7l-7 7"
DIAMOND = "m-3.2 0l3.2 -3.2 3.2 3.2 -3.2 3.2z"


def draw(panel: Panel, scale: Scale) -> Markup:
    """Draw one panel.

    Args:
        panel: What to show.
        scale: Of the axis upwards, which several panels may share.

    Returns:
        One ``<svg>`` with title and description, styled by the page's classes. ``data-first`` is
        the number of its first row and ``data-bands`` has left edge, right edge and points of
        each band: from these the page's script finds the row under the pointer.
    """
    places = layout(panel)
    parts = [
        *_head(panel, places), *_bands(panel, places), *_grid(scale), *_lanes(panel, scale),
        *_ticks(panel, places), *_gate(panel, scale), *_end_series(panel, scale, places),
        *_local_series(panel, scale, places), *_faults(panel, scale, places), Markup("</svg>"),
    ]  # fmt: skip
    return Markup("\n").join(parts)


def _head(panel: Panel, places: Layout) -> Iterator[Markup]:
    """Open the drawing and say in words what it is."""
    bands = " ".join(
        f"{_short(left)}:{_short(right)}:{band.stop - band.first}"
        for band, (left, right) in zip(panel.bands, places.edges, strict=True)
    )
    yield Markup(
        '<svg class="plot" role="group" viewBox="0 0 {} {}" aria-labelledby="{id}-t {id}-d"'
        ' data-first="{}" data-bands="{}">'
    ).format(WIDTH, HEIGHT, panel.first, bands, id=panel.anchor)
    yield Markup('<title id="{}-t">Error along depth: {}, {}</title>').format(
        panel.anchor, panel.case, panel.dtype
    )
    yield Markup('<desc id="{}-d">{}</desc>').format(panel.anchor, panel.summary)


def _bands(panel: Panel, places: Layout) -> Iterator[Markup]:
    """Shade every other stage and write its name above."""
    for index, (band, (left, right)) in enumerate(zip(panel.bands, places.edges, strict=True)):
        yield Markup('<rect class="band{}" x="{}" y="{}" width="{}" height="{}"/>').format(
            index % 2, _short(left), TOP, _short(right - left), BOTTOM - TOP
        )
        room = int((right - left - 6) / CHARACTER)
        if room >= min(len(band.stage), 4):
            yield _text(left + 4, TOP - 6, clean(band.stage, max(room, 4)), "stage")


def _grid(scale: Scale) -> Iterator[Markup]:
    """Draw a line for each decade."""
    for power in scale.decades():
        y = _short(scale.y(10.0**power))
        yield Markup('<path class="grid" d="M{} {}H{}"/>').format(LEFT, y, RIGHT)
        written = f"{10.0**power:g}" if -4 < power < 4 else f"1e{power}"
        if scale.clipped and power == scale.low:
            written = f"<= {written}"
        yield _text(LEFT - 6, float(y) + 3.5, written, "tick end")


def _lanes(panel: Panel, scale: Scale) -> Iterator[Markup]:
    """Name the lanes of infinity and zero, where something is in them."""
    values = [use for point in panel.points for use in (point.local, point.end) if use is not None]
    if any(not math.isfinite(use) for use in values):
        yield _text(LEFT - 6, scale.y(math.inf) + 4, "off scale", "tick end")
    if 0 in values:
        yield _text(LEFT - 6, scale.y(0) + 4, "equal", "tick end")


def _ticks(panel: Panel, places: Layout) -> Iterator[Markup]:
    """Number the blocks and layers under the axis."""
    yield Markup('<path class="axis" d="M{} {}H{}"/>').format(LEFT, BOTTOM, RIGHT)
    for x, text in ticks(panel, places.xs):
        yield Markup('<path class="axis" d="M{} {}v4"/>').format(_short(x), BOTTOM)
        yield _text(x, BOTTOM + 15, text, "tick mid")


def _gate(panel: Panel, scale: Scale) -> Iterator[Markup]:
    """Draw the gate and, where one gate holds for all, the line of the reference itself.

    Their names stand to the right of the axes, where no point can be.
    """
    y = scale.y(1)
    yield Markup('<path class="gate" d="M{} {}H{}"/>').format(LEFT, _short(y), RIGHT)
    text = "gate" if panel.gate is None else f"gate: ratio {number(panel.gate)}"
    yield _text(RIGHT + 6, y + 4, text, "gate-name")
    if panel.gate is not None and panel.gate != 1 and 1 / panel.gate > 10.0**scale.low:
        y = scale.y(1 / panel.gate)
        yield Markup('<path class="parity" d="M{} {}H{}"/>').format(LEFT, _short(y), RIGHT)
        yield _text(RIGHT + 6, y + 4, "reference: 1", "tick")


def _end_series(panel: Panel, scale: Scale, places: Layout) -> Iterator[Markup]:
    """Draw the end-to-end line, broken where there is no figure, with the page's diamond at each.

    Where points are dense, the dashes alone tell the line from the dots; only a figure without
    neighbours, which makes no line, keeps its diamond.
    """
    ends = [None, *(point.end for point in panel.points), None]
    line, lonely = "", ""
    for place, x in enumerate(places.xs, 1):
        before, end, after = ends[place - 1 : place + 2]
        if end is None:
            continue
        at = f"{_short(x)} {_short(scale.y(end))}"
        if before is None and after is None:
            lonely += f"M{at}{DIAMOND}"
        else:
            line += f"{'M' if before is None else 'L'}{at}"
    if line:
        dense = " dense" if len(panel.points) > DENSE else ""
        yield Markup('<path class="end-line{}" d="{}"/>').format(dense, line)
    if lonely:
        yield Markup('<path class="end" d="{}"/>').format(lonely)


def _local_series(panel: Panel, scale: Scale, places: Layout) -> Iterator[Markup]:
    """Draw the local dots: a line of no length with round ends is the shortest way to write one."""
    dots = "".join(
        f"M{_short(x)} {_short(scale.y(point.local))}h0"
        for point, x in zip(panel.points, places.xs, strict=True)
        if point.local is not None
    )
    if dots:
        size = "" if len(panel.points) <= DENSE else " small"
        yield Markup('<path class="local{}" d="{}"/>').format(size, dots)


def _faults(panel: Panel, scale: Scale, places: Layout) -> Iterator[Markup]:
    """Mark what is at fault with a link to its row, and name the first of it.

    Of hundreds of faults only the first are rings; the others are crosses in a single path.
    """
    found = [
        (point, x, scale.y(_height_of_fault(point)))
        for point, x in zip(panel.points, places.xs, strict=True)
        if point.at_fault
    ]
    crosses = "".join(f"M{_short(x)} {_short(y)}{CROSS}" for _, x, y in found[RINGS:])
    if crosses:
        yield Markup('<path class="crosses" d="{}"/>').format(crosses)
    for point, x, y in found[:RINGS]:
        yield Markup(
            '<a class="fault" href="#{}" aria-label="{}: {}"><circle cx="{x}" cy="{y}" r="7.5"/>'
            '<path d="M{x} {y}{cross}"/></a>'
        ).format(point.anchor, point.name, point.verdict, x=_short(x), y=_short(y), cross=CROSS)
    if found:
        yield _fault_name(*found[0])


def _height_of_fault(point: PlotPoint) -> float:
    """Return the figure that the mark stands at: the larger of the two."""
    values = [use for use in (point.local, point.end) if use is not None]
    local = point.local if point.local is not None and point.local > 1 else None
    return local if local is not None else max(values, default=math.inf)


def _fault_name(point: PlotPoint, x: float, y: float) -> Markup:
    """Write the name of a point beside its mark, on the side that has room."""
    text = f"{clean(point.name, 70)} {point.verdict}"
    leftwards = x + 14 + len(text) * CHARACTER * 1.1 > RIGHT
    return _text(x - 13 if leftwards else x + 13, y + 4, text, "name end" if leftwards else "name")


def _text(x: float, y: float, text: str, classes: str) -> Markup:
    """Write a text; ``end`` and ``mid`` among the classes say where ``x`` is."""
    return Markup('<text class="{}" x="{}" y="{}">{}</text>').format(
        classes, _short(x), _short(y), text
    )


def _short(value: float) -> str:
    """Write a coordinate with one decimal at the most."""
    return f"{value:.1f}".removesuffix(".0")
