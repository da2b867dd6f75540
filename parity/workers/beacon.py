"""Where a worker is: a few bytes in shared memory, which outlive a process however it ends.

The worker overwrites them at every point it reaches, which costs less than a microsecond; its
parent reads them when it likes. What is read while it is being written may be torn: it is shown for
a moment. After the worker's end it is what was written last.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parity.core.death import RUNS
from parity.core.trace import Trace
from parity.faults.fault import swapped

NAME = 248
"""Bytes of a name that are kept."""
_POINT = struct.Struct(f"<q{NAME}s")
_STEP = struct.Struct(f"<q{NAME}s")
SIZE = _POINT.size + _STEP.size
STARTING, PREPARING = "start of the worker", "preparation"


@dataclass(frozen=True)
class Whereabouts:
    """What a worker is doing, or did last."""

    unit: int
    """Number of the unit in its run; -1 before the first."""
    step: str
    """What is done to it: ``free run``, say."""
    point: str
    """The last point that was reached in this step; empty if none was."""
    firing: int
    """Which time, counted from 0."""


class Beacon:
    """The shared bytes: one process writes, another reads."""

    def __init__(self, path: Path) -> None:
        """Open the file that :func:`light` made.

        Raises:
            OSError: it is not there, or not ours.
        """
        with path.open("r+b") as file:
            self._bytes = mmap.mmap(file.fileno(), SIZE)
        self._unit = -1
        self._fired: dict[str, int] = {}
        self._running = False

    def begin(self, unit: int) -> None:
        """Say which unit is begun."""
        self._unit = unit
        self.step(PREPARING)

    def step(self, name: str) -> None:
        """Say what is done now; no point has been reached in it."""
        self._fired = {}
        self._running = name in RUNS
        _POINT.pack_into(self._bytes, 0, 0, b"")
        _STEP.pack_into(self._bytes, _POINT.size, self._unit, name.encode())

    def reach(self, point: str) -> None:
        """Say that a point has been reached. Called at every hook."""
        firing = self._fired.get(point, 0)
        self._fired[point] = firing + 1
        _POINT.pack_into(self._bytes, 0, firing, point.encode())

    def read(self) -> Whereabouts:
        """What was written last."""
        firing, point = _POINT.unpack_from(self._bytes, 0)
        unit, step = _STEP.unpack_from(self._bytes, _POINT.size)
        return Whereabouts(unit, _text(step), _text(point), firing)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Have every value that is recorded of a candidate tell its point."""
        record, reach = Trace.record, self.reach

        def recorded(trace: Trace, point: str, value: Any, dtype: str) -> None:
            record(trace, point, value, dtype)
            if self._running:
                reach(point)

        with swapped(Trace, "record", recorded):
            yield


def light(path: Path) -> Beacon:
    """Make the file, for a worker that is about to start."""
    path.unlink(missing_ok=True)
    path.write_bytes(bytes(SIZE))
    beacon = Beacon(path)
    beacon.step(STARTING)
    return beacon


def _text(padded: bytes) -> str:
    return padded.rstrip(b"\0").decode(errors="replace")
