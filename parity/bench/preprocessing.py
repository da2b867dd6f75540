"""How long a photograph takes from a picture in memory to the model's patches.

Port and references take turns, so that what else the machine does falls on all of them. The
reference's torchvision processor, its default, needs a process of its own; all of them stay in
theirs for the whole measurement, and each is warmed up by one run.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

HEIGHT, WIDTH = 1372, 2044
ROOT = Path(__file__).resolve().parents[2]
BUDGETS = {
    "published budget, no resizing": 16384 * 28 * 28,
    "default budget, resized": 1280 * 28 * 28,
}
REFERENCES = {"torchvision": "reference's default", "pillow": "reference's Pillow"}
SUBJECTS = ("port", *REFERENCES)


def measure(repeats: int = 9) -> list[dict[str, Any]]:
    """Measure the port against both processors of the reference.

    Args:
        repeats: Timed runs of each.

    Returns:
        One dict for each budget and reference: ``name``, ``ours`` and ``reference`` (median
        seconds), ``ratio`` (median of the runs' ratios) and its ``spread`` (lower and upper
        quartile), and the number of ``threads``.
    """
    with ExitStack() as stack:
        workers = {subject: stack.enter_context(_worker(subject)) for subject in SUBJECTS}
        rows = []
        for name, budget in BUDGETS.items():
            times = {subject: list[float]() for subject in SUBJECTS}
            for run in range(repeats + 1):
                for subject, worker in workers.items():
                    seconds = _ask(worker, budget)
                    if run:
                        times[subject].append(seconds)
            rows += [_row(name, reference, times) for reference in REFERENCES]
    return rows


def _row(name: str, reference: str, times: dict[str, list[float]]) -> dict[str, Any]:
    pairs = zip(times["port"], times[reference], strict=True)
    ratios = [ours / theirs for ours, theirs in pairs]
    low, ratio, high = np.percentile(ratios, (25, 50, 75)).tolist()
    return {
        "name": f"preprocessing {HEIGHT}x{WIDTH}, {name}, {REFERENCES[reference]}",
        "ours": statistics.median(times["port"]),
        "reference": statistics.median(times[reference]),
        "ratio": ratio,
        "spread": (low, high),
        "threads": _threads(),
    }


def _threads() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _worker(subject: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-W", "ignore", "-m", "parity.bench.preprocessing", subject]
    environment = os.environ | {"OMP_NUM_THREADS": str(_threads()), "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        command, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )


def _ask(worker: subprocess.Popen[str], budget: int) -> float:
    assert worker.stdin is not None
    assert worker.stdout is not None
    worker.stdin.write(f"{budget}\n")
    worker.stdin.flush()
    line = worker.stdout.readline()
    if not line:
        raise RuntimeError(f"{worker.args!r} ended with status {worker.wait()}")
    return float(json.loads(line))


def photograph() -> Any:
    """A picture of the size with shading and noise, the same on every run."""
    from PIL import Image

    shading = np.add.outer(np.linspace(0, 100, HEIGHT), np.linspace(0, 100, WIDTH))
    noise = np.random.default_rng(0).integers(0, 50, (HEIGHT, WIDTH, 3))
    return Image.fromarray((shading[..., None] + noise).astype(np.uint8))


def prepare(subject: str) -> Callable[[Any, int], Any]:
    """The function from a picture and a pixel budget to patches."""
    if subject == "port":
        from qwen2vl_ms.image_processing import Qwen2VLImageProcessor

        port = Qwen2VLImageProcessor()
        return lambda picture, budget: port([picture], max_pixels=budget)
    if subject == "pillow":
        from transformers.models.qwen2_vl import image_processing_pil_qwen2_vl as pillow

        processor: Any = pillow.Qwen2VLImageProcessorPil()
    else:
        from parity.adapters.torchvision_shim import import_torchvision

        import_torchvision()
        from transformers.models.qwen2_vl import image_processing_qwen2_vl as torchvision

        processor = torchvision.Qwen2VLImageProcessor()
    kind = "np" if subject == "pillow" else "pt"
    least = processor.size["shortest_edge"]
    return lambda picture, budget: processor(
        [picture], size={"shortest_edge": least, "longest_edge": budget}, return_tensors=kind
    )


def answer(subject: str) -> None:
    """Time one run for every budget that comes in, a line each."""
    work, picture = prepare(subject), photograph()
    for line in sys.stdin:
        start = time.perf_counter()
        work(picture, int(line))
        print(json.dumps(time.perf_counter() - start), flush=True)


if __name__ == "__main__":
    answer(sys.argv[1])
