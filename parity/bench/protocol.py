"""The other end of a worker: starts it, asks it one thing at a time, and sees that it ends."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from parity.bench.contestants import Contestant
from parity.core.errors import ParityError
from parity.settings import HERE

# A worker on a loaded machine may load a model and run it for minutes.
PATIENCE = 900.0
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS",
                    "NUMEXPR_NUM_THREADS", "RAYON_NUM_THREADS")  # fmt: skip


class WorkerError(ParityError):
    """A contestant could not do what it was asked for; says which, and why."""


class Worker:
    """A contestant's process.

    Use as a context manager: the process ends with the block, however that ends.
    """

    def __init__(
        self,
        contestant: Contestant,
        threads: int,
        log: Path,
        patience: float = PATIENCE,
    ) -> None:
        """Start it, and wait until it is ready.

        Args:
            contestant: Who it is.
            threads: With how many threads, and on how many processors, it computes.
            log: Where its standard error goes.
            patience: Seconds to wait for an answer.

        Raises:
            WorkerError: it does not start.
        """
        self.contestant, self.log, self.patience = contestant, log, patience
        self._pending = b""
        self.alive = True
        self._process = self._start(threads)
        try:
            self.versions: dict[str, str] = self._reply()["versions"]
        except BaseException:
            self.close()
            raise

    def ask(self, do: str, **request: Any) -> dict[str, Any]:
        """Send a request and wait for its answer.

        Raises:
            WorkerError: it says so, ends, or does not answer in time.
        """
        line = json.dumps({"do": do, **request}) + "\n"
        if not self.alive:
            raise WorkerError(f"{self.contestant.title} has ended before")
        try:
            assert self._process.stdin is not None
            self._process.stdin.write(line.encode())
            self._process.stdin.flush()
        except OSError:
            raise self._ended() from None
        return self._reply()

    def close(self) -> None:
        """End the process and wait for that."""
        self.alive = False
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)  # its own group, see `_start`
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            with suppress(OSError):
                assert pipe is not None
                pipe.close()

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self.close()

    def _start(self, threads: int) -> subprocess.Popen[bytes]:
        contestant = self.contestant
        command = [
            contestant.python, "-m", "parity.bench.worker", contestant.runner,
            json.dumps(dict(contestant.options)), str(threads), ",".join(map(str, cpus(threads))),
        ]  # fmt: skip
        environment = {**os.environ, **dict.fromkeys(THREAD_VARIABLES, str(threads))}
        environment["PYTHONPATH"] = str(HERE.parent)
        environment["TOKENIZERS_PARALLELISM"] = "false"
        try:
            with self.log.open("wb") as log:
                # A session of its own: Ctrl-C reaches this process alone, which ends the others.
                return subprocess.Popen(
                    command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
                    env=environment, cwd=self.log.parent, start_new_session=True,
                )  # fmt: skip
        except OSError as error:
            raise WorkerError(
                f"{contestant.title} cannot be started with {contestant.python}: {error.strerror}"
            ) from error

    def _reply(self) -> dict[str, Any]:
        reply: dict[str, Any] = json.loads(self._line())
        if "error" in reply:
            raise WorkerError(f"{self.contestant.title}: {reply['error']}")
        return reply

    def _line(self) -> bytes:
        assert self._process.stdout is not None
        source = self._process.stdout.fileno()
        until = time.monotonic() + self.patience
        while b"\n" not in self._pending:
            if time.monotonic() > until:
                self.close()
                raise WorkerError(
                    f"{self.contestant.title} has not answered for {self.patience:.0f} s"
                )
            if not select.select([source], [], [], 0.2)[0]:
                continue
            data = os.read(source, 65536)
            if not data:
                raise self._ended()
            self._pending += data
        line, _, self._pending = self._pending.partition(b"\n")
        return line

    def _ended(self) -> WorkerError:
        try:
            code = self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.close()
            return WorkerError(f"{self.contestant.title} has closed its output and goes on running")
        self.close()
        how = f"was ended by signal {-code}" if code < 0 else f"ended with exit status {code}"
        why = ", as the system does when memory runs out" if code == -signal.SIGKILL else ""
        return WorkerError(f"{self.contestant.title}'s process {how}{why}{self._last_words()}")

    def _last_words(self) -> str:
        lines = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return f": {lines[-1].strip()[:300]}" if lines else ""


def cpus(threads: int) -> list[int]:
    """The processors of every contestant: the first of those this process may use."""
    if not hasattr(os, "sched_getaffinity"):
        return []
    return sorted(os.sched_getaffinity(0))[:threads]


@contextmanager
def workers(
    contestants: Sequence[Contestant],
    threads: int,
    logs: Path,
    failed: Callable[[Contestant, WorkerError], None],
) -> Iterator[dict[str, Worker]]:
    """Workers of ``contestants`` by name, without those for which ``failed`` was called."""
    running: dict[str, Worker] = {}
    try:
        for contestant in contestants:
            try:
                log = logs / f"{contestant.name}.log"
                running[contestant.name] = Worker(contestant, threads, log)
            except WorkerError as error:
                failed(contestant, error)
        yield running
    finally:
        for worker in running.values():
            worker.close()
