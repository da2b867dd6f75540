"""Taking turns: every contestant runs the same item, round after round."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from parity.bench import inputs
from parity.bench.checkpoints import folder_of
from parity.bench.contestants import Contestant, able
from parity.bench.items import MEMORY, Item
from parity.bench.protocol import Worker, WorkerError, workers
from parity.bench.ratios import check_same, relative_error
from parity.core.errors import ParityError

SECONDS, PROCESSOR, ADDED, TOTAL = "seconds", "processor", "added", "total"


@dataclass
class Figures:
    """What one contestant did with one item.

    Attributes:
        series: By what is counted, a figure a round: `SECONDS` and `PROCESSOR` seconds of a run;
            `ADDED` bytes by a first run, and `TOTAL` bytes then.
        error: Relative, of its result against the baseline's.
        failure: Why there are no figures.
    """

    series: dict[str, list[float]] = field(default_factory=dict)
    error: float | None = None
    failure: str | None = None


@dataclass(frozen=True)
class Result:
    """What became of one item: figures by contestant, of whom the first is the baseline."""

    item: Item
    contestants: tuple[Contestant, ...]
    figures: Mapping[str, Figures]
    quick: bool = False

    @property
    def title(self) -> str:
        """What was measured, with the sizes that were taken."""
        return self.item.title(self.quick)

    @property
    def goal(self) -> float | None:
        """The item's, which small sizes do not have."""
        return None if self.quick else self.item.goal

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        found = {name: asdict(figures) for name, figures in self.figures.items()}
        item = {**asdict(self.item), "about": self.title}
        return {"item": item, "baseline": self.contestants[0].name, "figures": found}


@dataclass(frozen=True)
class Plan:
    """How to measure.

    Attributes:
        contestants: All that take part.
        rounds: How often each runs an item that is timed.
        threads: With how many threads.
        quick: Take small sizes.
        scratch: A folder for checkpoints, inputs, results and the workers' logs.
        step: Called with what is going on, before each thing.
    """

    contestants: tuple[Contestant, ...]
    rounds: int
    threads: int
    quick: bool
    scratch: Path
    step: Callable[[str], None] = lambda doing: None

    @property
    def memory_rounds(self) -> int:
        """Memory hardly differs between runs, and each takes a process of its own."""
        return max(1, self.rounds // 5)

    def steps(self, items: Sequence[Item]) -> int:
        """How often `step` will be called at most."""
        return sum(len(able(item, self.contestants)) * self._turns(item) for item in items)

    def _turns(self, item: Item) -> int:
        return self.memory_rounds if item.measure == MEMORY else self.rounds + 1

    def request(self, item: Item) -> dict[str, Any]:
        """What a worker is told about ``item``, whose checkpoint and inputs are there then."""
        small = self.quick and item.checkpoint != "tiny"
        folder = folder_of("toy" if small else item.checkpoint, self.scratch)
        size = item.quick if self.quick else item.size
        path = None
        if item.task == "photo":
            path = self.scratch / f"{item.name}.png"
            inputs.write_photograph(size["height"], size["width"], path)
        elif item.task.startswith("tiny"):
            path = self.scratch / f"{item.name}.npz"
            inputs.write_case(folder, path)
        return item.request(self.quick, folder, self.rounds, path)


@dataclass
class Report:
    """What is known so far: the results by item, and what each contestant is made of."""

    results: dict[str, Result] = field(default_factory=dict)
    versions: dict[str, dict[str, str]] = field(default_factory=dict)


def measure(items: Sequence[Item], plan: Plan, report: Report) -> list[Result]:
    """Measure ``items``, and add each to ``report`` as soon as it is done.

    Workers stay for all items that are timed of one kind, so a framework is loaded once. What a
    contestant cannot do is a failure in its figures.
    """
    results, versions = report.results, report.versions
    for kind in dict.fromkeys(item.kind for item in items):
        timed = [item for item in items if item.kind == kind and item.measure != MEMORY]
        wanted = [c for c in plan.contestants if any(c in able(i, plan.contestants) for i in timed)]
        broken: dict[str, str] = {}
        with workers(wanted, plan.threads, plan.scratch, _note(broken)) as running:
            versions |= {name: worker.versions for name, worker in running.items()}
            for item in timed:
                results[item.name] = time_item(item, plan, running, broken)
    for item in items:
        if item.measure == MEMORY:
            results[item.name] = memory_item(item, plan, versions)
    return [results[item.name] for item in items]


def _note(broken: dict[str, str]) -> Callable[[Contestant, WorkerError], None]:
    def note(contestant: Contestant, error: WorkerError) -> None:
        broken[contestant.name] = str(error)

    return note


def time_item(
    item: Item, plan: Plan, running: Mapping[str, Worker], broken: dict[str, str]
) -> Result:
    """Let all workers get ready for ``item``, check their results, then take turns.

    A worker that fails is left out of this item; one that ended (``broken``), of those after it.
    """
    contestants = tuple(able(item, plan.contestants))
    figures = {c.name: Figures(failure=broken.get(c.name)) for c in contestants}
    request = plan.request(item)

    def get_ready(worker: Worker) -> None:
        plan.step(f"{item.name}: {worker.contestant.title} gets ready")
        worker.ask("prepare", **request, save=str(_saved(item, plan, worker.contestant)))
        mine = figures[worker.contestant.name]
        mine.error = _error(item, plan, contestants[0], worker.contestant)

    def run(worker: Worker) -> None:
        plan.step(f"{item.name}: {worker.contestant.title}, round {turn + 1} of {plan.rounds}")
        found = worker.ask("run")
        for name in (SECONDS, PROCESSOR):
            figures[worker.contestant.name].series.setdefault(name, []).append(median(found[name]))

    def everybody(action: Callable[[Worker], Any], order: Sequence[Contestant]) -> None:
        for mine in order:
            if figures[mine.name].failure is None:
                try:
                    action(running[mine.name])
                except ParityError as error:
                    figures[mine.name] = Figures(failure=str(error))
                    if not running[mine.name].alive:
                        broken[mine.name] = str(error)

    everybody(get_ready, contestants)
    for turn in range(plan.rounds):
        # Every round begins with another one, so that none always follows the same.
        everybody(run, rotated(contestants, turn))
    everybody(lambda worker: worker.ask("drop"), contestants)
    return Result(item, contestants, figures, plan.quick)


def memory_item(item: Item, plan: Plan, versions: dict[str, dict[str, str]]) -> Result:
    """Measure the memory of ``item``, every time in a new process."""
    contestants = tuple(able(item, plan.contestants))
    figures = {contestant.name: Figures() for contestant in contestants}
    request = plan.request(item)
    for turn in range(plan.memory_rounds):
        for contestant in contestants:
            mine = figures[contestant.name]
            if mine.failure is not None:
                continue
            plan.step(f"{item.name}: {contestant.title}, round {turn + 1} of {plan.memory_rounds}")
            log = plan.scratch / f"{item.name}-{contestant.name}.log"
            try:
                with Worker(contestant, plan.threads, log) as worker:
                    versions[contestant.name] = worker.versions
                    found = worker.ask(
                        "memory", **request, save=str(_saved(item, plan, contestant))
                    )
                mine.error = _error(item, plan, contestants[0], contestant)
            except ParityError as error:
                mine.series, mine.failure = {}, str(error)
                continue
            for name, value in (
                (ADDED, found["peak"] - found["before"]),
                (TOTAL, found["peak"]),
                (SECONDS, found["seconds"]),
            ):
                mine.series.setdefault(name, []).append(float(value))
    return Result(item, contestants, figures, plan.quick)


def rotated(contestants: Sequence[Contestant], turn: int) -> list[Contestant]:
    """The same, another one first in each turn."""
    shift = turn % len(contestants) if contestants else 0
    return [*contestants[shift:], *contestants[:shift]]


def _saved(item: Item, plan: Plan, contestant: Contestant) -> Path:
    """The file of its result."""
    return plan.scratch / f"{item.name}-{contestant.name}.npy"


def _error(item: Item, plan: Plan, baseline: Contestant, contestant: Contestant) -> float:
    """How far its result is from the baseline's.

    Raises:
        ParityError: so far that it is another result, or the baseline has none.
    """
    ours, theirs = _saved(item, plan, contestant), _saved(item, plan, baseline)
    if not theirs.exists():
        raise ParityError(f"{baseline.title} has no result to compare with")
    try:
        error = relative_error(np.load(ours), np.load(theirs))
        check_same(error, item.largest_error)
    except ParityError as problem:
        raise ParityError(f"{contestant.title}: {problem}") from None
    return error
