"""Points by dtypes as a heat map: how much of its gate each uses, worst case first in every cell.

Modules of a list (``visual.blocks.3``) are a line each. A point has a line of its own below its
module if it fails by itself, or uses most of its gate on clean inputs: so a large model stays
readable, and so does a run in which one fault spoils everything after it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from parity.core.rows import Row, Verdict
from parity.report.figures import Worst, at_fault, end_figure, local_figure
from parity.report.panels import label
from parity.report.text import clean, number, plural

LIMIT = 150
"""Lines that a person can read."""
NEAR = 0.75
"""Use of a gate on clean inputs over which a point has a line of its own."""
STEPS = ((0.25, "up to a quarter of the gate"), (NEAR, "up to three quarters"), (1.0, "up to it"),
         (10.0, "over it"), (math.inf, "over ten times"))  # fmt: skip
"""Upper edges of the shades, with their words."""


@dataclass(frozen=True)
class Cell:
    """The row of one line and one dtype that uses most of its gate."""

    text: str
    """Use of the gate: ``0.19``, ``651``, ``inf``; ``=`` for equal values, or a verdict."""
    shade: int
    """Place among `STEPS`, from 0."""
    fault: bool
    """Whether that row is at fault itself."""
    anchor: str


@dataclass(frozen=True)
class Line:
    """A module, or a point of one."""

    name: str
    inner: bool
    """Whether it is a point below its module's line."""
    local: tuple[Cell | None, ...]
    """One a dtype; ``None`` where there is none."""
    end: tuple[Cell | None, ...]


@dataclass(frozen=True)
class Matrix:
    """The heat map; without lines where nothing was compared."""

    dtypes: tuple[str, ...]
    lines: tuple[Line, ...]
    note: str
    """What has no line."""


@dataclass(frozen=True)
class _Use:
    """A figure of a row, ready to be shown and ranked."""

    use: float
    text: str
    row: Row


def matrix(rows: Sequence[Row], ids: Mapping[int, str]) -> Matrix:
    """Compute the heat map; ``ids`` has every row's anchor by ``id(row)``."""
    dtypes = tuple(dict.fromkeys(row.ran_in for row in rows))
    lines: list[tuple[Line, float]] = []
    for name, points in _modules(rows):
        every = [row for found in points.values() for row in found]
        if len(points) > 1:
            lines.append(_line(name, every, dtypes, ids, inner=False))
        lines += [
            _line(point, found, dtypes, ids, inner=len(points) > 1)
            for point, found in points.items()
            if len(points) == 1 or any(map(_stands_out, found))
        ]
    shown = _worst(lines)
    return Matrix(tuple(map(clean, dtypes)), shown, _note(len(lines) - len(shown)))


def module_of(point: str) -> str:
    """Name the module that a point belongs to: ``visual.blocks.3``, ``visual.merger``."""
    parts = point.split(".")
    deep = len(parts) > 2 and parts[2].isdigit()
    return ".".join(parts[: 3 if deep else 2])


def _modules(rows: Sequence[Row]) -> list[tuple[str, dict[str, list[Row]]]]:
    """The rows by module and by point, in execution order.

    Cases that skip a part of the model number what follows lower, so the case in which a point
    comes last tells its place.
    """
    places: dict[str, int] = {}
    for row in rows:
        if not row.firing:
            places[row.point] = max(places.get(row.point, 0), row.order)
    modules: dict[str, dict[str, list[Row]]] = {}
    for row in sorted(rows, key=lambda row: places.get(row.point, row.order)):
        modules.setdefault(module_of(row.point), {}).setdefault(label(row), []).append(row)
    return list(modules.items())


def _stands_out(row: Row) -> bool:
    """Whether a row fails by itself, or is near its gate on clean inputs."""
    found = _local(row)
    near = found is not None and found.use > NEAR
    return near or at_fault(row) or row.verdict is Verdict.DRIFT


def _line(
    name: str, rows: Iterable[Row], dtypes: Sequence[str], ids: Mapping[int, str], *, inner: bool
) -> tuple[Line, float]:
    """A line, and the largest use of a gate in it."""
    by_dtype: dict[str, list[Row]] = {dtype: [] for dtype in dtypes}
    for row in rows:
        by_dtype[row.ran_in].append(row)
    worst = [[_most(found, side) for found in by_dtype.values()] for side in (_local, _end)]
    local, end = (tuple(_cell(one, ids) for one in side) for side in worst)
    most = max((one.use for side in worst for one in side if one), default=0.0)
    return Line(clean(name), inner, local, end), most


def _most(rows: Iterable[Row], side: Callable[[Row], _Use | None]) -> _Use | None:
    """The row with the largest use; one at fault before others, and the first of equals."""
    found = [use for row in rows if (use := side(row)) is not None]
    return max(found, key=lambda one: (one.use, at_fault(one.row)), default=None)


def _local(row: Row) -> _Use | None:
    """The local figure of a row, or what stands for it."""
    figure = local_figure(row)
    if figure is not None:
        return _figure(figure, row)
    if row.mismatches is not None:
        return _Use(math.inf, "differ", row) if row.mismatches else _Use(0.0, "=", row)
    return _Use(math.inf, row.verdict.value, row) if at_fault(row) else None


def _end(row: Row) -> _Use | None:
    """The end-to-end figure of a row."""
    figure = end_figure(row)
    return None if figure is None else _figure(figure, row)


def _figure(worst: Worst, row: Row) -> _Use:
    return _Use(worst.use, number(worst.use) if math.isfinite(worst.use) else _odd(worst), row)


def _odd(worst: Worst) -> str:
    """Write what is no number, or over a gate of zero."""
    return number(worst.figure.ratio) if not math.isfinite(worst.figure.ratio) else "over 0"


def _cell(found: _Use | None, ids: Mapping[int, str]) -> Cell | None:
    if found is None:
        return None
    shade = next(place for place, (edge, _) in enumerate(STEPS) if found.use <= edge)
    return Cell(found.text, shade, _shows_fault(found), ids[id(found.row)])


def _shows_fault(found: _Use) -> bool:
    """Whether the cell is marked: over its gate, and not because of a point before it."""
    return found.use > 1 and found.row.verdict not in (Verdict.VICTIM, Verdict.ABSENT)


def _worst(lines: Sequence[tuple[Line, float]]) -> tuple[Line, ...]:
    """At most `LIMIT` lines, those that use most of their gates, in execution order."""
    ranked = sorted(range(len(lines)), key=lambda place: -lines[place][1])
    kept = set(ranked[:LIMIT])
    return tuple(line for place, (line, _) in enumerate(lines) if place in kept)


def _note(left_out: int) -> str:
    if not left_out:
        return ""
    return f"{plural(left_out, 'line')} that use less of their gates are left out."
