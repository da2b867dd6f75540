"""The command ``python -m parity selftest``."""

from __future__ import annotations

import os
import platform
import shlex
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Annotated

import typer

from parity.baselines import mindone
from parity.core.errors import ParityError
from parity.core.gates_file import gates_path, read_gates_file
from parity.core.numerics import PRECISIONS
from parity.faults.fault import Fault
from parity.options import COULD_NOT_RUN, Bundles, CasesFile, Checkpoint, GatesFolder
from parity.selftest.hidden_states import HiddenStates
from parity.selftest.plan import Task, faithful_tasks, fault_tasks, select_faults
from parity.selftest.pool import Broken, run_tasks
from parity.selftest.rates import goals, shortfalls
from parity.selftest.readme import files, write, write_documents
from parity.selftest.records import Records
from parity.selftest.result import Seeds, SelfTest, declared
from parity.selftest.table import summary
from parity.selftest.trial import WATCHED, Trial
from parity.session import Session, version
from parity.settings import Settings, default_bundles

INTERRUPTED = 130


def selftest(
    fault: Annotated[
        list[str] | None,
        typer.Option(help="Fault to plant; repeat for several. Default: all.", metavar="NAME"),
    ] = None,
    dtype: Annotated[
        list[str] | None,
        typer.Option(
            "--dtype",
            help=f"Dtype to plant in, of {', '.join(PRECISIONS)}; repeat for several.",
            show_default="all",
            metavar="NAME",
        ),
    ] = None,
    workers: Annotated[
        int, typer.Option("-n", "--workers", help="Processes to run trials in.", min=1)
    ] = 1,
    readme: Annotated[
        bool,
        typer.Option("--readme", help="Also rewrite the table in README.md, and docs/selftest.*."),
    ] = False,
    report: Annotated[
        Path, typer.Option(help="Folder of the report and of finished trials.", metavar="FOLDER")
    ] = Path("reports/selftest"),
    checkpoint: Checkpoint = Settings.checkpoint,
    cases_file: CasesFile = Settings.cases_file,
    bundles: Bundles = None,
    gates: GatesFolder = Settings.gates,
) -> None:
    """Plant every fault in every dtype, and see whether the harness finds it, and where.

    A fault is a porting mistake that somebody made once (`parity faults` lists them). Each is
    planted in the port, the port is compared with the reference on inputs that show the fault, and
    the point that the harness blames is held against the one that is at fault. The port as it is
    runs on every case, which counts false alarms. Four other ways of comparing look at the same
    runs.

    Every finished trial is kept in FOLDER/trials: a run that was stopped goes on where it was, and
    after a change of sources, gates or versions everything runs again.

    Exit status 0: all goals are reached. 1: something was missed, blamed wrongly, or a false
    alarm. 2: something could not be run, or a fault changes nothing.
    """
    if readme and (fault or dtype):
        raise ParityError("--readme is for all faults in all dtypes: drop --fault and --dtype")
    settings = replace(
        Settings(),
        dtypes=tuple(dict.fromkeys(dtype or PRECISIONS)),
        candidate=WATCHED,
        checkpoint=checkpoint,
        cases_file=cases_file,
        bundles=bundles or default_bundles(),
        gates=gates,
    )
    try:
        result = run(settings, select_faults(fault or []), not fault, report, workers)
    except KeyboardInterrupt:
        typer.echo("stopped; the same command goes on from here", err=True)
        raise typer.Exit(INTERRUPTED) from None
    write(report, files(result))
    if readme:
        write_documents(result)
    typer.echo("\n".join(_lines(result, report)))
    raise typer.Exit(status(result))


def status(result: SelfTest) -> int:
    """The exit status."""
    if result.broken or any(result.idle()):
        return COULD_NOT_RUN
    return 0 if all(goal.met for goal in goals(result)) else 1


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
    """Make what is missing of the reference, before several processes look for it."""
    cases = {case.name: case for case in session.cases}
    session.capture([(cases[name], task.dtype) for task in tasks for name in task.cases])
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
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("starting", total=total, completed=before)
        for task, trial in running:
            progress.update(bar, advance=1, description=task.name)
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


def _lines(result: SelfTest, report: Path) -> list[str]:
    """What the terminal is told."""
    lines = [summary(result), ""]
    for goal in goals(result):
        lines.append(f"{'met    ' if goal.met else 'NOT MET'}  {goal.text}: {goal.reached}")
    for one in shortfalls(result):
        lines.append(f"{one.dtype} {one.fault}: {one.what}: {one.reason}")
    for trial in result.idle():
        lines.append(f"error: {trial.fault} changes nothing in {trial.dtype} in {trial.case}")
    lines += [f"error: {reason}" for reason in result.broken]
    return [*lines, f"wrote {report / 'selftest.md'}, selftest.csv and selftest.json"]
