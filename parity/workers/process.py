"""One worker as its parent sees it: started, watched, and seen to end."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from parity.core.death import LOADING
from parity.core.errors import ParityError
from parity.device.lost import lost_device
from parity.workers.beacon import STARTING, Whereabouts, light
from parity.workers.last_words import oom_kills, place_in, words_for
from parity.workers.orders import Orders
from parity.workers.worker import BEACON, TRACEBACK

TICK = 0.1
"""Seconds between two looks."""
LAST_WORDS = 2.0
"""Seconds that a worker which is about to be killed has to write where it is."""
GRACE = 20.0
"""Seconds in which a worker whose work is done, or that was killed, has to be gone."""
_LINES = 200
"""Printed lines that are kept."""


@dataclass(frozen=True)
class Look:
    """What a worker was seen at."""

    where: Whereabouts
    done: int | None = None
    """A unit that it has just finished."""


@dataclass(frozen=True)
class Ended:
    """How a worker ended before its work was done."""

    how: str
    where: Whereabouts
    threw: bool = False
    """Whether it was an exception, and not for lack of memory."""
    device: str | None = None
    """Why its device was lost, where what it printed says so."""


class Worker:
    """A worker's process. Use as a context manager: it ends with the block, however that ends."""

    def __init__(self, orders: Orders, log: Callable[[str], None]) -> None:
        """Start it.

        Args:
            orders: what it is to do.
            log: called, in a thread, with every line that it prints.

        Raises:
            ParityError: the system cannot start it.
        """
        self.ended: Ended | None = None
        """Set where it ended before its work was done."""
        self._left = set(orders.todo)
        self._printed: deque[str] = deque(maxlen=_LINES)
        self._pending = b""
        self._kills = oom_kills()
        try:
            self._beacon = light(orders.folder / BEACON)
            self._replies, theirs = os.pipe()
            # The environment as Python knows it: a framework that was loaded here may have set
            # variables behind its back, such as the number of threads.
            self._process = subprocess.Popen(
                [sys.executable, "-m", "parity.workers.worker", str(theirs)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                pass_fds=[theirs], start_new_session=True, env=dict(os.environ),
            )  # fmt: skip
        except OSError as error:
            raise ParityError(f"a worker cannot be started: {error.strerror}") from error
        os.close(theirs)
        self._reader = threading.Thread(target=self._read_log, args=(log,), daemon=True)
        self._reader.start()
        with suppress(BrokenPipeError):  # it has ended already, which is seen soon enough
            assert self._process.stdin is not None
            self._process.stdin.write(orders.line().encode())
            self._process.stdin.flush()  # it stays open: the worker ends with it

    def watch(self, limit: float | None) -> Iterator[Look]:
        """Look at it until its work is done or it has ended.

        Args:
            limit: seconds it may take to load the candidate, and for each unit; ``None``: for ever.

        Raises:
            ParityError: it says that it cannot run here.
        """
        doing, since = None, time.monotonic()
        while self._left:
            for done in self._done(TICK):
                yield Look(self._beacon.read(), done)
            where = self._beacon.read()
            yield Look(where)
            if (now_doing := (where.unit, where.step in (STARTING, LOADING))) != doing:
                doing, since = now_doing, time.monotonic()
            if self.ended is not None:
                return  # it has said so; its process may take long to end
            if self._process.poll() is not None:
                yield from (Look(where, done) for done in self._done(0.0))
                if self._left and self.ended is None:
                    self.ended = self._how_it_ended()
                return
            if limit is not None and time.monotonic() - since > limit:
                self.ended = self._stopped(limit)
                return
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(GRACE)

    def close(self) -> None:
        """End its whole group, and wait for that.

        Raises:
            ParityError: it does not end.
        """
        with suppress(OSError):
            os.killpg(self._process.pid, signal.SIGKILL)
        try:
            self._process.wait(GRACE)
        except subprocess.TimeoutExpired:
            raise ParityError(
                f"process {self._process.pid} does not end although it was killed, as happens when "
                "a device's driver hangs: reset the device, or restart the machine"
            ) from None
        finally:
            os.close(self._replies)
            self._reader.join(LAST_WORDS)
            assert self._process.stdin is not None
            with suppress(BrokenPipeError):
                self._process.stdin.close()

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self.close()

    def _done(self, seconds: float) -> Iterator[int]:
        """The units that it says are finished, after waiting for news."""
        for message in self._messages(seconds):
            if "error" in message:
                raise ParityError(str(message["error"]))
            if "threw" in message:
                how, starved = f"threw {message['threw']}", bool(message["starved"])
                self.ended = Ended(how, self._beacon.read(), threw=not starved)
            elif message.get("done") in self._left:
                self._left.discard(message["done"])
                yield message["done"]

    def _messages(self, seconds: float) -> Iterator[dict[str, Any]]:
        """Whole lines that have arrived from it."""
        while select.select([self._replies], [], [], seconds)[0]:
            data = os.read(self._replies, 1 << 16)
            if not data:
                time.sleep(seconds)  # it has closed its end: what is left is to wait for its own
                return
            *lines, self._pending = (self._pending + data).split(b"\n")
            yield from (json.loads(line) for line in lines)
            seconds = 0.0

    def _how_it_ended(self) -> Ended:
        """In words: by a signal, or with an exit status."""
        self._reader.join(LAST_WORDS)
        printed, ran_out = tuple(self._printed), oom_kills() > self._kills
        how = words_for(self._process.returncode, ran_out) + place_in(printed)
        return Ended(how, self._beacon.read(), device=lost_device(printed))

    def _stopped(self, limit: float) -> Ended:
        """It took too long: have it write where it is, then see what it was at."""
        where, before = self._beacon.read(), len(self._printed)
        with suppress(OSError):
            os.kill(self._process.pid, TRACEBACK)
        until = time.monotonic() + LAST_WORDS
        while time.monotonic() < until and len(self._printed) == before:
            time.sleep(TICK)
        time.sleep(TICK)
        printed = tuple(self._printed)  # it may be printing still
        how = f"hung: stopped after {limit:g} s{place_in(printed)}"
        return Ended(how, where, device=lost_device(printed))

    def _read_log(self, log: Callable[[str], None]) -> None:
        """Hand on what it prints, a line at a time."""
        assert self._process.stdout is not None
        with self._process.stdout as output:
            for line in output:
                text = line.decode(errors="replace").rstrip("\n")
                self._printed.append(text)
                log(text)
