"""What limits the port: a run's time by kind of kernel, dispatch, and copies of views."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from parity.bench.items import MODEL, TIME, Item
from parity.bench.mindspore_profile import RUNS
from parity.bench.protocol import Worker
from parity.bench.rounds import Plan

# Next to no numbers, and the same kernels.
LEAST: Mapping[str, Mapping[str, int]] = {
    "vision-block": {"grid_height": 2, "grid_width": 2},
    "prefill": {"tokens": 2},
    "decode": {"tokens": 2},
}
KINDS = {
    "matrix products": ("matmul", "dense", "biasadd"),
    "softmax": ("softmax",),
    "norms": ("layernorm", "rmsnorm", "reducemean", "rsqrt", "square"),
    "layout": ("transpose", "tile", "concat", "gather", "slice", "split", "reshape", "expand",
               "broadcast", "copy", "contiguous", "pack", "stack", "assign", "scatter"),
    "casts": ("cast",),
}  # fmt: skip
ELEMENTWISE, COPIES, DISPATCH = "elementwise", "copies of views", "dispatch"


@dataclass(frozen=True)
class Part:
    """A kind of work in one run: seconds, and kernels."""

    kind: str
    seconds: float
    kernels: int
    names: tuple[str, ...] = ()


def kind_of(kernel: str) -> str:
    """What a kernel does, by its name; an unknown one is elementwise."""
    plain = kernel.lower().replace("_", "")
    return next((kind for kind, words in KINDS.items() if any(w in plain for w in words)),
                ELEMENTWISE)  # fmt: skip


def parts(found: Mapping[str, Any], least: Mapping[str, Any]) -> list[Part]:
    """Split a run's time, largest part first.

    Args:
        found: A profile: seconds and kernels of each run.
        least: The same of the item with next to no numbers in it.
    """
    totals: dict[str, list[float]] = {}
    names: dict[str, dict[str, float]] = {}
    counts: dict[str, int] = {}
    for kernel in found["kernels"][0]:
        kind, runs = kind_of(kernel), [run.get(kernel, (0, 0.0)) for run in found["kernels"]]
        seconds = median(one[1] for one in runs)
        totals.setdefault(kind, []).append(seconds)
        names.setdefault(kind, {})[f"{kernel} x{runs[0][0]}"] = seconds
        counts[kind] = counts.get(kind, 0) + runs[0][0]
    made = []
    for kind, seconds in totals.items():
        longest = sorted(names[kind].items(), key=lambda pair: pair[1], reverse=True)
        made.append(Part(kind, sum(seconds), counts[kind], tuple(name for name, _ in longest)))
    rest = unaccounted(found)
    dispatch = min(rest, unaccounted(least))
    made += [Part(DISPATCH, dispatch, 0), Part(COPIES, rest - dispatch, 0)]
    return sorted(made, key=lambda part: part.seconds, reverse=True)


def unaccounted(found: Mapping[str, Any]) -> float:
    """Seconds of a run in which no kernel ran: the median over the runs, never below 0."""
    rests: list[float] = [
        seconds - sum(kernel[1] for kernel in run.values())
        for seconds, run in zip(found["seconds"], found["kernels"], strict=True)
    ]
    return max(0.0, median(rests))


def lines_of(title: str, made: Sequence[Part], divide: int = 1) -> Iterator[str]:
    """A part a line: its share, its time, its kernels."""
    total = sum(part.seconds for part in made)
    yield f"{title}: {total / divide * 1e3:.1f} ms under the profiler"
    for part in made:
        share, milliseconds = part.seconds / total, part.seconds / divide * 1e3
        names = f"  {', '.join(part.names[:4])}" if part.names else ""
        yield f"  {share:6.1%} {milliseconds:9.2f} ms  {part.kind:16}{names}"


def profile_items(items: Sequence[Item], plan: Plan) -> Iterator[str]:
    """Profile every item of ``items`` that is timed and the port's model computes.

    Yields:
        Lines for a terminal.

    Raises:
        ParityError: the port cannot be run or profiled.
    """
    port = plan.contestants[0]
    with Worker(port, plan.threads, plan.scratch / "profile.log") as worker:
        for item in items:
            if item.kind != MODEL or item.measure != TIME:
                continue
            request = plan.request(item)
            request["size"]["runs"] = RUNS + 1  # that the cache of decoding has to hold
            size = request["size"] | LEAST.get(item.task, {})
            found = worker.ask("profile", **request)
            # A tiny model has next to no numbers in it as it is.
            least = worker.ask("profile", **{**request, "size": size})
            yield from lines_of(f"{item.name} ({item.title(plan.quick)})", parts(found, least),
                                request["size"].get("steps", 1))  # fmt: skip
            yield ""
