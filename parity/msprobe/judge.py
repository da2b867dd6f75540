"""Verdicts on a dump, which cannot be run again on the reference's inputs.

`GUILTY` is a module that is wrong on its own inputs (see ``own_inputs``), or, of what has no
formula (integers, tables, inputs of the towers), the first that is wrong with nothing guilty
before it. `VICTIM` is right on its own inputs and wrong end to end. What has no formula and
differs after something guilty counts as its victim: a dump cannot tell more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from parity.core.compared import end_to_end, padding_of
from parity.core.examine import Finding
from parity.core.points import Firing
from parity.core.rows import Row, Verdict
from parity.core.vacuous import vacuous
from parity.core.verdict import Evidence
from parity.msprobe.own_inputs import OwnInputs

FINE = Finding(Verdict.PASS)


@dataclass
class Judged:
    """One firing on its way to a row."""

    firing: Firing
    end: Finding
    own: Finding | None
    """On its own inputs; ``None`` where that cannot be told."""
    vacuous: str | None = None
    """Why it would prove nothing if it passed."""


@dataclass
class Blame:
    """Who has been blamed so far."""

    guilty: list[str] = field(default_factory=list)
    drifting: list[str] = field(default_factory=list)
    wrong: set[tuple[str, int]] = field(default_factory=set)
    """Module and firing of everything that is wrong on its own inputs, later ones included."""


def judge_dump(
    schedule: Sequence[Firing],
    evidence: Evidence,
    own: OwnInputs,
    tell: Callable[[str], object] = lambda name: None,
) -> list[Row]:
    """A row for each firing of ``schedule`` that the dump can show.

    Args:
        schedule: in execution order.
        evidence: with the dump as the free run, and nothing forced.
        own: the modules on their own inputs.
        tell: called with the name of what comes next.
    """
    modules = {f.point.name for f in schedule if f.point.module == f.point.name}
    judged = []
    for firing in schedule:
        tell(firing.point.name)
        judged.append(_judged(firing, evidence, own, modules))
    _count(judged, evidence, own)
    blame = Blame(wrong={
        (item.firing.point.name, item.firing.index)
        for item in judged if item.own is not None and not item.own.ok
    })  # fmt: skip
    return [_row(order, item, evidence, blame) for order, item in enumerate(judged)]


def _judged(firing: Firing, evidence: Evidence, own: OwnInputs, modules: set[str]) -> Judged:
    tap = evidence.free.get(firing.point.name, firing.index)
    if tap is None:
        return Judged(firing, _missing(firing, evidence, own), None)
    value = end_to_end(firing, evidence)
    if value is None:
        return Judged(firing, Finding(Verdict.EXTRA, "the reference did not produce it"), None)
    computed = own.computed(firing)
    found = None
    if computed is not None:
        seen = [computed, *own.inside(firing)]
        around = firing.point.name.rpartition(".")[0]
        while around and around not in modules:
            around = around.rpartition(".")[0]
        if not around:  # what is inside a module is given by that module's code
            seen.append(own.before(firing) or FINE)
        found = seen[0]
        for finding in seen[1:]:
            found = found.worse(finding)
    nothing = vacuous(firing.point, value.truth.reference, [tap], padding_of(firing, evidence))
    return Judged(firing, value.examine(), found, nothing)


def _count(judged: Sequence[Judged], evidence: Evidence, own: OwnInputs) -> None:
    """Note a module that was called too often, at its last firing."""
    for item in {item.firing.point.name: item for item in judged}.values():
        point = item.firing.point
        declared = len(evidence.bundle.points.get(point.name, ()))
        often = len(own.imported.calls.get(point.module or "", ()))
        if often > declared > 0:
            times = f"it was called {often} times in the dump, {declared} times in the reference"
            item.own = (item.own or FINE).worse(Finding(Verdict.EXTRA, times))


def _missing(firing: Firing, evidence: Evidence, own: OwnInputs) -> Finding:
    """Why a declared firing is not there."""
    declared = len(evidence.bundle.points.get(firing.point.name, ()))
    fired = len(own.imported.calls.get(firing.point.module or "", ()))
    if not fired:
        return Finding(Verdict.MISSING, "the dump has no call of this module")
    often = f"it was called {fired} times in the dump, {declared} times in the reference"
    return Finding(Verdict.MISSING, often)


def _row(order: int, item: Judged, evidence: Evidence, blame: Blame) -> Row:
    """Decide who is at fault, given what was found before, and remember it."""
    firing, point = item.firing, item.firing.point
    recorded = evidence.bundle.get(point.name, firing.index)
    tap = evidence.free.get(point.name, firing.index)
    keep = padding_of(firing, evidence)
    shape = () if recorded is None else evidence.bundle.tensor(recorded.value).shape
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
        shape=shape,
        reference_dtype="" if recorded is None else recorded.dtype,
        candidate_dtype="" if tap is None else tap.dtype,
        candidate_shape=None if tap is None else tap.value.shape,
        override=evidence.gates.override(point),
        excluded_rows=0 if keep is None or tap is None else int((~keep).sum()),
        local=None if item.own is None else item.own.comparison,
        end_to_end=item.end.comparison,
        mismatches=item.end.mismatches,
    )
    verdict, message, cause = _verdict(item, blame)
    if verdict is Verdict.DRIFT:
        blame.drifting.append(point.name)
    elif verdict not in (Verdict.PASS, Verdict.VICTIM, Verdict.EMPTY):
        blame.guilty.append(point.name)
    return replace(row, verdict=verdict, message=message, cause=cause)


def _verdict(item: Judged, blame: Blame) -> tuple[Verdict, str, str | None]:
    """Verdict, message and cause."""
    own, end, point = item.own, item.end, item.firing.point
    if own is not None and not own.ok:
        return own.verdict, own.message, None
    if end.ok and item.vacuous is not None:
        return Verdict.EMPTY, item.vacuous, None
    if end.ok:
        return Verdict.PASS, "", None
    before = [*blame.guilty, *blame.drifting]
    if point.module is None:  # the processor's: explained only by what it is made from
        before = [name for name in point.depends if name in before]
    cause = _around(item, blame) or next(iter(before), None)
    if own is None:
        if cause is None or end.verdict is Verdict.MISSING:
            return end.verdict, end.message, None
        told = f"explained by {cause}, or wrong itself: a dump cannot tell. {end.message}"
        return Verdict.VICTIM, told, cause
    if cause is not None:
        told = f"right on its own inputs; explained by {cause}. {end.message}"
        return Verdict.VICTIM, told, cause
    if end.verdict is Verdict.GUILTY:
        told = f"right on its own inputs, none before it guilty, yet end to end {end.message}"
        return Verdict.DRIFT, told, None
    return end.verdict, end.message, None


def _around(item: Judged, blame: Blame) -> str | None:
    """The module around it that is wrong on its own inputs."""
    path = item.firing.point.name.rpartition(".")[0]
    while path:
        if (path, item.firing.index) in blame.wrong:
            return path
        path = path.rpartition(".")[0]
    return None
