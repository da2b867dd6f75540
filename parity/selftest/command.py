"""The command ``python -m parity selftest``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from parity.core.errors import ParityError
from parity.core.numerics import PRECISIONS
from parity.options import COULD_NOT_RUN, Bundles, CasesFile, Checkpoint, GatesFolder
from parity.selftest.job import run
from parity.selftest.plan import select_faults
from parity.selftest.rates import goals, shortfalls
from parity.selftest.readme import files, write, write_documents
from parity.selftest.result import SelfTest
from parity.selftest.table import summary
from parity.selftest.trial import WATCHED
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
