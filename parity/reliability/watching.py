"""Bounds around one call of a reader: time, memory, and a folder that it must not touch."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

CPU_SECONDS, WALL_SECONDS = 3.0, 30.0
"""Of one input: of the processor, and of the clock (for one that waits)."""
ROOM = 512 << 20
"""Bytes of address space that a reader may take beyond what the process has."""
_TOUCHED = 0x0FFF  # every event of inotify(7), by whatever code of this process or another


class Hang(BaseException):
    """A reader took too long. Not an ``Exception``, so that no reader can swallow it."""


@contextmanager
def time_bound() -> Iterator[None]:
    """Raise `Hang` in the block when it has taken too long."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise Hang(f"more than {CPU_SECONDS} s of the processor, or {WALL_SECONDS} s of the clock")

    old = signal.signal(signal.SIGPROF, stop), signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
    signal.setitimer(signal.ITIMER_REAL, WALL_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGPROF, old[0])
        signal.signal(signal.SIGALRM, old[1])


@contextmanager
def memory_bound(room: int = ROOM) -> Iterator[None]:
    """Let this process take ``room`` bytes more than it has; beyond that, ``MemoryError``."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = pages * resource.getpagesize() + room
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


class Watch:
    """Notices whoever opens, makes, changes or removes something in a folder (Linux)."""

    def __init__(self, folder: Path) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._file = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._libc.inotify_add_watch(self._file, os.fsencode(folder), _TOUCHED) < 0:
            raise OSError(ctypes.get_errno(), "inotify cannot watch", str(folder))

    def touched(self) -> bool:
        """Whether anything happened since this was asked last."""
        try:
            return bool(os.read(self._file, 1 << 16))
        except BlockingIOError:
            return False

    def close(self) -> None:
        """Watch no more."""
        os.close(self._file)
