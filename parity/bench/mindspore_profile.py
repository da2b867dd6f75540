"""What MindSpore's own profiler says of a task: each kernel's time, and what is between them."""

from __future__ import annotations

import json
import re
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from parity.bench.task import Task
from parity.core.errors import ParityError

RUNS = 5
Window = tuple[int, int]


def profile(task: Task) -> dict[str, Any]:
    """Run ``task`` several times under the profiler.

    Returns:
        ``seconds``: of each run; ``kernels``: for each run, by the kernel's name, how often it ran
        and for how many seconds.

    Raises:
        ParityError: the profiler saw no kernel.
    """
    from mindspore.profiler import ProfilerActivity, tensorboard_trace_handler
    from mindspore.profiler import profile as profiler

    windows: list[Window] = []
    with tempfile.TemporaryDirectory(prefix="parity-profile-") as folder:
        handler = tensorboard_trace_handler(folder)
        with profiler(activities=[ProfilerActivity.CPU], on_trace_ready=handler) as recording:
            for _ in range(RUNS):
                task.reset()
                started = time.time_ns()  # the clock of the trace
                task.run()
                windows.append((started, time.time_ns()))
            recording.step()
        events = _events(Path(folder))
    found = [_inside(window, events) for window in windows]
    if not all(found):
        raise ParityError("MindSpore's profiler saw no kernel in a run")
    return {"seconds": [(end - start) / 1e9 for start, end in windows], "kernels": found}


def _events(folder: Path) -> list[dict[str, Any]]:
    """The kernels that ran, from the profiler's trace."""
    traces = list(folder.rglob("trace_view.json"))
    if len(traces) != 1:
        raise ParityError(f"MindSpore's profiler wrote {len(traces)} traces and not one")
    events = json.loads(traces[0].read_text(encoding="utf-8"))
    return [event for event in events if event.get("args", {}).get("type") == "HostCpuOps"]


def _inside(window: Window, events: list[dict[str, Any]]) -> dict[str, tuple[int, float]]:
    """Count and seconds of each kernel that began in ``window`` (ns); the trace counts in µs."""
    found: dict[str, tuple[int, float]] = defaultdict(lambda: (0, 0.0))
    for event in events:
        if window[0] <= float(event["ts"]) * 1e3 < window[1]:
            name = plain_name(event["name"])
            count, seconds = found[name]
            found[name] = count + 1, seconds + float(event["dur"]) / 1e6
    return dict(found)


def plain_name(kernel: str) -> str:
    """``Default/BiasAdd-op1`` is the same kernel as ``BiasAdd``."""
    return re.sub(r"-op\d+$", "", kernel.rpartition("/")[2])
