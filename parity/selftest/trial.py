"""One trial: a fault, or none, in one dtype, under the eyes of every method."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from parity.baselines import BASELINES
from parity.baselines.seen import Seen
from parity.core.cases import Case
from parity.core.rows import Row, Verdict
from parity.core.trace import Tap
from parity.core.verdict import Evidence
from parity.faults import find, planted
from parity.selftest.hidden_states import HiddenStates
from parity.selftest.outcome import Outcome, blamed, outcome, own
from parity.session import Session

HARNESS = "parity"
WATCHED = "parity.adapters.mindspore_watched:WatchedCandidate"


@dataclass(frozen=True)
class Trial:
    """What became of one fault in one dtype; of the faithful port where ``fault`` is ``None``."""

    fault: str | None
    dtype: str
    case: str
    """The first case that shows the fault; the first of all where none does."""
    digest: str
    """Hash of everything that the candidate computed."""
    outcomes: Mapping[str, Outcome]
    """By method; the harness itself is `HARNESS`."""
    beyond: tuple[str, ...]
    """The points that the harness blames beyond the true one."""
    figure: str
    """What the point's margin is of: "row", say; "equality"; or a verdict such as "shape"."""
    margin: float | None
    """The ratio over its gate; ``None`` where nothing is measured."""
    suggestion: str
    """What the harness says to try, at the point that it blames."""
    seconds: float


def run_trial(session: Session, dtype: str, fault: str | None, cases: Sequence[Case]) -> Trial:
    """Plant ``fault`` and run ``cases``, in order, until the harness sees it.

    A method detects the fault if it does in one of the cases that were run.

    Args:
        session: without a fault; its candidate is used if it is loaded already.
        dtype: in which to run.
        fault: its name; ``None`` for the port as it is.
        cases: inputs that show it.

    Raises:
        ParityError: the reference or the candidate cannot be run at all.
    """
    started = time.monotonic()
    trial: Trial | None = None
    for case in cases:
        found = _run_case(session, dtype, fault, case)
        trial = found if trial is None else _joined(trial, found)
        if trial.outcomes[HARNESS].detected:
            break
    if trial is None:
        raise ValueError("a trial needs a case")
    return replace(trial, seconds=round(time.monotonic() - started, 2))


def _joined(before: Trial, after: Trial) -> Trial:
    """Two cases' trials as one: the case that shows the fault, and each method's detection."""
    shown = after if after.outcomes[HARNESS].detected else before
    outcomes = {
        name: first if first.detected else after.outcomes[name]
        for name, first in before.outcomes.items()
    }
    return replace(shown, outcomes=outcomes)


def _run_case(plain: Session, dtype: str, fault: str | None, case: Case) -> Trial:
    """One case of a trial."""
    seen: list[Evidence] = []
    plain.candidate(dtype)  # loaded without the fault, which acts when the port runs
    session = replace(plain, results={}, covered=[]) if fault is None else plain.planting(fault)
    session.observe = seen.append
    rows = session.run(case, dtype)
    evidence = seen[0]
    with planted(fault):
        hidden = HiddenStates(session).compare(dtype)
    run = Seen(evidence, session.schedule(case), hidden)
    truth = None if fault is None else find(fault).point
    right = set() if truth is None else own(truth, session.points)
    accused = blamed(rows)
    names = {HARNESS: accused, **{baseline.name: baseline.blamed(run) for baseline in BASELINES}}
    figure, margin = margin_of(row for row in rows if row.point in right)
    return Trial(
        fault=fault,
        dtype=dtype,
        case=case.name,
        digest=digest(evidence),
        outcomes={name: outcome(found, right) for name, found in names.items()},
        beyond=tuple(name for name in accused if name not in right),
        suggestion=_suggestion(rows, accused[0] if accused else None),
        figure=figure,
        margin=margin,
        seconds=0.0,
    )


def margin_of(rows: Iterable[Row]) -> tuple[str, float | None]:
    """In which figure the rows of the true point are worst, and how many times its gate that is.

    What has no ratio is told by a word: "equality", or the verdict.
    """
    known = list(rows)
    if any(row.mismatches for row in known):
        return "equality", None
    worst = [row.local.worst for row in known if row.local is not None]
    name, figure = max(worst, key=lambda named: named[1].used, default=("", None))
    words = [row.verdict.value.lower() for row in known if row.verdict is not Verdict.PASS]
    if figure is None or not math.isfinite(figure.used):
        return next(iter(words), ""), None
    return name, figure.used


def _suggestion(rows: Iterable[Row], point: str | None) -> str:
    """The best hypothesis of the point that is blamed first; empty if there is none."""
    return next((row.suggestions[0] for row in rows if row.point == point and row.suggestions), "")


def digest(evidence: Evidence) -> str:
    """Hash of all that the candidate computed: equal for two runs that differ in nothing."""
    state = hashlib.blake2b(digest_size=16)
    for trace in (evidence.free, evidence.forced):
        state.update(repr(trace.stopped).encode())
        for name, taps in sorted(trace.taps.items()):
            for tap in taps:
                _add(state, name, tap)
        for (name, index), tap in sorted(trace.arrivals.items()):
            _add(state, f"{name} {index}", tap)
    return state.hexdigest()


def _add(state: hashlib.blake2b, name: str, tap: Tap) -> None:
    state.update(f"{name} {tap.dtype} {tap.value.shape}".encode())
    state.update(np.ascontiguousarray(tap.value).tobytes())
