"""The jobs behind the command line: comparing everything, and capturing the reference."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from parity.core.coverage import ledger
from parity.core.files import locked
from parity.core.modes import side_by_side
from parity.core.numerics import precision
from parity.core.points import select
from parity.core.rows import Row, RunResult, Verdict
from parity.core.store import BundleWriter
from parity.provenance import provenance
from parity.session import Session
from parity.settings import REFERENCES, Settings, load_by_name
from parity.workers.depends import depends
from parity.workers.gather import gather
from parity.workers.in_progress import in_progress
from parity.workers.interruption import ended_in_order


def run_job(
    settings: Settings,
    patterns: Sequence[str],
    report: Path | None,
    *,
    resume: bool = False,
    limit: float | None = None,
) -> tuple[RunResult, Path]:
    """Compare every selected case, dtype and mode, write the report, print the summary.

    The candidate runs in worker processes. A run that is interrupted keeps what is finished.

    Args:
        settings: what to compare.
        patterns: of the points to show; none: all.
        report: folder of the report; ``None``: among the runs.
        resume: go on with the newest interrupted run of the same settings.
        limit: seconds that a case may take, and the loading of the candidate; ``None``: for ever.

    Returns:
        The run, and the path of its page.

    Raises:
        ParityError: the run could not be made.
    """
    from rich.console import Console

    from parity.report.github import github_lines
    from parity.report.rows_parquet import missing
    from parity.report.terminal import summary_lines
    from parity.runs import LATEST, REPORTS, check_place, write_run
    from parity.workers.progress import run_progress

    check_place(report)
    started = time.monotonic()
    console = Console(stderr=True)
    say = partial(console.print, highlight=False)
    session = Session(settings, say=say, prove=True, look_into=True)
    session.validate()
    shown = shown_points(session, patterns)
    with ended_in_order(), run_progress(console) as progress:
        session.references.capture([(c, d) for d in settings.dtypes for c in session.cases])
        place = report or REPORTS / LATEST
        with in_progress(place, depends(session), resume, progress.log) as run:
            found = gather(session, run, progress, limit)
            result = found.complete(result_of(session, started - found.seconds_before, shown))
            path = write_run(result, report)
    problem = missing()
    said = [*summary_lines(result, path), *([problem] if problem else [])]
    print("\n".join([*said, *github_lines(result, os.environ)]))
    return result, path


def shown_points(session: Session, patterns: Sequence[str]) -> set[str]:
    """The names of the points that match, of all modes.

    Raises:
        ParityError: a pattern matches none.
    """
    modes = session.settings.modes
    seen = {p.name: p for mode in modes for p in session.execution(mode).points}
    return {point.name for point in select([*seen.values()], patterns)}


def result_of(session: Session, started: float, shown: set[str] | None = None) -> RunResult:
    """Everything ``session`` found out, for the report.

    Of the rows only those of the points in ``shown``, if given, and what is at fault elsewhere:
    choosing what to look at must not make a run pass.
    """
    rows = side_by_side(row for found in session.results.values() for row in found)
    kept = [row for row in rows if shown is None or row.point in shown or not harmless(row)]
    result = RunResult(
        rows=kept,
        provenance=provenance(session, time.monotonic() - started),
        not_compared=[reason for one in session.covered for reason in one.left_out],
        invalid=session.invalid,
        ledger=ledger(session.covered, not_shown=len(rows) - len(kept)),
    )
    return session.looked.fill(result)


def harmless(row: Row) -> bool:
    """Whether a row is right, explained by another one, or not there yet."""
    return row.verdict in (Verdict.PASS, Verdict.VICTIM, Verdict.ABSENT)


def capture_job(settings: Settings) -> None:
    """Capture the reference for every selected case and dtype that has no bundle yet.

    A dtype that is held to another one's reference stands for that one.

    Raises:
        ParityError: the reference cannot be run here.
    """
    session = Session(settings)
    session.validate(judging=False)
    kind = load_by_name(settings.reference, REFERENCES, "reference")
    # A dtype at a time: the checkpoint is loaded once for all of its cases, and then dropped.
    for dtype in dict.fromkeys(precision(name).reference for name in settings.dtypes):
        reference = None
        for case in session.cases:
            folder = session.references.folder(case, dtype)
            with locked(folder):
                if folder.exists():
                    continue
                print(f"capturing {case.name} {dtype}", file=sys.stderr, flush=True)
                reference = reference or kind(settings.checkpoint, precision(dtype))
                writer = BundleWriter(session.references.key(case, dtype))
                reference.capture(case, session.declared, writer)
                writer.write(folder)
