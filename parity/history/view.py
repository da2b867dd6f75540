"""What the trend's page shows, as plain data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from parity.history.database import RunInfo
from parity.history.gate import END, LOCAL, NEWEST, SHORT, WORSE, Crossed, Judgement, Moved
from parity.history.measured import Measured
from parity.history.record import Key
from parity.history.spark import Spark
from parity.history.timeline import Mark, Night, Shift, marks_of, nights_of
from parity.report.text import clean, number, plural

SHOWN = 60
"""Lines of a list that are drawn; the rest is counted."""

SHIFTS = 20


@dataclass(frozen=True)
class Line:
    """One series that changed or fails."""

    point: str
    case: str
    dtype: str
    scope: str
    what: str
    """``worse``, ``better`` or a verdict."""
    style: str
    """The class of its badge."""
    before: str
    after: str
    """Ratios in units of the gate."""
    times: str
    since: str
    """When it began, and in which commit."""
    spark: Spark


@dataclass(frozen=True)
class PointLine:
    """The newest ratio of a point in one dtype: the worst of its cases and firings."""

    point: str
    newest: str
    used: float
    scope: str
    values: tuple[float, ...]
    """Over the runs, thinned."""


@dataclass(frozen=True)
class DtypeView:
    """All points of one dtype."""

    dtype: str
    points: tuple[PointLine, ...]


@dataclass(frozen=True)
class EnvironmentView:
    """One environment's runs."""

    label: str
    anchor: str
    summary: str
    nights: tuple[Night, ...]
    marks: tuple[Mark, ...]
    changed: tuple[Line, ...]
    """The newest first."""
    unshown: int
    shifts: tuple[Shift, ...]
    """What differs from the environment before, the furthest first."""
    shifted: int
    """How many there are in all."""
    shifted_from: str
    dtypes: tuple[DtypeView, ...]


@dataclass(frozen=True)
class TrendView:
    """The page."""

    passed: bool
    word: str
    sentence: str
    detail: str
    count: int
    """What is new."""
    alarms: tuple[Line, ...]
    """What fails, and what got worse by itself."""
    following: tuple[Line, ...]
    """What got worse end to end only, where something got worse by itself."""
    unshown: int
    environments: tuple[EnvironmentView, ...]
    newest: int = NEWEST
    worse: float = WORSE


def view(
    judgements: Sequence[Judgement], shifts: Sequence[tuple[str, tuple[Shift, ...]]]
) -> TrendView:
    """The page of some environments.

    Args:
        judgements: The environment that counts first, then the others.
        shifts: For each of them the environment before, and what differs from it.
    """
    first = judgements[0]
    alarms = [_crossed(first, one) for one in first.crossed[:SHOWN]]
    own = [one for one in first.alarms if one.scope == LOCAL]
    alarms += [_moved(first, one) for one in own[:SHOWN]]
    following = [_moved(first, one) for one in first.alarms if one.scope == END][:SHOWN]
    if not alarms:
        alarms, following = following, []
    count = len(first.crossed) + len(first.alarms)
    return TrendView(
        passed=first.passed,
        word="STEADY" if first.passed else "WORSE",
        sentence=_sentence(first),
        detail=_detail(first),
        count=count,
        alarms=tuple(alarms),
        following=tuple(following),
        unshown=count - len(alarms) - len(following),
        environments=tuple(
            _environment(n, one, *shifts[n], whole=n == 0) for n, one in enumerate(judgements)
        ),
    )


def _sentence(found: Judgement) -> str:
    """The first thing to know."""
    if found.crossed:
        one = found.crossed[0]
        return f"{clean(one.key.point)} began to fail: {one.verdict.value} in {clean(one.key.case)}"
    if found.alarms:
        moved = found.alarms[0]
        return (
            f"{clean(moved.key.point)} is {number(moved.change.times)} times as far from the "
            f"reference as it was, {moved.scope}, in {clean(moved.key.case)}"
        )
    return "nothing got worse and nothing began to fail in the newest runs"


def _detail(found: Judgement) -> str:
    """How much was looked at."""
    runs = found.measured.runs
    said = [
        f"{plural(len(found.measured.keys), 'row')} over {plural(len(runs), 'run')}, "
        f"{runs[0].when:%Y-%m-%d} to {runs[-1].when:%Y-%m-%d}"
    ]
    if not found.passed:
        said.append(f"{plural(len(found.crossed), 'row')} began to fail, "
                    f"{len(found.alarms):,} got worse by {WORSE:g} times or more")  # fmt: skip
    if found.gone:
        said.append(f"{plural(found.gone, 'row')} of the run before are not in the newest one")
    return "; ".join(said) + "."


def _environment(
    number_: int, found: Judgement, before: str, shifts: tuple[Shift, ...], *, whole: bool
) -> EnvironmentView:
    """One environment; only the first shows all of its points."""
    runs = found.measured.runs
    failed = sum(not one.passed for one in runs)
    changed = list(reversed(found.moved))
    return EnvironmentView(
        label=clean(runs[-1].environment.label),
        anchor=f"environment-{number_}",
        summary=f"{plural(len(runs), 'run')}, {runs[0].when:%Y-%m-%d} to {runs[-1].when:%Y-%m-%d}, "
        f"{failed:,} failed",
        nights=nights_of(found),
        marks=marks_of(runs),
        changed=tuple(_moved(found, one) for one in changed[:SHOWN]),
        unshown=max(0, len(changed) - SHOWN),
        shifts=shifts[:SHIFTS],
        shifted=len(shifts),
        shifted_from=before,
        dtypes=tuple(_dtypes(found.measured)) if whole else (),
    )


def _moved(found: Judgement, one: Moved) -> Line:
    """A change of level."""
    used = found.measured.local if one.scope == LOCAL else found.measured.end
    change = one.change
    what = "worse" if change.worse else "better"
    label = (
        f"{clean(one.key.point)}, {one.scope}: {number(change.before)} of its gate, then "
        f"{number(change.after)}"
    )
    style = "guilty" if one.alarming else "drift" if change.worse else "pass"
    return Line(
        **_names(one.key), scope=one.scope, what=what, style=style,
        before=number(change.before), after=number(change.after),
        times=number(change.times), since=_since(found.measured.runs[change.at]),
        spark=Spark(used[one.line].tolist(), (change.at,), (), label),
    )  # fmt: skip


def _crossed(found: Judgement, one: Crossed) -> Line:
    """A point that began to fail."""
    measured = found.measured
    scope, used = _worse_scope(measured, one.line)
    before = used[: one.at][np.isfinite(used[: one.at])]
    return Line(
        **_names(one.key), scope=scope, what=one.verdict.value, style="guilty",
        before=number(float(before[-1])) if before.size else "-", after=_newest(used), times="",
        since=_since(measured.runs[one.at]),
        spark=Spark(used.tolist(), (), _failing(used, one.at),
                    f"{clean(one.key.point)} fails since run {one.at + 1}"),
    )  # fmt: skip


def _failing(used: npt.NDArray[np.float32], at: int) -> list[int]:
    """The runs from ``at`` on that have a ratio."""
    return [run for run in range(at, len(used)) if not np.isnan(used[run])]


def _worse_scope(measured: Measured, line: int) -> tuple[str, npt.NDArray[np.float32]]:
    """Local or end to end, whichever uses more of its gate in the newest run."""
    both = ((LOCAL, measured.local[line]), (END, measured.end[line]))
    return max(both, key=lambda one: float(np.nan_to_num(one[1][-1], nan=-1.0)))


def _names(key: Key) -> dict[str, str]:
    """What a line is about."""
    firing = f" #{key.firing}" if key.firing else ""
    mode = "" if key.mode == "pynative" else f" {key.mode}"
    return {"point": clean(key.point) + firing, "case": clean(key.case),
            "dtype": clean(key.dtype + mode)}  # fmt: skip


def _since(run: RunInfo) -> str:
    """A run by its time and commit."""
    return f"{run.when:%Y-%m-%d %H:%M}, {clean(run.commit[:SHORT])}"


def _newest(used: npt.NDArray[np.float32]) -> str:
    """The last ratio that there is."""
    there = used[~np.isnan(used)]
    return number(float(there[-1])) if there.size else "-"


def _dtypes(measured: Measured) -> Iterator[DtypeView]:
    """All points, in execution order; a point is the worst of its cases and firings."""
    for dtype in dict.fromkeys(_names(key)["dtype"] for key in measured.keys):
        lines: dict[str, list[int]] = {}
        for line, key in enumerate(measured.keys):
            if _names(key)["dtype"] == dtype:
                lines.setdefault(key.point, []).append(line)
        found = [_point(measured, point, rows) for point, rows in lines.items()]
        yield DtypeView(dtype, tuple(one for one in found if one is not None))


def _point(measured: Measured, point: str, rows: list[int]) -> PointLine | None:
    """One point; ``None`` if it has no ratios, as integers have none."""
    worst = [np.fmax.reduce(used[rows]) for used in (measured.local, measured.end)]
    used, scope = max(zip(worst, (LOCAL, END), strict=True), key=lambda one: _last(one[0]))
    if np.isnan(used).all():
        return None
    return PointLine(clean(point), _newest(used), _last(used), scope, _thinned(used))


def _last(used: npt.NDArray[np.float32]) -> float:
    """The last ratio; -1 if there is none at all."""
    there = used[~np.isnan(used)]
    return float(there[-1]) if there.size else -1.0


def _thinned(used: npt.NDArray[np.float32], most: int = 14) -> tuple[float, ...]:
    """At most so many ratios, each the worst of its part, for a page of 12,000 lines."""
    parts = np.array_split(used, min(most, len(used)))
    return tuple(float(np.fmax.reduce(part)) for part in parts)
