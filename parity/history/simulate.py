"""How often the gate cries wolf, and how soon it sees a step: `python -m parity.history.simulate`.

The nights start from the ratios of a real run. Every night each ratio is multiplied by lognormal
noise, the gate judges all nights so far, and whatever it says before a step was planted is a false
alarm. A step multiplies one ratio from one night on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import typer

from parity.core.errors import ParityError
from parity.history.gate import NEWEST, judge
from parity.history.measured import Measured
from parity.report.rows_io import read_json

NIGHTS = 100
WINDOW = 90
"""Nights that the gate looks back."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Outcome:
    """What the gate did over all nights."""

    series: int
    nights: int
    false_alarms: int
    """Series that alarmed in any night although nothing was planted in them."""
    planted: int
    found: int
    """Steps that alarmed within ``NEWEST`` runs, the step's own the first."""
    latest: int
    """Runs that the slowest of the found ones took."""


def simulate(
    start: Measured,
    noise: float,
    steps: int,
    times: float,
    seed: int,
    nights: int = NIGHTS,
    progress: Callable[[int], object] = lambda night: None,
) -> Outcome:
    """Judge every night of a simulated history.

    Args:
        start: One run, whose local and end-to-end ratios each night has.
        noise: Standard deviation of the logarithm of a ratio from night to night.
        steps: So many different series get a step, each at a random night.
        times: What a step multiplies a ratio by.
        seed: Of all random numbers.
        nights: How many.
        progress: Is told each night.
    """
    random = np.random.default_rng(seed)
    planted = _plant(random, start, steps, nights)
    local, end = (_nights(random, one[:, 0], noise, nights) for one in (start.local, start.end))
    for line, night in planted.items():
        local[line, night:] *= times
    seen: dict[int, int] = {}
    for night in range(1, nights):
        first = max(0, night + 1 - WINDOW)
        for line in _alarmed(start, local[:, first : night + 1], end[:, first : night + 1]):
            seen.setdefault(line, night)
        progress(night)
    late = {line: seen[line] - night + 1 for line, night in planted.items() if line in seen}
    found = [delay for delay in late.values() if 1 <= delay <= NEWEST]
    wrong = len(seen.keys() - planted.keys()) + sum(delay < 1 for delay in late.values())
    return Outcome(
        len(start.keys), nights, wrong, steps, len(found), max(found, default=0)
    )  # fmt: skip


def _plant(random: np.random.Generator, start: Measured, steps: int, nights: int) -> dict[int, int]:
    """Series that get a step, and the night: late enough to have a history, early enough to see."""
    lines = np.flatnonzero(np.isfinite(start.local[:, 0]) & (start.local[:, 0] >= 1e-2))
    chosen = random.choice(lines, steps, replace=False)
    return {int(line): int(random.integers(5, nights - NEWEST)) for line in chosen}


def _nights(
    random: np.random.Generator, ratios: npt.NDArray[np.float32], noise: float, nights: int
) -> Floats:
    """The ratios of all nights, [S, nights]."""
    factors: Floats = np.exp(random.normal(0, noise, (len(ratios), nights)))
    return ratios[:, None] * factors


def _alarmed(start: Measured, local: Floats, end: Floats) -> set[int]:
    """The series on which the gate fails in the last of these nights."""
    count = local.shape[1]
    tonight = replace(
        start, runs=start.runs * count, verdicts=np.repeat(start.verdicts, count, axis=1),
        local=local.astype(np.float32), end=end.astype(np.float32),
    )  # fmt: skip
    found = judge(tonight)
    return {one.line for one in found.alarms} | {one.line for one in found.crossed}


def start_of(file: Path) -> Measured:
    """The ratios of a real run as the first night; what fails in it is left out.

    Raises:
        ParityError: the file cannot be read, or nothing in it passes.
    """
    import tempfile

    from parity.history.database import History
    from parity.history.measured import load
    from parity.history.place import as_url
    from parity.history.record import record_of

    with tempfile.TemporaryDirectory() as folder:
        history = History(as_url(Path(folder) / "history.sqlite"))
        history.append(record_of(read_json(file), str(file)))
        found = load(history, history.runs())
        history.engine.dispose()
    passing = np.flatnonzero(found.verdicts[:, 0] == 0)
    if passing.size == 0:
        raise ParityError(f"nothing passes in {file}: simulate from a run that does.")
    return replace(
        found, keys=tuple(found.keys[line] for line in passing), verdicts=found.verdicts[passing],
        local=found.local[passing], end=found.end[passing],
    )  # fmt: skip


def main(
    run: Annotated[
        str,
        typer.Argument(help="The real run to start from: latest, an id, or a rows.json."),
    ] = "latest",
    noise: Annotated[
        list[float] | None,
        typer.Option(help="Noise of a night, 0.05 is 5 %; repeat for several.", min=0),
    ] = None,
    steps: Annotated[int, typer.Option(help="Steps to plant.", min=1)] = 50,
    times: Annotated[float, typer.Option(help="What a step multiplies a ratio by.", min=0)] = 2.0,
    seeds: Annotated[int, typer.Option(help="Histories to simulate for each noise.", min=1)] = 1,
) -> None:
    """Simulate nights and print what the gate would have said."""
    from rich.progress import Progress

    from parity.runs import find_run

    start = start_of(find_run(run))
    levels = noise or [0.0, 0.01, 0.02, 0.05]
    with Progress(transient=True) as bar:
        task = bar.add_task("nights", total=len(levels) * seeds * (NIGHTS - 1))
        for level in levels:
            for seed in range(seeds):
                outcome = simulate(
                    start, level, steps, times, seed, progress=lambda _: bar.advance(task)
                )
                bar.console.print(_told(level, times, seed, outcome), highlight=False)


def _told(noise: float, times: float, seed: int, outcome: Outcome) -> str:
    """A line of the table."""
    return (
        f"noise {noise:.1%}, seed {seed}: {outcome.series:,} series, {outcome.nights} nights, "
        f"{outcome.false_alarms} false alarms; {outcome.found} of {outcome.planted} steps of "
        f"{times:g} times found, the last in run {outcome.latest}"
    )


if __name__ == "__main__":
    try:
        typer.run(main)
    except ParityError as error:
        raise SystemExit(f"error: {error}") from error
