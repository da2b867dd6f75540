"""A self-test from beginning to end: run what is not finished yet, and put it all together."""

from __future__ import annotations

import os
import platform
import shlex
import sys
from collections.abc import Iterable, Sequence
from datetime import date
from pathlib import Path

from parity.baselines import mindone
from parity.core.errors import ParityError
from parity.core.gates_file import gates_path, read_gates_file
from parity.faults.fault import Fault
from parity.provenance import version
from parity.selftest.hidden_states import HiddenStates
from parity.selftest.plan import Task, faithful_tasks, fault_tasks
from parity.selftest.pool import Broken, run_tasks
from parity.selftest.records import Records
from parity.selftest.result import Seeds, SelfTest, declared
from parity.selftest.trial import Trial
from parity.session import Session
from parity.settings import Settings


def run(
    settings: Settings, faults: Sequence[Fault], every: bool, report: Path, workers: int
) -> SelfTest:
    """Run what has not been run yet.

    Args:
        settings: what to compare, in which dtypes.
        faults: to plant.
        every: whether the faithful port runs on every case, or on those of the faults alone.
        report: folder of the records.
        workers: processes.

    Raises:
        ParityError: the faithful port cannot be run.
    """
    session = Session(settings)
    session.validate()
    tasks = fault_tasks(session, faults)
    trials, broken = _run_all(session, tasks, report, workers)
    used = {trial.case for trial in trials}
    cases = [case.name for case in session.cases if every or case.name in used]
    faithful, wrong = _run_all(session, faithful_tasks(session, cases), report, workers)
    if wrong:
        raise ParityError(f"the faithful port cannot be run: {wrong[0].reason}")
    return SelfTest(
        provenance=_provenance(),
        dtypes=settings.dtypes,
        faults=declared(faults),
        trials=(*trials, *faithful),
        seeds=tuple(seeds_of(settings, dtype) for dtype in settings.dtypes),
        broken=tuple(f"{one.task.name}: {one.reason}" for one in broken),
    )


def seeds_of(settings: Settings, dtype: str) -> Seeds:
    """What `python -m parity calibrate` measured beside the gates of ``dtype``.

    Each half of its seeds is judged by gates that were fitted on the other half: under gates that
    were fitted on all of them none could raise an alarm.

    Raises:
        ParityError: the gates file is damaged.
    """
    measured = read_gates_file(gates_path(settings.gates, settings.device, dtype)).measured
    held = measured.get("held_out", {"runs": 0, "false_alarms": 0, "points": []})
    return Seeds(
        dtype, measured.get("seeds", 0), held["runs"], held["false_alarms"], tuple(held["points"])
    )


def _run_all(
    session: Session, tasks: Sequence[Task], report: Path, workers: int
) -> tuple[list[Trial], list[Broken]]:
    """Finished trials in the order of ``tasks``, those of earlier runs among them."""
    records = Records(report, session)
    done: dict[Task, Trial | Broken] = {
        task: trial for task in tasks if (trial := records.read(task)) is not None
    }
    waiting = [task for task in tasks if task not in done]
    if waiting:
        _capture(session, waiting)
        running = run_tasks(session.settings, waiting, report, workers)
        done.update(_shown(running, len(tasks), len(done)))
    found = [done[task] for task in tasks]
    trials = [one for one in found if isinstance(one, Trial)]
    return trials, [one for one in found if isinstance(one, Broken)]


def _capture(session: Session, tasks: Iterable[Task]) -> None:
    """Make what is missing of the reference, before several processes look for it.

    Of a fault's first case alone: the others are made when they are looked into.
    """
    cases = {case.name: case for case in session.cases}
    session.references.capture([(cases[task.cases[0]], task.dtype) for task in tasks])
    for name in {mindone.REFERENCES[dtype] for dtype in session.settings.dtypes}:
        HiddenStates(session).reference(name)


def _shown(
    running: Iterable[tuple[Task, Trial | Broken]], total: int, before: int
) -> Iterable[tuple[Task, Trial | Broken]]:
    """The same, with a bar that shows how far it is and what was run last."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
               TextColumn("{task.description}"))  # fmt: skip
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task("starting", total=total, completed=before)
        for number, (task, trial) in enumerate(running, before + 1):
            progress.update(bar, advance=1, description=task.name)
            if not console.is_terminal:
                console.print(f"{number}/{total} {task.name}", highlight=False)
            yield task, trial


def _provenance() -> dict[str, str]:
    """What the tables say about where they come from."""
    names = ("mindspore", "torch", "transformers", "numpy")
    versions = [f"{name} {version(name) or 'not installed'}" for name in names]
    return {
        "command": shlex.join(["python", "-m", "parity", *sys.argv[1:]]),
        "date": date.today().isoformat(),
        "versions": ", ".join([f"Python {platform.python_version()}", *versions]),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, CPU",
    }
