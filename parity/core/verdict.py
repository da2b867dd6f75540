"""From recorded values to verdicts: which point is guilty, which only suffers from it.

Two executions of the candidate are judged against the reference's record. In the forced run
every module got the reference's own inputs and handed on the reference's own output, so a wrong
value there was made between clean ones: by the module itself, or, where it is what *reached* a
module inside it, by the code that connects them. In the free run errors add up as a user sees
them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from parity.core.compared import at_input, end_to_end, on_clean_inputs, padding_of
from parity.core.examine import Finding, missing
from parity.core.holes import hole_around
from parity.core.numerics import Precision
from parity.core.points import Firing, Point
from parity.core.rows import PYNATIVE, Kind, Row, Verdict
from parity.core.sampling import Masks
from parity.core.store import Bundle
from parity.core.tolerance import Gates
from parity.core.trace import Trace
from parity.core.vacuous import SHARED, vacuous


@dataclass(frozen=True)
class Evidence:
    """The two executions and the record they are judged against."""

    case: str
    precision: Precision
    gates: Gates
    bundle: Bundle
    free: Trace
    forced: Trace
    level: str = "module"
    padding: NDArray[np.bool_] | None = None
    """True where a token of the prompt is real, ``[B, S]``; ``None`` where all are."""
    mode: str = PYNATIVE
    """How the candidate executes."""
    holes: tuple[str, ...] = ()
    """Modules that the candidate does not have yet: the reference's results stood in for them."""
    sampled: Masks = field(default_factory=dict)
    """By how many rows a tensor has: of which there are truths; all, if not in it."""


@dataclass
class Judged:
    """One firing on its way to a row."""

    firing: Firing
    row: Row
    local: Finding
    end: Finding
    hole: str | None = None
    """The module around it, or its own, that is not ported yet."""
    vacuous: str | None = None
    """Why it would prove nothing if it passed."""
    parent: Judged | None = None
    """The smallest enclosing module that is a point itself."""
    arrived: list[Finding] = field(default_factory=list)
    """What reached the modules inside it: the work of its own code, on clean values."""

    @property
    def key(self) -> tuple[str, int]:
        """Point and firing."""
        return (self.firing.point.name, self.firing.index)


def findings(schedule: Sequence[Firing], evidence: Evidence) -> list[Judged]:
    """What the executions show about each firing of ``schedule``, nobody blamed yet."""
    judged = [_findings(order, firing, evidence) for order, firing in enumerate(schedule)]
    _find_parents(judged)
    for item in judged:
        _connect(item, evidence)
    return judged


def judge(schedule: Sequence[Firing], evidence: Evidence) -> list[Row]:
    """One row for each firing of ``schedule``, which is in execution order."""
    judged = findings(schedule, evidence)
    for item in judged:
        for finding in item.arrived:
            item.local = item.local.worse(finding)
    _count(judged, evidence)
    blamed = Blamed({item.key for item in judged if not item.local.ok})
    rows = [blamed.note(_attribute(item, blamed), item.local) for item in judged]
    return [*rows, *_undeclared(len(rows), evidence)]


@dataclass
class Blamed:
    """Who has been blamed so far, in execution order."""

    wrong: set[tuple[str, int]]
    """Point and firing of everything that is wrong on clean inputs, later ones included."""
    guilty: list[str] = field(default_factory=list)
    drifting: list[str] = field(default_factory=list)
    stopped: str | None = None
    """The first point that the forced run did not reach."""

    def note(self, row: Row, local: Finding) -> Row:
        """Take ``row`` into account for those after it, and return it."""
        if row.verdict is Verdict.DRIFT:
            self.drifting.append(row.point)
        elif row.verdict not in (Verdict.PASS, Verdict.VICTIM, Verdict.EMPTY, Verdict.ABSENT):
            self.guilty.append(row.point)
            if local.stopped and self.stopped is None:
                self.stopped = row.point
        return row


def _findings(order: int, firing: Firing, evidence: Evidence) -> Judged:
    """What the two executions show about one firing, each on its own."""
    point = firing.point
    recorded = evidence.bundle.get(point.name, firing.index)
    row = Row(
        case=evidence.case,
        dtype=evidence.precision.name,
        mode=evidence.mode,
        order=order,
        point=point.name,
        stage=firing.stage,
        kind=point.kind,
        firing=firing.index,
        verdict=Verdict.PASS,
        message="",
    )
    if recorded is None:
        absent = Finding(Verdict.MISSING, "the reference did not produce it")
        return Judged(firing, row, absent, absent)
    reference = evidence.bundle.tensor(recorded.value)
    free = evidence.free.get(point.name, firing.index)
    keep = padding_of(firing, evidence)
    row = replace(
        row,
        shape=reference.shape,
        reference_dtype=recorded.dtype,
        override=evidence.gates.override(point),
        candidate_dtype=free.dtype if free else "",
        candidate_shape=free.value.shape if free else None,
        excluded_rows=0 if keep is None else int(np.count_nonzero(~keep)),
    )
    hole = hole_around(point, evidence.holes)
    seen = free is not None and evidence.forced.get(point.name, firing.index) is not None
    if hole is None and point.module in evidence.holes and not seen:
        hole = point.module  # an argument that the placeholder has no name for
    if hole is not None:
        nothing = Finding(Verdict.PASS)
        return Judged(firing, row, nothing, nothing, hole=hole)
    local, end = _local(firing, evidence), _end_to_end(firing, evidence)
    taps = [tap for tap in (free, evidence.forced.get(point.name, firing.index)) if tap]
    return Judged(firing, row, local, end, vacuous=vacuous(point, reference, taps, keep))


def _find_parents(judged: Sequence[Judged]) -> None:
    """Link every module's firing to that of the smallest module around it."""
    by_name = {item.key: item for item in judged if _is_module(item.firing.point)}
    for item in judged:
        if not _is_module(item.firing.point):
            continue
        path, index = item.firing.point.name.rpartition(".")[0], item.firing.index
        while path and item.parent is None:
            item.parent = by_name.get((path, index))
            path = path.rpartition(".")[0]


def _is_module(point: Point) -> bool:
    """Whether the point stands for a whole module, named as the module is."""
    return point.module == point.name


def _connect(item: Judged, evidence: Evidence) -> None:
    """Judge what reached a module, and charge it to the code around that module."""
    firing = item.firing
    blamed = item.parent or item
    value = at_input(firing, evidence, blamed.firing.point)
    if value is None:
        return
    finding = value.examine()
    if np.shares_memory(value.tap.value, value.truth.reference):
        finding = Finding(Verdict.EMPTY, SHARED)
    message = f"at the input of {firing.point.name}: {finding.message}"
    blamed.arrived.append(replace(finding, message=message))


def _count(judged: Sequence[Judged], evidence: Evidence) -> None:
    """Note a point that occurred too often, at its last firing among ``judged``."""
    for item in {item.firing.point.name: item for item in judged}.values():
        name = item.firing.point.name
        declared = len(evidence.bundle.points.get(name, ()))
        often = max(evidence.free.fired(name), evidence.forced.fired(name))
        if often > declared:
            times = f"it occurred {often} times, the reference's {declared} times"
            item.local = item.local.worse(Finding(Verdict.EXTRA, times))


def _undeclared(order: int, evidence: Evidence) -> list[Row]:
    """A row for everything the candidate produced and the reference did not."""
    names = dict.fromkeys([*evidence.free.taps, *evidence.forced.taps])
    strange = [name for name in names if name not in evidence.bundle.points]
    return [
        Row(
            case=evidence.case,
            dtype=evidence.precision.name,
            mode=evidence.mode,
            order=order + number,
            point=name,
            stage="preprocessing" if name.startswith("processor.") else "undeclared",
            kind=Kind.FLOAT,
            firing=0,
            verdict=Verdict.EXTRA,
            message="the reference has nothing of this name in this case",
        )
        for number, name in enumerate(strange)
    ]


def _attribute(item: Judged, blamed: Blamed) -> Row:
    """Decide who is at fault, given what each execution shows and who was blamed before."""
    point, local, end = item.firing.point, item.local, item.end
    row = replace(
        item.row,
        local=local.comparison,
        end_to_end=end.comparison,
        mismatches=end.mismatches if local.mismatches is None else local.mismatches,
    )
    if local.stopped and blamed.stopped is not None:
        message = f"explained by {blamed.stopped}. {local.message}"
        return replace(row, verdict=Verdict.VICTIM, cause=blamed.stopped, message=message)
    if not local.ok:
        return replace(row, verdict=local.verdict, message=local.message)
    if item.hole is not None:
        message = f"{item.hole} is not ported yet; the reference's value stood in for it"
        return replace(item.row, verdict=Verdict.ABSENT, cause=item.hole, message=message)
    if end.ok and item.vacuous is not None:
        return replace(row, verdict=Verdict.EMPTY, message=item.vacuous)
    if end.ok:
        return row
    if point.module is None:
        return _first_of_its_kind(row, point, end, blamed)
    cause = _cause(item, blamed)
    if cause is not None:
        message = f"right on clean inputs; explained by {cause}. {end.message}"
        return replace(row, verdict=Verdict.VICTIM, cause=cause, message=message)
    if end.verdict is Verdict.GUILTY:
        message = f"right on clean inputs, none before it guilty, yet end to end {end.message}"
        return replace(row, verdict=Verdict.DRIFT, message=message)
    return replace(row, verdict=end.verdict, message=end.message)


def _first_of_its_kind(row: Row, point: Point, end: Finding, blamed: Blamed) -> Row:
    """A value with no clean inputs of its own: explained only by what it is made from."""
    cause = next((name for name in point.depends if name in blamed.guilty), None)
    if cause is None:
        return replace(row, verdict=end.verdict, message=end.message)
    return replace(row, verdict=Verdict.VICTIM, cause=cause,
                   message=f"explained by {cause}. {end.message}")  # fmt: skip


def _cause(item: Judged, blamed: Blamed) -> str | None:
    """The module around it that is at fault, or the first point before it that is, or drifts."""
    around = item.parent
    while around is not None:
        if around.key in blamed.wrong:
            return around.firing.point.name
        around = around.parent
    return next(iter([*blamed.guilty, *blamed.drifting]), None)


def _local(firing: Firing, evidence: Evidence) -> Finding:
    """What the forced run shows about a point's own value."""
    point, forced = firing.point, evidence.forced
    if point.module is None:
        return Finding(Verdict.PASS)
    value = on_clean_inputs(firing, evidence)
    if value is None:
        declared = len(evidence.bundle.points[point.name])
        return missing(forced, point, declared)
    return value.examine()


def _end_to_end(firing: Firing, evidence: Evidence) -> Finding:
    """What the free run shows about a point's value."""
    point, free = firing.point, evidence.free
    value = end_to_end(firing, evidence)
    if value is None:
        declared = len(evidence.bundle.points[point.name])
        return missing(free, point, declared)
    return value.examine()
