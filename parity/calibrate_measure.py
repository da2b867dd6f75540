"""Measuring one run for the gates: every ratio that the harness judges, with nothing judged."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import replace

from parity.calibration_data import Ratios, Record
from parity.core.cases import Case
from parity.core.examine import Finding
from parity.core.points import STAGES
from parity.core.stats import Gate
from parity.core.tolerance import FIGURES, same_gate
from parity.core.verdict import Judged, findings
from parity.faults import planted
from parity.numerics_models import imitated
from parity.session import Session
from parity.settings import Settings

OPEN = same_gate(Gate(**dict.fromkeys(FIGURES, sys.float_info.max)))
"""Gates to measure under: there are none before they were measured."""


def open_session(settings: Settings) -> Session:
    """A session in which every ratio that is a number passes."""
    return Session(settings, gates=OPEN)


def measure(session: Session, case: Case, dtype: str, seed: int, weights: str) -> Record:
    """One run of the candidate as it is, at module level and at block level.

    A block that is judged as a whole, as in graph mode, adds up more roundings.

    Raises:
        ParityError: the reference or the candidate cannot be run at all.
    """
    evidence = session.evidence(case, dtype)
    judged = findings(session.schedule(case), evidence)
    ratios = _ratios(judged)
    blocks = [point for point in session.points if point.level == "block"]
    with imitated(session.settings.numerics, dtype):
        forced = session.candidate(dtype).forced(evidence.bundle, blocks, STAGES)
    schedule = [firing for firing in session.schedule(case) if firing.point.level == "block"]
    as_blocks = findings(schedule, replace(evidence, level="block", forced=forced))
    for item in as_blocks:
        _note(ratios, item.firing.point.name, "local", [item.local, *item.arrived])
    wrong = _wrong([*judged, *as_blocks])
    return Record(seed, case.name, dtype, session.settings.device, weights, ratios, wrong)


def measure_fault(session: Session, case: Case, dtype: str, fault: str) -> Record:
    """One run of the candidate with a fault planted.

    Raises:
        ParityError: the reference or the candidate cannot be run at all.
    """
    with planted(fault):
        judged = findings(session.schedule(case), session.evidence(case, dtype))
    return Record(0, case.name, dtype, session.settings.device, "trained", _ratios(judged),
                  _wrong(judged), fault)  # fmt: skip


def _ratios(judged: Iterable[Judged]) -> Ratios:
    """Every ratio, by point, scope and figure."""
    found: Ratios = {}
    for item in judged:
        _note(found, item.firing.point.name, "local", [item.local, *item.arrived])
        _note(found, item.firing.point.name, "end_to_end", [item.end])
    return found


def _note(into: Ratios, point: str, scope: str, seen: Iterable[Finding]) -> None:
    """Add the figures of ``seen`` to those of ``point``."""
    for finding in seen:
        if finding.comparison is None:
            continue
        figures = into.setdefault(point, {}).setdefault(scope, {})
        for name, figure in finding.comparison.slices.items():
            # Six digits are more than a measurement means, and keep its file small.
            figures.setdefault(name, []).append(float(f"{figure.ratio:.6g}"))


def _wrong(judged: Iterable[Judged]) -> list[str]:
    """What no ratio explains."""
    found = [
        f"{item.firing.point.name}: {finding.verdict.value}, {finding.message}"
        for item in judged
        for finding in (item.local, *item.arrived, item.end)
        if not finding.ok
    ]
    return list(dict.fromkeys(found))
