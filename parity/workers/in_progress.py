"""Runs in progress: a hidden folder beside where the report goes, for as long as there is none.

It holds what the run depends on (``run.json``) and the parts that are finished. The process that
works on it holds its lock, which the system takes away with the process: a folder that nobody has
locked is an interrupted run, with which ``--resume`` goes on.
"""

from __future__ import annotations

import json
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from filelock import FileLock, Timeout

from parity.core.errors import ParityError
from parity.core.files import is_abandoned, temporary_beside
from parity.core.store import json_hash
from parity.report.text import plural
from parity.workers.parts import SUFFIX, sync

RUN = "run.json"
LOCK, BEACON = "lock", "beacon"
KEPT = 3
"""Interrupted runs that are kept beside a report; older ones go when a run is finished."""
DAYS = 14.0
DAY = 86400.0
PROBING = 0.2
"""Seconds for which it takes to see that a lock is held."""
MAX_BYTES = 1 << 20


@dataclass(frozen=True)
class InProgress:
    """A run that this process works on."""

    folder: Path
    run: str
    """The hash of all that it depends on."""
    lock: FileLock

    def end(self, keep: bool) -> None:
        """Let it go; what is to be resumed stays where it is."""
        if not keep:
            _remove(self.folder)
        self.lock.release()


@contextmanager
def in_progress(
    place: Path, depends: Mapping[str, object], going_on: bool, say: Callable[[str], None]
) -> Iterator[InProgress]:
    """Work on a run: what is finished is kept if the block is left early, and goes at its end.

    Args:
        place: the folder of the report.
        depends: all that the run's numbers depend on, by name: JSON.
        going_on: whether to go on with an interrupted one.
        say: called with how to go on with this one.

    Raises:
        ParityError: there is none to go on with, or the place cannot be written.
    """
    run = resume(place, depends) if going_on else begin(place, depends)
    if not going_on and (parts := _resumable(place, run.run)):
        saved = plural(parts, "part")
        say(f"there is an interrupted run like this one: --resume would save {saved}")
    try:
        yield run
    except BaseException:
        kept = parts_in(run.folder)
        run.end(keep=kept > 0)
        if kept:
            say(f"{plural(kept, 'finished part')} kept: the same command with --resume goes on")
        raise
    run.end(keep=False)
    for old in surplus(place, run.run):
        let_go(old)


def begin(place: Path, depends: Mapping[str, object]) -> InProgress:
    """Start a run.

    Args:
        place: the folder of the report.
        depends: all that its numbers depend on, by name: JSON.

    Raises:
        ParityError: the place cannot be written.
    """
    stamp = f"{datetime.now(timezone.utc):%Y%m%dT%H%M%S.%f}-{uuid.uuid4().hex[:6]}"
    folder = place.with_name(f"{_prefix(place)}{stamp}")
    try:
        folder.mkdir(parents=True)
        lock = FileLock(folder / LOCK)
        lock.acquire(timeout=PROBING * 10)  # somebody may be looking whether it is held
    except OSError as error:
        raise ParityError(f"cannot write {folder}: {error.strerror or error}") from error
    with temporary_beside(folder / RUN) as temporary, temporary.open("w") as file:
        json.dump(depends, file)
        file.flush()
        os.fsync(file.fileno())
    sync(folder)
    sync(folder.parent)
    return InProgress(folder, json_hash(depends), lock)


def resume(place: Path, depends: Mapping[str, object]) -> InProgress:
    """Go on with the newest interrupted run beside ``place`` that depends on the same.

    Raises:
        ParityError: there is none; the message names what is different in the newest.
    """
    wanted, others = json_hash(depends), []
    for folder in reversed(interrupted(place)):
        found = _read(folder)
        if json_hash(found) != wanted:
            others.append((folder, found))
        elif (lock := _locked(folder)) is not None:
            return InProgress(folder, wanted, lock)
    raise ParityError(_nothing_fits(place, depends, others))


def interrupted(place: Path) -> list[Path]:
    """The folders of runs in progress beside ``place`` that nobody works on, the oldest first."""
    if not place.parent.is_dir():
        return []
    found = sorted(place.parent.glob(f"{_prefix(place)}*"))
    return [one for one in found if one.is_dir() and not _in_use(one)]


def surplus(place: Path, run: str | None = None, days: float = DAYS) -> list[Path]:
    """The interrupted runs beside ``place`` that may go.

    Args:
        place: the folder of the report.
        run: one that is finished: what was begun of it earlier is of no use.
        days: those that nobody has touched for longer go.
    """
    there = interrupted(place)
    newest = there[-KEPT:]
    return [one for one in there
            if one not in newest or _age(one) > days or json_hash(_read(one)) == run
            or (parts_in(one) == 0 and is_abandoned(one))]  # fmt: skip


def let_go(folder: Path) -> bool:
    """Remove an interrupted run; return whether it is gone.

    It stays if somebody goes on with it, or has put a file into it.
    """
    lock = _locked(folder)
    if lock is None:
        return False
    _remove(folder)
    lock.release()
    return not folder.exists()


def _resumable(place: Path, run: str) -> int:
    """How many parts the newest interrupted run of the same has."""
    fitting = [one for one in interrupted(place) if json_hash(_read(one)) == run]
    return parts_in(fitting[-1]) if fitting else 0


def parts_in(folder: Path) -> int:
    """How many finished parts a run in progress holds."""
    return sum(1 for _ in folder.glob(f"*{SUFFIX}"))


def differing(depends: Mapping[str, object], found: Mapping[str, object]) -> list[str]:
    """What two runs do not have in common, with both values where they are short."""
    names = [name for name in {**depends, **found} if depends.get(name) != found.get(name)]
    return [
        f"{name} (then {found[name]}, now {depends[name]})"
        if name in found and name in depends and len(f"{found[name]}{depends[name]}") < 80
        else name
        for name in names
    ]


def _nothing_fits(
    place: Path, depends: Mapping[str, object], others: list[tuple[Path, Mapping[str, object]]]
) -> str:
    fix = "leave --resume away to run from the start"
    if not others:
        return f"there is no interrupted run beside {place} to resume: {fix}"
    folder, found = others[0]
    names = "; ".join(differing(depends, found)) or "its description is damaged"
    return (
        f"no interrupted run fits this one: the newest of {len(others)}, {folder.name}, differs "
        f"in {names}. Call it with the settings of then, or {fix}"
    )


def _prefix(place: Path) -> str:
    """How the names of the folders beside ``place`` begin."""
    return f".{place.name[:80]}.progress-"


def _read(folder: Path) -> Mapping[str, object]:
    """What an interrupted run depends on; nothing, which no run depends on, if that is damaged."""
    path = folder / RUN
    try:
        if path.stat().st_size > MAX_BYTES:
            return {}
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _locked(folder: Path) -> FileLock | None:
    """Its lock, now held by this process; ``None`` if another one works on it."""
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=PROBING)
    except (Timeout, OSError):
        return None
    return lock


def _in_use(folder: Path) -> bool:
    lock = _locked(folder)
    if lock is not None:
        lock.release()
    return lock is None


def _age(folder: Path) -> float:
    """Days since a part was finished in it."""
    with suppress(OSError):
        return (time.time() - folder.stat().st_mtime) / DAY
    return 0.0


def _remove(folder: Path) -> None:
    """Remove a run in progress that holds nothing but what a run puts there."""
    with suppress(OSError):
        if all(_is_ours(path) for path in folder.iterdir()):
            shutil.rmtree(folder)


def _is_ours(path: Path) -> bool:
    name = path.name
    return name in (RUN, LOCK, BEACON) or f"{SUFFIX}." in f"{name}." or name.startswith(f".{RUN}.")
