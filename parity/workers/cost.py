"""What it costs to run the candidate in workers: ``python -m parity.workers.cost``.

The same run is made in one process and in workers, in turn, so that a busy machine slows both. What
counts is the processors' time of all processes together; the wall's is beside it.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from parity.core.errors import ParityError
from parity.core.rows import RunResult
from parity.job import result_of
from parity.kernel_ledger import ledger_of
from parity.options import run_alone
from parity.report.write import write_report
from parity.session import Session
from parity.settings import Settings
from parity.workers.beacon import light

ONE = "--one-process"
"""The option with which this command makes one run in its own process."""

NAMES = [f"language_model.layers.{n}.self_attn.q_proj" for n in range(1000)]


@dataclass(frozen=True)
class Cost:
    """Of one run, in seconds."""

    processor: float
    wall: float


def in_one_process(settings: Settings) -> RunResult:
    """A run as it is without workers, in this process.

    Raises:
        ParityError: it cannot be made.
    """
    started = time.monotonic()
    session = Session(settings, prove=True, look_into=True)
    session.validate()
    for dtype in settings.dtypes:
        for mode in settings.modes:
            for case in session.cases:
                session.run(case, dtype, mode=mode)
    kernels = ledger_of(session)
    result = result_of(session, started)
    result.kernels = kernels
    return result


def cost_of(command: Sequence[str]) -> Cost:
    """Run a command, and say what it and all that it started cost.

    Raises:
        ParityError: it could not run; 1, parity broken, is a run all the same.
    """
    started = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in (0, 1):
        raise ParityError(f"{' '.join(command)} ended with {process.returncode}")
    return Cost(used.ru_utime + used.ru_stime, time.monotonic() - started)


def measure(
    case: Annotated[list[str] | None, typer.Option(help="Case; repeat for several.")] = None,
    dtype: Annotated[list[str] | None, typer.Option(help="Dtype; repeat for several.")] = None,
    rounds: Annotated[int, typer.Option(help="Runs of each kind.", min=1)] = 3,
    one: Annotated[Path | None, typer.Option(ONE, hidden=True)] = None,
) -> None:
    """Measure a run in workers against the same run in one process."""
    settings = Settings(cases=tuple(case or ()), dtypes=tuple(dtype or ("fp32",)))
    if one is not None:
        write_report(in_one_process(settings), one)
        return
    options = [word for name in settings.cases for word in ("--case", name)]
    options += [word for name in settings.dtypes for word in ("--dtype", name)]
    found: dict[str, list[Cost]] = {"one process": [], "workers": []}
    with tempfile.TemporaryDirectory() as folder:
        place = str(Path(folder, "report"))
        commands = {
            "one process": ["-m", "parity.workers.cost", *options, ONE, place],
            "workers": ["-m", "parity", "run", *options, "--report", place, "--no-history"],
        }
        for _ in range(rounds):
            for name, words in commands.items():
                found[name].append(cost_of([sys.executable, *words]))
        point = telling_a_point(Path(folder))
    for name, costs in found.items():
        typer.echo(f"{name:12} {processor(costs):6.1f} s of processors, {wall(costs):6.1f} s")
    ratio = processor(found["workers"]) / processor(found["one process"])
    typer.echo(f"workers cost {ratio:.2f} times the processors' time (medians of {rounds})")
    typer.echo(f"telling one point costs {1e6 * point:.2f} microseconds")


def telling_a_point(folder: Path) -> float:
    """What every hook costs more, in seconds: the best of five rounds of a thousand."""
    beacon, rounds = light(folder / "beacon"), []
    for _ in range(5):
        started = time.perf_counter()
        for name in NAMES:
            beacon.reach(name)
        rounds.append((time.perf_counter() - started) / len(NAMES))
    return min(rounds)


def processor(costs: Sequence[Cost]) -> float:
    """The median of all processors' seconds."""
    return statistics.median(one.processor for one in costs)


def wall(costs: Sequence[Cost]) -> float:
    """The median of the seconds that passed."""
    return statistics.median(one.wall for one in costs)


if __name__ == "__main__":
    run_alone(measure)
