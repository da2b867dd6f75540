"""Suggestions for the rows of a run that are guilty."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from parity.core.cases import Case
from parity.core.points import Point
from parity.core.rows import Row, Verdict
from parity.core.verdict import Evidence
from parity.hypotheses import suggest, trials
from parity.hypotheses.failure import Failure
from parity.hypotheses.hypothesis import Trial

WRONG = (Verdict.GUILTY, Verdict.SHAPE)
MOST = 3
"""Guilty rows of one run that are looked into: later ones mostly repeat the first."""


def tried_on(
    rows: Sequence[Row], evidence: Evidence, points: Iterable[Point], case: Case, checkpoint: Path
) -> dict[int, list[Trial]]:
    """What was tried on the first guilty points among ``rows``, by the rows' order.

    Args:
        rows: of one case in one dtype.
        evidence: what they were judged from.
        points: the declared ones.
        case: what was run.
        checkpoint: Hugging Face checkpoint folder.
    """
    known = {point.name: point for point in points}
    guilty = [row for row in rows if row.verdict in WRONG and row.point in known]
    first = {row.point: row for row in reversed(guilty)}  # a point's first firing stands for all
    chosen = sorted(first.values(), key=lambda row: row.order)[:MOST]
    return {
        row.order: trials(failure(row, evidence, known[row.point], case, checkpoint))
        for row in chosen
    }


def with_suggestions(rows: Iterable[Row], tried: Mapping[int, Iterable[Trial]]) -> list[Row]:
    """``rows``, those that hypotheses were tried on with what to try.

    Args:
        rows: of one case in one dtype.
        tried: what `tried_on` found.
    """
    found = {order: suggest(one) for order, one in tried.items()}
    return [replace(row, suggestions=found.get(row.order, row.suggestions)) for row in rows]


def failure(row: Row, evidence: Evidence, point: Point, case: Case, checkpoint: Path) -> Failure:
    """What is known about a row's failing point."""
    return Failure(
        point=point,
        index=row.firing,
        case=case,
        bundle=evidence.bundle,
        forced=evidence.forced,
        free=evidence.free,
        precision=evidence.precision,
        gates=evidence.gates,
        checkpoint=checkpoint,
        level=evidence.level,
        padding=evidence.padding,
        sampled=evidence.sampled,
    )
