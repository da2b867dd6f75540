"""What the figure shows of one case and dtype: two series of gate use, in execution order."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby

from parity.core.rows import Row
from parity.report.figures import Worst, at_fault, end_figure, local_figure
from parity.report.groups import Group
from parity.report.text import clean, number, plural


@dataclass(frozen=True)
class PlotPoint:
    """One point on the horizontal axis."""

    anchor: str
    name: str
    """Point and, after the first, firing."""
    stage: str
    verdict: str
    at_fault: bool
    local: float | None
    """Worst local ratio in units of its gate; 0 or infinite for equality; ``None``: no figure."""
    end: float | None
    """The same end to end."""


@dataclass(frozen=True)
class Band:
    """A run of neighbouring points of one stage: ``points[first:stop]``."""

    stage: str
    first: int
    stop: int


@dataclass(frozen=True)
class Panel:
    """One case in one dtype."""

    anchor: str
    case: str
    dtype: str
    passed: bool
    outcome: str
    """``1 guilty, 37 victims, 66 of 104 pass``."""
    summary: str
    """The whole panel in words, for those who cannot see it."""
    first: int
    """Number of the first point's row in the run's order; the others follow."""
    points: tuple[PlotPoint, ...]
    bands: tuple[Band, ...]
    gate: float | None
    """The gate, if all figures of the panel share one."""


def panel(group: Group, number_of_panel: int, first: int, ids: Mapping[int, str]) -> Panel:
    """Compute a panel from a group; ``ids`` has every row's anchor by ``id(row)``."""
    points = tuple(_point(row, ids[id(row)]) for row in group.rows)
    return Panel(
        anchor=f"panel-{number_of_panel}",
        case=clean(group.case),
        dtype=clean(group.dtype),
        passed=group.passed,
        outcome=outcome(group),
        summary=_summary(group, points),
        first=first,
        points=points,
        bands=tuple(_bands(points)),
        gate=_shared_gate(group.rows),
    )


def outcome(group: Group) -> str:
    """Count the verdicts of a group in words."""
    tally: dict[str, int] = {}
    for row in group.rows:
        tally[row.verdict.value] = tally.get(row.verdict.value, 0) + 1
    passing = tally.pop("PASS", 0)
    failing = [f"{count:,} {verdict}" for verdict, count in tally.items()]
    return ", ".join([*failing, f"{passing:,} of {plural(len(group.rows), 'row')} PASS"])


def label(row: Row) -> str:
    """Name a row: its point and, after the first, its firing."""
    name = clean(row.point)
    return f"{name} (firing {row.firing})" if row.firing else name


def _point(row: Row, anchor: str) -> PlotPoint:
    """Compute one point of a panel."""
    local, end = _use(local_figure(row)), _use(end_figure(row))
    if local is None and end is None and row.mismatches is not None:
        local = math.inf if row.mismatches else 0.0
    elif local is None and at_fault(row):
        local = math.inf  # no figure, yet at fault (a shape, say): off the scale, not out of sight
    stage, verdict = clean(row.stage), row.verdict.value
    return PlotPoint(anchor, label(row), stage, verdict, at_fault(row), local, end)


def _use(worst: Worst | None) -> float | None:
    """Return the use of the gate of a figure, if there is one."""
    return None if worst is None else worst.use


def _bands(points: tuple[PlotPoint, ...]) -> list[Band]:
    """Cut the points into runs of one stage."""
    bands: list[Band] = []
    for stage, run in groupby(points, key=lambda point: point.stage):
        first = bands[-1].stop if bands else 0
        bands.append(Band(stage, first, first + len(list(run))))
    return bands


def _shared_gate(rows: list[Row]) -> float | None:
    """Return the one gate of all plotted figures, or ``None`` where they differ."""
    worst = [figure for row in rows for figure in (local_figure(row), end_figure(row)) if figure]
    gates = {one.figure.gate for one in worst}
    gate = gates.pop() if len(gates) == 1 else None
    return gate if gate is not None and math.isfinite(gate) and gate > 0 else None


def _summary(group: Group, points: tuple[PlotPoint, ...]) -> str:
    """Say in words what the panel shows."""
    text = f"{plural(len(points), 'point')} in execution order: {outcome(group)}."
    if (worst := group.worst_local) is not None:
        row, figure = worst
        text += (
            f" Largest local ratio: {number(figure.figure.ratio)} against a gate of "
            f"{number(figure.figure.gate)}, at {label(row)}."
        )
    faults = [point for point in points if point.at_fault]
    if faults:
        text += f" First at fault: {faults[0].name}, {faults[0].verdict}."
    return text
