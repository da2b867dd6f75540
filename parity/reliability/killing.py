"""One process killed at one moment, and what is there afterwards."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from parity.core.errors import ParityError
from parity.reliability.aftermath import Place, complaints, leftovers
from parity.reliability.material import CASE, DTYPE, FAULT, command, environment

POLL = 0.002
WRITING = 0.05
"""Seconds within which a process is killed after it began to write."""
PATIENCE = 1800.0
"""Seconds after which a process that is not killed is taken to hang."""
ORPHANS = 60.0
"""Seconds in which what a killed process had started in groups of its own has to end by itself."""
MARK = "PARITY_KILL"
"""A variable of the environment by which everything that a process started is known."""


@dataclass(frozen=True)
class Work:
    """A command that is worth killing."""

    name: str
    arguments: Callable[[Place], list[str]]
    undo: Callable[[Place], None] = lambda place: None
    """Called before each trial, so that there is something to do."""
    accepted: tuple[int, ...] = (0,)
    """How it ends when it is let be."""


@dataclass
class Killed:
    """What came of killing one process."""

    work: str
    moment: float
    """Seconds after its start, or after its first write."""
    writing: bool
    """Whether it was killed while something unfinished lay there."""
    wrong: list[str] = field(default_factory=list)


def _capture(place: Place) -> list[str]:
    return command(["capture", "--case", CASE, "--dtype", DTYPE, "--bundles", str(place.bundles)])


def _run(place: Place) -> list[str]:
    return command(["run", "--case", CASE, "--dtype", DTYPE, "--bundles", str(place.bundles),
                    "--history", str(place.history), "--plant", FAULT])  # fmt: skip


def _publish(place: Place, count: int = 10_000) -> list[str]:
    module = [sys.executable, "-m", "parity.reliability.publishing"]
    return [*module, str(place.root / "rows.json"), str(place.reports), str(place.history),
            str(count)]  # fmt: skip


def _forget_bundles(place: Place) -> None:
    """Remove finished bundles, but nothing that a killed process left."""
    for folder in place.bundles.glob("[!.]*/"):
        shutil.rmtree(folder)


WORKS = (
    Work("capture", _capture, _forget_bundles),
    Work("run", _run, accepted=(1,)),
    Work("report", _publish),
)


def finish(work: Work, place: Place) -> float:
    """Let a work come to its end; return its seconds.

    Raises:
        ParityError: it did not end as it should.
    """
    arguments = _publish(place, 1) if work.name == "report" else work.arguments(place)
    started = time.monotonic()
    try:
        done = subprocess.run(arguments, cwd=place.root, env=environment(), capture_output=True,
                              text=True, check=False, timeout=PATIENCE)  # fmt: skip
    except subprocess.TimeoutExpired:
        raise ParityError(f"{work.name} did not end within {PATIENCE:.0f} s") from None
    if done.returncode not in work.accepted:
        raise ParityError(f"{work.name} ended with {done.returncode}: {done.stderr.strip()[-500:]}")
    return time.monotonic() - started


def kill_once(work: Work, place: Place, seconds: float, chance: random.Random) -> Killed:
    """Start a work, kill it with all that it started, and look at what it left.

    Half of the moments are drawn over the whole of the work, half right after its first write.

    Args:
        work: what to kill.
        place: where it works.
        seconds: how long it takes when it is let be.
        chance: draws the moment.
    """
    work.undo(place)
    at_writing = chance.random() < 0.5
    moment = chance.uniform(0, WRITING if at_writing else seconds)
    recorded, old = place.runs_recorded(), set(leftovers(place))
    mark = uuid.uuid4().hex
    process = subprocess.Popen(work.arguments(place), cwd=place.root,
                               env={**environment(), MARK: mark}, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL, start_new_session=True)  # fmt: skip
    if at_writing:
        _wait(process, lambda: bool(set(leftovers(place)) - old), PATIENCE)
    _wait(process, lambda: False, moment)
    with suppress(ProcessLookupError):  # it had ended
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    survivors = _end_orphans(mark)
    found = Killed(work.name, moment, bool(set(leftovers(place)) - old), complaints(place))
    found.wrong += [*survivors, *_lost(place, recorded)]
    return found


def _wait(process: subprocess.Popen[bytes], until: Callable[[], bool], seconds: float) -> None:
    """Wait until something holds, the process has ended, or so many seconds have passed."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None and not until():
        time.sleep(POLL)


def _end_orphans(mark: str) -> list[str]:
    """Wait until all that a killed process had started has ended; end and name what does not."""
    end = time.monotonic() + ORPHANS
    while (left := _marked(mark)) and time.monotonic() < end:
        time.sleep(POLL * 5)
    for pid in left:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return [f"process {pid} went on without the one that had started it" for pid in left]


def _marked(mark: str) -> list[int]:
    """The processes whose environment bears the mark (Linux)."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):  # it has ended, or is another user's
            if f"{MARK}={mark}".encode() in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
    return found


def _lost(place: Place, recorded: int) -> Sequence[str]:
    """What was in the history and is not any more."""
    try:
        now = place.runs_recorded()
    except ParityError:
        return []  # told already
    return [f"{recorded - now} runs vanished from the history"] if now < recorded else []


def prepare(root: Path) -> Place:
    """A place with a bundle, a finished run, and a history: what is there before a kill.

    Raises:
        ParityError: no run can be made here.
    """
    from parity.reliability.material import borrow_bundle
    from parity.runs import find_run

    place = Place(root)
    root.mkdir(parents=True, exist_ok=True)
    borrow_bundle(place.bundles)
    finish(WORKS[1], place)
    shutil.copy(find_run("latest", place.reports), root / "rows.json")
    return place
