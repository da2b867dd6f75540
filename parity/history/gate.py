"""What a nightly job fails on: levels that got worse, and points that began to fail, lately."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from parity.core.rows import Verdict
from parity.history.changes import Change, changes
from parity.history.measured import ABSENT, Measured
from parity.history.record import Key
from parity.history.tables import VERDICTS

NEWEST = 3
"""Runs that count as new: an alarm is given so long, and is then the usual state."""
WORSE = 1.5
"""How many times a level has to grow to fail the gate; smaller changes are only shown."""
SHORT = 12
"""Digits of a commit that are shown."""
LOCAL, END = "local", "end to end"
_NO_FAULT = (Verdict.PASS, Verdict.VICTIM, Verdict.ABSENT)
"""Victims are left to the point that they are victims of."""
_AT_FAULT = np.array([name not in [one.value for one in _NO_FAULT] for name in VERDICTS])


@dataclass(frozen=True)
class Moved:
    """A change of level in one series."""

    line: int
    """Of the series in `Measured`."""
    key: Key
    scope: str
    """``LOCAL`` or ``END``."""
    change: Change
    new: bool
    """Whether it is among the newest runs, for the better or the worse."""

    @property
    def alarming(self) -> bool:
        """Whether the gate fails on it."""
        return self.new and self.change.times >= WORSE


@dataclass(frozen=True)
class Crossed:
    """A point that fails in its newest run, and has not failed for long."""

    line: int
    key: Key
    at: int
    """The run in which it began to fail."""
    verdict: Verdict
    """In its newest run."""


@dataclass(frozen=True)
class Judgement:
    """What became of the series of one environment."""

    measured: Measured
    moved: tuple[Moved, ...]
    """Every change of level in the order of runs, and in a run in execution order."""
    crossed: tuple[Crossed, ...]
    gone: int
    """Rows of the run before that the newest does not have."""

    @property
    def alarms(self) -> list[Moved]:
        """The changes that fail the gate, local ones first, each in execution order."""
        return sorted((one for one in self.moved if one.alarming), key=lambda one: one.scope == END)

    @property
    def passed(self) -> bool:
        """Whether nothing got worse and nothing began to fail."""
        return not self.alarms and not self.crossed


def judge(measured: Measured, newest: int = NEWEST) -> Judgement:
    """Find what changed, and what of it is new.

    Args:
        measured: The runs of one environment.
        newest: So many of a series' last runs are new.
    """
    moved = [
        Moved(line, measured.keys[line], scope, one, _runs_since(used[line], one.at) <= newest)
        for scope, used in ((LOCAL, measured.local), (END, measured.end))
        for line, found in enumerate(changes(used))
        for one in found
    ]
    moved.sort(key=lambda one: (one.change.at, one.scope == END, one.line))
    crossed = tuple(_crossings(measured, newest))
    gone = (measured.verdicts[:, -2:] != ABSENT) @ np.array([1, -1]) if _several(measured) else 0
    return Judgement(measured, tuple(moved), crossed, int(np.sum(np.asarray(gone) == 1)))


def _several(measured: Measured) -> bool:
    return len(measured.runs) > 1


def _runs_since(line: npt.NDArray[np.float32], at: int) -> int:
    """Runs of a series from ``at`` on."""
    return int(np.isfinite(line[at:]).sum() + np.isinf(line[at:]).sum())


def _crossings(measured: Measured, newest: int) -> Iterator[Crossed]:
    """The series that fail, and have failed for ``newest`` runs of their own at most."""
    for line, verdicts in enumerate(measured.verdicts):
        there = np.flatnonzero(verdicts != ABSENT)
        fails = _AT_FAULT[verdicts[there]]
        if fails.size == 0 or not fails[-1]:
            continue
        lasting = int(np.argmin(fails[::-1])) if not fails.all() else fails.size
        if lasting <= newest:
            verdict = Verdict(VERDICTS[verdicts[there[-1]]])
            yield Crossed(line, measured.keys[line], int(there[-lasting]), verdict)


def lines_of(judgement: Judgement, limit: int = 10) -> Sequence[str]:
    """The judgement for a terminal: what fails first, each with the run it began in."""
    runs = judgement.measured.runs
    told = [
        f"{one.verdict.value} {_name(one.key)}: fails since {_when(judgement, one.at)}"
        for one in judgement.crossed
    ] + [
        f"WORSE {_name(one.key)}: its {one.scope} ratio went from {one.change.before:.3g} to "
        f"{one.change.after:.3g} of its gate, {one.change.times:.2f} times as much, at "
        f"{_when(judgement, one.change.at)}"
        for one in judgement.alarms
    ]
    count = len(judgement.measured.keys)
    head = f"trend: {len(told):,} of {count:,} series worse" if told else (
        f"trend: steady, {count:,} series over {len(runs):,} runs"
    )  # fmt: skip
    more = [f"and {len(told) - limit:,} more, on the page"] if len(told) > limit else []
    notes = [f"note: {judgement.gone:,} rows of the run before are not in the newest run"]
    return [head, *told[:limit], *more, *(notes if judgement.gone else [])]


def _when(judgement: Judgement, at: int) -> str:
    """A run by its time and commit."""
    run = judgement.measured.runs[at]
    return f"{run.when:%Y-%m-%d %H:%M} ({run.commit[:SHORT]})"


def _name(key: Key) -> str:
    """A series for a terminal."""
    from parity.report.text import clean

    firing = f", firing {key.firing}" if key.firing else ""
    return f"{clean(key.point)} in {clean(key.case, 60)}, {clean(key.dtype)}{firing}"
