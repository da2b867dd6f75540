"""The runs of an environment in order: which passed, and what else changed from one to the next."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from parity.history.changes import FLOOR
from parity.history.database import RunInfo
from parity.history.environment import NONE
from parity.history.gate import SHORT, WORSE, Judgement
from parity.history.measured import Measured
from parity.report.text import clean, number

_RECENT = 3
"""Runs whose middle stands for a level, when environments are compared."""


@dataclass(frozen=True)
class Night:
    """One run of a timeline."""

    when: str
    commit: str
    passed: bool
    changes: int
    """Levels that changed in it."""
    marked: bool
    """Whether versions changed in it."""


@dataclass(frozen=True)
class Mark:
    """Versions that changed between two runs."""

    when: str
    commit: str
    what: tuple[str, ...]
    """``torch: 2.12.0 -> 2.13.0``."""


@dataclass(frozen=True)
class Shift:
    """A series whose level differs from that in the environment before."""

    point: str
    case: str
    dtype: str
    before: str
    after: str
    times: str


def nights_of(found: Judgement) -> tuple[Night, ...]:
    """Every run, the oldest first."""
    runs = found.measured.runs
    changed = np.bincount([one.change.at for one in found.moved] or [0], minlength=len(runs))
    if not found.moved:
        changed[:] = 0
    marked = {one.when for one in marks_of(runs)}
    return tuple(
        Night(when, clean(one.commit[:SHORT]), one.passed, int(count), when in marked)
        for one, count in zip(runs, changed, strict=True)
        for when in (f"{one.when:%Y-%m-%d %H:%M}",)
    )


def marks_of(runs: Sequence[RunInfo]) -> tuple[Mark, ...]:
    """Where a version, a gates file or a variable changed; the newest first."""
    found = [
        Mark(f"{new.when:%Y-%m-%d %H:%M}", clean(new.commit[:SHORT]), what)
        for old, new in pairwise(runs)
        if (what := tuple(_differences(old.facts, new.facts)))
    ]
    return tuple(reversed(found))


def _differences(old: Mapping[str, str], new: Mapping[str, str]) -> Iterator[str]:
    """What differs, if both runs say anything at all."""
    if not old or not new:
        return
    for name in dict.fromkeys([*old, *new]):
        texts = [clean(one.get(name, NONE), 80) for one in (old, new)]
        if old.get(name, NONE) != new.get(name, NONE):
            yield f"{clean(name)}: {' -> '.join(texts)}"


def shifts_between(before: Measured, after: Measured) -> tuple[Shift, ...]:
    """What is on another level than in the environment before, locally, the furthest first.

    Nothing is an alarm here: whoever changed the environment is told what it did.
    """
    old = {key: _level(before.local[line]) for line, key in enumerate(before.keys)}
    found = []
    for line, key in enumerate(after.keys):
        pair = (old.get(key, np.nan), _level(after.local[line]))
        times = max(pair[1], FLOOR) / max(pair[0], FLOOR)
        if np.isfinite(times) and max(times, 1 / times) >= WORSE:
            found.append((max(times, 1 / times), times, pair, key))
    found.sort(key=lambda one: -one[0])
    return tuple(
        Shift(clean(key.point), clean(key.case), clean(key.dtype), number(a), number(b),
              number(times))
        for _, times, (a, b), key in found
    )  # fmt: skip


def _level(line: np.ndarray[tuple[int], np.dtype[np.float32]]) -> float:
    """The middle of the last ratios; NaN if there are none."""
    there = line[np.isfinite(line)][-_RECENT:]
    return float(np.median(there)) if there.size else float("nan")
