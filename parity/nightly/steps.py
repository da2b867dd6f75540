"""A step of the night: a command in a process of its own, shown, kept in a log, and bounded."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

LONGEST = 64 << 20
"""Bytes of output that a log keeps; the rest is dropped, and said."""


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    status: int
    """Its exit status; negative: minus the signal that ended it."""
    timed_out: bool
    output: str
    """All that it printed, as kept."""

    @property
    def how(self) -> str:
        """In words, with the last thing that it said."""
        lines = [line.strip() for line in self.output.splitlines() if line.strip()]
        errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
        said = (errors or lines or ["it printed nothing"])[-1]
        if self.timed_out:
            return f"it was ended when its time was up; it last said: {said}"
        if self.status < 0:
            return f"it was ended by {_signal(-self.status)}; it last said: {said}"
        return said if errors else f"it ended with status {self.status}; it last said: {said}"


def run_step(arguments: Sequence[str], log: Path, seconds: float) -> Ended:
    """Run ``python -m parity`` with ``arguments``; show what it prints, and write it to ``log``.

    It gets a process group of its own, all of which is ended when the time is up, or when this
    process is told to stop.

    Raises:
        OSError: the log cannot be written.
    """
    with subprocess.Popen(
        [sys.executable, "-m", "parity", *arguments], stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
    ) as process:  # fmt: skip
        late = threading.Event()

        def stop() -> None:
            late.set()
            end(process)

        timer = threading.Timer(seconds, stop)
        timer.start()
        try:
            output = _shown(process, log)
            status = process.wait()
        finally:
            timer.cancel()
            end(process)
    return Ended(status, late.is_set(), output)


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process and all that it started."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    process.wait()


def _shown(process: subprocess.Popen[bytes], log: Path) -> str:
    """Copy the output to the terminal and to ``log`` as it comes; all of it as text."""
    kept, size = [], 0
    assert process.stdout is not None
    with log.open("wb") as file:
        for line in process.stdout:
            sys.stdout.write(line.decode("utf-8", "replace"))
            sys.stdout.flush()
            size += len(line)
            if size <= LONGEST:
                file.write(line)
                kept.append(line)
        if size > LONGEST:
            file.write(b"[the rest was dropped]\n")
    return b"".join(kept).decode("utf-8", "replace")


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
