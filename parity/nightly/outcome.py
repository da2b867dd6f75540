"""What became of one run of the night, as a small file that other machines read.

Nothing but the standard library is needed to read it. The file comes from another machine: its
fields are checked, and its texts are data, whatever they hold.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from parity.core.errors import ParityError
from parity.nightly.cells import Cell
from parity.nightly.machine_error import KNOWN, NO_RESULT

FILE = "outcome.json"
FORMAT_NAME, FORMAT = "parity-night", 1
PARITY, BROKEN, COULD_NOT_RUN = 0, 1, 2
WORDS = {PARITY: "parity", BROKEN: "broken", COULD_NOT_RUN: "could not run"}
LARGEST = 1 << 20
_LONGEST = 20_000


@dataclass(frozen=True)
class Guilty:
    """The first point at fault."""

    point: str
    case: str
    verdict: str
    message: str
    """What the report says of it, several lines."""
    again: str
    """What to type to see it again."""


@dataclass(frozen=True)
class Outcome:
    """What became of one run."""

    cell: Cell
    status: int
    """``PARITY``, ``BROKEN`` or ``COULD_NOT_RUN``: the exit status."""
    sentence: str
    """Why, for people."""
    trouble: str = ""
    """Name of what is wrong with the machine (see `machine_error`), with ``COULD_NOT_RUN``."""
    guilty: Guilty | None = None
    """With ``BROKEN``, unless it is the trend alone that got worse."""
    trend: str = ""
    """What ``trend --gate`` says, several lines; empty if it was not asked."""
    seconds: float = 0.0
    command: str = ""
    """What was run."""
    commit: str = ""
    device: str = ""
    """What computed, with the versions of its software."""


def no_result(cell: Cell) -> Outcome:
    """The outcome of a run that left nothing behind."""
    return Outcome(cell, COULD_NOT_RUN, f"{NO_RESULT}: {KNOWN[NO_RESULT]}", NO_RESULT)


def overall(outcomes: Collection[Outcome]) -> int:
    """The status of a night: broken if any run is, or else could not run if any could not.

    A night without a run is no parity either.
    """
    found = {one.status for one in outcomes} or {COULD_NOT_RUN}
    return next(status for status in (BROKEN, COULD_NOT_RUN, PARITY) if status in found)


def write_outcome(outcome: Outcome, folder: Path) -> None:
    """Write the file into ``folder``, whole or not at all.

    Raises:
        OSError: it cannot be written.
    """
    data = {"format_name": FORMAT_NAME, "format": FORMAT, **asdict(outcome)}
    temporary = folder / f".{FILE}"
    temporary.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
    temporary.replace(folder / FILE)


def read_outcome(path: Path) -> Outcome:
    """Read such a file.

    Raises:
        ParityError: it cannot be read, or is not one.
    """
    try:
        if path.stat().st_size > LARGEST:
            raise ValueError(f"it is larger than {LARGEST >> 20} MB")
        data = json.loads(path.read_text(encoding="utf-8"))
        return _outcome(data)
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise ParityError(f"{path} is not the outcome of a nightly run ({error})") from error


def _outcome(data: Any) -> Outcome:
    """The dataclass that a JSON object describes."""
    if not isinstance(data, dict) or data.pop("format_name", None) != FORMAT_NAME:
        raise ValueError("parity did not write it")
    if (found := data.pop("format", None)) != FORMAT:
        raise ValueError(f"it has format {found!r}, and this version reads {FORMAT}")
    guilty = data.pop("guilty")
    cell = _texts(Cell, data.pop("cell"))
    status, seconds = data.pop("status"), data.pop("seconds")
    if type(status) is not int or status not in WORDS:
        raise ValueError(f"its status is {status!r}")
    if not isinstance(seconds, (int, float)) or isinstance(seconds, bool):
        raise ValueError(f"its duration is {seconds!r}")
    if data["trouble"] and (data["trouble"] not in KNOWN or status != COULD_NOT_RUN):
        raise ValueError(f"its trouble is {data['trouble']!r}")
    texts = _checked(data, {"sentence", "trouble", "trend", "command", "commit", "device"})
    point = None if guilty is None else _texts(Guilty, guilty)
    return Outcome(cell=cell, status=status, guilty=point, seconds=float(seconds), **texts)


def _texts(kind: type[Any], data: Any) -> Any:
    """A dataclass of nothing but texts."""
    return kind(**_checked(data, {one.name for one in fields(kind)}))


def _checked(data: Any, names: set[str]) -> dict[str, str]:
    """``data`` if it holds exactly these texts."""
    if not isinstance(data, dict) or set(data) != names:
        raise ValueError(f"its fields should be {sorted(names)}")
    if not all(isinstance(value, str) and len(value) <= _LONGEST for value in data.values()):
        raise ValueError(f"one of {sorted(names)} is no text, or too long")
    return data
