"""The process of a contestant: ``python -m parity.bench.worker RUNNER OPTIONS THREADS CPUS``.

Reads requests from standard input, one JSON object a line, and answers each with one line: what
was asked for, or ``{"error": "..."}``. It ends with its input, so it outlives nobody.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from parity.bench.memory import peak_memory
from parity.bench.task import Runner, Task
from parity.core.errors import ParityError, describe_exception

Message = dict[str, Any]


class Service:
    """Answers requests with one runner and at most one item at a time."""

    def __init__(self, runner: Runner) -> None:
        self.runner = runner
        self.task: Task | None = None
        self.repeats = 1
        self.answers: Mapping[str, Callable[[Message], Message]] = {
            "prepare": self.prepare,
            "run": self.run,
            "memory": self.memory,
            "profile": self.profile,
            "drop": self.drop,
        }

    def answer(self, request: Message) -> Message:
        """The reply to ``request``; whatever goes wrong is one, too."""
        try:
            return self.answers[request["do"]](request)
        except ParityError as error:
            return {"error": str(error)}
        except Exception as error:
            return {"error": describe_exception(error)}

    def prepare(self, request: Message) -> Message:
        """Load an item and run it once, which also compiles it; keep the result in a file."""
        self.task = self._load(request)
        self.repeats = request["repeats"]
        self.task.reset()
        np.save(request["save"], self.task.run())
        return {}

    def run(self, request: Message) -> Message:
        """Run it as often as a round asks for: wall and processor seconds of each run."""
        if self.task is None:
            raise ParityError("nothing was prepared")
        wall, processor = [], []
        for _ in range(self.repeats):
            self.task.reset()
            gc.collect()
            started = time.perf_counter(), time.process_time()
            self.task.run()
            ended = time.perf_counter(), time.process_time()
            wall.append((ended[0] - started[0]) / self.task.parts)
            processor.append((ended[1] - started[1]) / self.task.parts)
        return {"seconds": wall, "processor": processor}

    def memory(self, request: Message) -> Message:
        """Run an item for the first time in this process, and say how much memory that took."""
        if warm := request.get("warm"):
            self._load({**request, "size": warm}).run()
        task = self._load(request)
        task.reset()
        gc.collect()
        started = time.perf_counter()
        result, before, peak = peak_memory(task.run)
        seconds = time.perf_counter() - started
        np.save(request["save"], result)
        return {"before": before, "peak": peak, "seconds": seconds}

    def profile(self, request: Message) -> Message:
        """Where the time of an item goes."""
        task = self._load(request)
        task.reset()
        task.run()
        return self.runner.profile(task)

    def drop(self, request: Message) -> Message:
        """Forget the item."""
        self.task = None
        gc.collect()
        return {}

    def _load(self, request: Message) -> Task:
        self.task = None
        gc.collect()
        return self.runner.prepare(request["task"], Path(request["folder"]), request["size"])


def serve(service: Service, requests: TextIO, replies: TextIO) -> None:
    """Answer until the requests end."""
    for line in requests:
        print(json.dumps(service.answer(json.loads(line))), file=replies, flush=True)


def private_output() -> TextIO:
    """The standard output, taken away from everybody else: frameworks write what they like."""
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return replies


def main(runner: str, options: str, threads: str, cpus: str) -> None:
    """Say which versions this is, then serve."""
    replies = private_output()
    if cpus and hasattr(os, "sched_setaffinity"):
        # Whatever thread pools a framework keeps, it gets the processors of its threads.
        with suppress(OSError):
            os.sched_setaffinity(0, {int(cpu) for cpu in cpus.split(",")})
    module, _, name = runner.partition(":")
    try:
        made = getattr(importlib.import_module(module), name)(int(threads), **json.loads(options))
        hello: Message = {"versions": made.versions()}
    except Exception as error:
        told = str(error) if isinstance(error, ParityError) else describe_exception(error)
        print(json.dumps({"error": told}), file=replies, flush=True)
        return
    print(json.dumps(hello), file=replies, flush=True)
    serve(Service(made), sys.stdin, replies)


if __name__ == "__main__":
    main(*sys.argv[1:])
