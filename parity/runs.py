"""Where finished runs live: each in ``reports/runs/ID/``, the newest also as ``reports/latest``.

The newest run is the one that was finished last. An ID begins with the time (UTC) at which its run
was put in place; that happens under a lock, and no ID is smaller than one before it, so the order
of the names is the order of finishing, even if the clock is set back. A run's folder gets its name
when it is whole: what stands under an ID is complete.
"""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta, timezone
from pathlib import Path

from filelock import FileLock, Timeout

from parity.core.errors import ParityError
from parity.core.rows import RunResult
from parity.report.write import (
    INDEX,
    ROWS_JSON,
    check_replaceable,
    clear_errors,
    fill,
    is_ours,
    remove,
    remove_abandoned,
    write_report,
)

REPORTS, LATEST = Path("reports"), "latest"
KEPT = 20
"""Runs that are kept; older ones go when another one is finished."""
LOCK_SECONDS = 60.0
_ID = re.compile(r"(\d{8}T\d{6}\.\d{3}Z)-[0-9a-f]{6}")
_LISTED = 5


def write_run(
    result: RunResult, report: Path | None, reports: Path = REPORTS, *, tables: bool = True
) -> Path:
    """Write a finished run to ``report``, or, without one, among the runs in ``reports``.

    Args:
        result: the run.
        report: a folder of the report's own.
        reports: where the runs are.
        tables: whether to write ``rows.csv`` and ``rows.parquet`` too, whose libraries take about
            a second to import.

    Returns:
        Path of its ``index.html``.

    Raises:
        ParityError: something that is no report is in the way, or the place cannot be written.
    """
    if (own := _own_place(report, reports)) is not None:
        return write_report(result, own, tables=tables)
    return publish(result, reports, tables=tables)


def check_place(report: Path | None, reports: Path = REPORTS) -> None:
    """See that `write_run` will find its place. Worth calling before a long run.

    Raises:
        ParityError: as `write_run`.
    """
    if (own := _own_place(report, reports)) is not None:
        check_replaceable(own)
        return
    _check_latest(reports)
    runs = reports / "runs"
    with clear_errors(runs):
        runs.mkdir(parents=True, exist_ok=True)
        for folder in (reports, runs):  # not every file system has links
            probe = _hidden(folder, "link")
            probe.symlink_to("runs")
            probe.unlink()


def publish(
    result: RunResult, reports: Path = REPORTS, keep: int = KEPT, *, tables: bool = True
) -> Path:
    """Add a finished run, point ``latest`` at it and let the oldest ones go.

    Everything is written under another name first. Whoever is killed on the way leaves the runs
    and ``latest`` as they were.

    Returns:
        Path of ``index.html`` in the run's own folder.

    Raises:
        ParityError: the place cannot be written, or ``latest`` is not ours.
    """
    check_place(None, reports)
    runs = reports / "runs"
    new = _hidden(runs, "new")
    with clear_errors(runs):
        try:
            fill(new, result, tables)
            with _locked(runs):
                folder = runs / _next_id(reports)
                _enter(new, folder, reports / LATEST)
                for old in surplus(reports, keep):
                    let_go(old)
                for place in (reports, runs):
                    remove_abandoned(place, ".run.*")
        finally:
            remove(new)
    return folder / INDEX


def let_go(run: Path) -> bool:
    """Remove a finished run, in one step for whoever reads; return whether it is gone.

    One that holds a file that no report wrote stays.
    """
    aside = _hidden(run.parent, "old")
    with suppress(OSError):
        if is_ours(run):
            run.rename(aside)
            remove(aside)
            return True
    return False


def finished(reports: Path = REPORTS) -> list[Path]:
    """The folders of all finished runs, the oldest first."""
    runs = reports / "runs"
    if not runs.is_dir():
        return []
    return sorted(one for one in runs.iterdir() if _ID.fullmatch(one.name) and one.is_dir())


def surplus(reports: Path = REPORTS, keep: int = KEPT) -> list[Path]:
    """The finished runs that are too many, the oldest first; the newest is never one."""
    return finished(reports)[: -max(keep, 1)]


def find_run(name: str, reports: Path = REPORTS) -> Path:
    """The ``rows.json`` that ``name`` stands for.

    Args:
        name: ``latest``, the ID of a run or what is after its dash, the folder of a report, or a
            ``rows.json``.
        reports: Where the runs are.

    Raises:
        ParityError: there is no such run.
    """
    found = finished(reports)
    if name == "latest":
        # The newest by name: a run killed just before it moved the link is complete all the same.
        choices = [found[-1]] if found else [reports / LATEST]
    else:
        choices = [one for one in found if name in (one.name, one.name.rpartition("-")[2])]
    for choice in [*choices, Path(name)]:
        rows = choice / ROWS_JSON if choice.is_dir() else choice
        if rows.is_file():
            return rows
    raise ParityError(_no_such_run(name, found, reports))


def _no_such_run(name: str, found: list[Path], reports: Path) -> str:
    """Say which runs there are instead."""
    there = ", ".join(one.name for one in reversed(found[-_LISTED:])) or "none"
    return (
        f"no run is named {name!r}; in {reports / 'runs'} the newest are: {there}. Name one of "
        f"them, `latest`, the folder of a report, or a {ROWS_JSON}."
    )


def _own_place(report: Path | None, reports: Path) -> Path | None:
    """The folder of its own that a report goes to; ``reports/latest`` stands for the runs."""
    if report is None or report.absolute() == (reports / LATEST).absolute():
        return None
    return report


def _check_latest(reports: Path) -> None:
    """See that ``latest`` may be pointed at a new run: ours, an old report, or not there.

    Raises:
        ParityError: it is something else.
    """
    latest = reports / LATEST
    if not latest.is_symlink():
        check_replaceable(latest)  # a folder: so it was kept by earlier versions
    elif latest.readlink().parts[:-1] != ("runs",):
        raise ParityError(
            f"{latest} is a link to {latest.readlink()}, which parity did not make: remove the "
            "link, or name another folder with --report."
        )


def _hidden(folder: Path, kind: str) -> Path:
    """A free name in a folder that is no run's."""
    return folder / f".run.{kind}-{uuid.uuid4().hex[:12]}"


def _enter(new: Path, folder: Path, latest: Path) -> None:
    """Name a whole run, and move the link; from the first rename on no room on disk is needed."""
    link = _hidden(folder.parent, "link")
    link.symlink_to(Path("runs", folder.name))
    try:
        new.rename(folder)
        if latest.is_dir() and not latest.is_symlink():
            _keep_old(latest, folder.parent)
        link.replace(latest)
    finally:
        link.unlink(missing_ok=True)


def _keep_old(report: Path, runs: Path) -> None:
    """Make a run of the report that an earlier version kept as ``latest`` itself."""
    rows = report / ROWS_JSON
    if not rows.exists():
        report.rmdir()  # it was checked to be a report, or empty
        return
    seconds = min(rows.stat().st_mtime, time.time() - 1)  # before the run that replaces it
    report.rename(runs / _id(datetime.fromtimestamp(seconds, timezone.utc)))


def _next_id(reports: Path) -> str:
    """An ID for now, later than all that there are."""
    now = datetime.now(timezone.utc)
    if found := finished(reports):
        stamp = found[-1].name.partition("-")[0].rstrip("Z")
        newest = datetime.strptime(stamp, "%Y%m%dT%H%M%S.%f").replace(tzinfo=timezone.utc)
        now = max(now, newest + timedelta(milliseconds=1))
    return _id(now)


def _id(when: datetime) -> str:
    """A run's ID: the time to the millisecond, and six characters to call it by."""
    stamp = f"{when:%Y%m%dT%H%M%S}.{when.microsecond // 1000:03d}Z"
    return f"{stamp}-{uuid.uuid4().hex[:6]}"


@contextmanager
def _locked(runs: Path) -> Iterator[None]:
    """Let one process at a time name a run and move the link.

    Raises:
        ParityError: another process holds the lock.
    """
    try:
        with FileLock(runs / ".lock", timeout=LOCK_SECONDS):
            yield
    except Timeout:
        raise ParityError(
            f"another process has held {runs / '.lock'} for {LOCK_SECONDS:.0f} s; end it, or name "
            "another folder with --report"
        ) from None
