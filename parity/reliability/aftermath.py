"""What a killed process left behind: whether anything half-written passes for whole."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from parity.core.errors import ParityError
from parity.core.store import Bundle
from parity.report.rows_io import read_json
from parity.report.write import FILES, ROWS_CSV, ROWS_PARQUET
from parity.runs import finished

OPTIONAL = {ROWS_CSV, ROWS_PARQUET}
"""What a report of ``pytest`` does without."""
OLD = 7200.0
"""Seconds by which leftovers are made older, to see that they go."""


@dataclass(frozen=True)
class Place:
    """A folder that holds all that a user's machine keeps: cache, reports and history."""

    root: Path

    @property
    def bundles(self) -> Path:
        """The cache of captured references."""
        return self.root / "bundles"

    @property
    def reports(self) -> Path:
        """Where finished runs are; commands that are started in ``root`` write there."""
        return self.root / "reports"

    @property
    def history(self) -> Path:
        """The history's file."""
        return self.root / "history.sqlite"

    def runs_recorded(self) -> int:
        """How many runs the history holds.

        Raises:
            ParityError: it cannot be read.
        """
        from parity.history.database import History
        from parity.history.place import as_url

        return len(History(as_url(self.history)).runs()) if self.history.exists() else 0


def complaints(place: Place, locks: bool = True) -> list[str]:
    """All that is wrong with what is there; nothing, if all that has a name is whole.

    Locks are tried by taking them, which a read-only place does not allow.
    """
    found = [*_bundles(place), *_runs(place), *_latest(place), *_history(place)]
    return [*found, *_locks(place)] if locks else found


def _bundles(place: Place) -> Iterator[str]:
    """Bundles under their own names that cannot be read to the end."""
    for folder in place.bundles.glob("[!.]*/"):
        try:
            Bundle.open(folder).check()
        except ParityError as error:
            yield f"half a bundle: {error}"


def _runs(place: Place) -> Iterator[str]:
    """Finished runs that are not complete."""
    for run in finished(place.reports):
        yield from _incomplete(run)


def _incomplete(run: Path) -> Iterator[str]:
    """What a run's folder lacks."""
    if lost := FILES - OPTIONAL - {path.name for path in run.iterdir()}:
        yield f"half a report: {run} has no {', '.join(sorted(lost))}"
    elif not (run / "index.html").read_text(encoding="utf-8").rstrip().endswith("</html>"):
        yield f"half a page: {run / 'index.html'}"
    try:
        read_json(run / "rows.json")
    except ParityError as error:
        yield f"half of the rows: {error}"


def _latest(place: Place) -> Iterator[str]:
    """``reports/latest``, if it leads to no finished run."""
    latest = place.reports / "latest"
    if not latest.is_symlink():
        return
    if latest.resolve() not in [run.resolve() for run in finished(place.reports)]:
        yield f"{latest} leads to {latest.readlink()}, which is no finished run"


def _history(place: Place) -> Iterator[str]:
    """What cannot be read of the history."""
    from parity.reliability.material import of_history

    if place.history.exists():
        try:
            if place.runs_recorded():
                of_history(place.history).read()
        except ParityError as error:
            yield f"half a history: {error}"


def _locks(place: Place) -> Iterator[str]:
    """Locks that somebody who is gone still holds."""
    for path in [*place.bundles.glob("*.lock"), *place.reports.rglob(".lock")]:
        try:
            with FileLock(path, timeout=0):
                pass
        except Timeout:
            yield f"{path} is held by nobody alive"


def leftovers(place: Place) -> list[Path]:
    """Unfinished files and folders that killed processes left, whose names begin with a dot."""
    return [path for folder in (place.bundles, place.reports, place.reports / "runs")
            for path in folder.glob(".*") if path.name != ".lock"]  # fmt: skip


def make_old(paths: list[Path]) -> None:
    """Let leftovers be of two hours ago, so that whoever comes next may remove them."""
    then = time.time() - OLD
    for path in paths:
        os.utime(path, (then, then), follow_symlinks=False)
