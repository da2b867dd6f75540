"""What is found out about a case's rows once they are judged: what to try, and where errors are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from parity.core.cases import Case
from parity.core.points import Firing
from parity.core.rows import Row, Verdict
from parity.core.verdict import Evidence
from parity.details import Looking, chosen
from parity.show_inputs import show
from parity.sources import sources_of
from parity.subjects.modules import read_config

if TYPE_CHECKING:
    from parity.hypotheses.hypothesis import Trial
    from parity.session import Session


def explained(
    session: Session, rows: list[Row], evidence: Evidence, case: Case, schedule: Sequence[Firing]
) -> list[Row]:
    """``rows`` with what to try; what that takes is loaded only where something fails.

    Where the session looks into rows, it keeps what it sees.
    """
    tried: dict[int, list[Trial]] = {}
    if any(row.verdict is not Verdict.PASS for row in rows):
        from parity.hypotheses.rows import tried_on, with_suggestions

        points = session.execution(evidence.mode).points
        tried = tried_on(rows, evidence, points, case, session.settings.checkpoint)
        rows = with_suggestions(rows, tried)
    if session.look_into:
        merge = read_config(session.settings.checkpoint).merge
        _look_into(session, rows, Looking(case, evidence, schedule, tried, session.settings, merge))
    return rows


def _look_into(session: Session, rows: list[Row], looking: Looking) -> None:
    """Keep what the report shows beyond figures; next to nothing where everything passes."""
    looked, case, evidence = session.looked, looking.case, looking.evidence
    wanted = looked.wanted(chosen(rows))
    if not wanted:
        return
    candidate = session.execution(evidence.mode).candidate(evidence.precision.name)
    looked.details += looking.details(wanted)
    if case.name not in looked.inputs:
        looked.inputs[case.name] = show(case, evidence.bundle, candidate, looking.merge)
    failing = {row.point for row in rows if row.verdict is not Verdict.PASS}
    told = failing | {row.point for row in wanted}
    points = [point for point in session.declared if point.name in told - looked.sources.keys()]
    looked.sources |= sources_of(candidate, points, evidence.bundle)
