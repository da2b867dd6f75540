"""Adding the runs of older reports."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from parity.core.errors import ParityError
from parity.history.database import History
from parity.history.record import record_of
from parity.history.recording import unfit
from parity.report.rows_io import read_json

ROWS_JSON = "rows.json"


def import_all(history: History, places: Sequence[Path], say: Callable[[str], object]) -> bool:
    """Add every run that ``places`` hold; return whether all that was found could be read.

    Args:
        history: Where to.
        places: Folders, searched at any depth, and files.
        say: Takes a line for each file, and one for the sum.

    Raises:
        ParityError: A place is not there or holds no run, or the history cannot be written.
    """
    counts = {"added": 0, "already there": 0, "passed over": 0, "unreadable": 0}
    for file in _files(places):
        outcome, why = _import(history, file)
        counts[outcome] += 1
        say(f"{file}: {outcome}{f', {why}' if why else ''}")
    say(", ".join(f"{count:,} {outcome}" for outcome, count in counts.items()))
    return counts["unreadable"] == 0


def _import(history: History, file: Path) -> tuple[str, str]:
    """Add one run; return what became of it, and why."""
    try:
        result = read_json(file)
        if (reason := unfit(result, (), named=False)) is not None:
            return "passed over", reason
        record = record_of(result, str(file))
    except ParityError as error:
        return "unreadable", str(error)
    return ("added" if history.append(record) else "already there"), ""


def _files(places: Sequence[Path]) -> Iterator[Path]:
    """The rows.json files in ``places``, each once, by whichever links it is reached."""
    seen: set[Path] = set()
    for place in places:
        found = sorted(place.rglob(ROWS_JSON)) if place.is_dir() else [place]
        if not found or not place.exists():
            raise ParityError(f"{place} holds no {ROWS_JSON}: name a report, or a folder of them.")
        for file in found:
            if file.resolve() not in seen:
                seen.add(file.resolve())
                yield file
