"""Where things go in a panel of the figure: a log scale upwards, execution order to the right."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

from parity.report.panels import Panel, PlotPoint

WIDTH, LEFT, RIGHT = 1160, 58, 1062
TOP, BOTTOM, HEIGHT = 22, 214, 240
LANE = 26
"""Height of the lanes for what a log scale cannot show: infinity above, zero below."""
NARROWEST_BAND = 86.0
"""Wide enough for ``preprocessing``, while there are few bands."""
_MODULE = re.compile(r"^(?P<name>(?:.*\.)?(?P<list>[^.]+)\.(?P<number>\d+))(?:\.|$| )")


@dataclass(frozen=True)
class Scale:
    """A log scale over whole decades that always shows the gate (1)."""

    low: int
    """Lowest decade, as a power of ten."""
    high: int
    clipped: bool = False
    """Whether something lies under the lowest decade, and is drawn on it."""

    @classmethod
    def of(cls, points: tuple[PlotPoint, ...]) -> Scale:
        """Choose the decades that hold every finite figure, at most three under the gate."""
        logs = [math.log10(use) for point in points for use in (point.local, point.end)
                if use is not None and math.isfinite(use) and use > 0]  # fmt: skip
        low = math.floor(min(logs, default=0.0))
        high = math.ceil(max(logs, default=0.0))
        return cls(max(-3, min(low, -1)), max(high, 1), low < -3)

    def y(self, use: float) -> float:
        """Return the height of a figure: zero and infinity have lanes of their own."""
        if use == 0:
            return BOTTOM - LANE / 3
        if not math.isfinite(use):
            return TOP + LANE / 3
        share = (math.log10(use) - self.low) / (self.high - self.low)
        bottom, top = BOTTOM - LANE, TOP + LANE
        return bottom - min(1.0, max(0.0, share)) * (bottom - top)

    def decades(self) -> list[int]:
        """Return the powers of ten that get a line: all, or every other one, the gate among them.

        Nine lines at the most: more are noise.
        """
        step = 1 + (self.high - self.low) // 9
        powers = range(self.low, self.high + 1)
        return [p for p in powers if p % step == 0 or (self.clipped and p == self.low)]


@dataclass(frozen=True)
class Layout:
    """Horizontal places: of every point, and of every band's two edges."""

    xs: tuple[float, ...]
    edges: tuple[tuple[float, float], ...]


def layout(panel: Panel) -> Layout:
    """Share the width out to the bands by their points, but leave room for their names."""
    sizes = [band.stop - band.first for band in panel.bands]
    space = float(RIGHT - LEFT)
    least = NARROWEST_BAND if len(sizes) * NARROWEST_BAND <= space / 2 else 0.0
    spare = space - least * len(sizes)
    xs: list[float] = []
    edges: list[tuple[float, float]] = []
    left = float(LEFT)
    for size in sizes:
        width = least + spare * size / len(panel.points)
        edges.append((left, left + width))
        xs += [left + width * (index + 0.5) / size for index in range(size)]
        left += width
    return Layout(tuple(xs), tuple(edges))


def ticks(panel: Panel, xs: tuple[float, ...]) -> Iterator[tuple[float, str]]:
    """Yield a place and a text for every module of a list (``blocks.0``, then ``1``, ``2``).

    A number that would touch the one before it is left out.
    """
    seen: set[str] = set()
    free, last_list = float(LEFT), None
    for point, x in zip(panel.points, xs, strict=True):
        found = _MODULE.match(point.name)
        if found is None or found["name"] in seen or len(found["list"]) > 20:
            continue
        seen.add(found["name"])
        text = found["number"]
        if found["list"] != last_list:
            text = f"{found['list']}.{text}"
        if x - 3.2 * len(text) < free:
            continue
        last_list = found["list"]
        free = x + 3.2 * len(text) + 6
        yield x, text
