"""The command ``python -m parity calibrate``: measure, fit, write the gates files."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Annotated, Any

import typer

from parity.calibrate_figure import draw
from parity.calibrate_rule import Planted, as_gates, fit
from parity.calibrate_work import done, run_workers, total
from parity.calibration_data import Plan, Record, load, load_faults
from parity.core.errors import ParityError
from parity.core.files import temporary_beside
from parity.core.gates_file import GatesFile, gates_path, gates_text, read_gates_file
from parity.core.numerics import PRECISIONS
from parity.options import Bundles, Cases, CasesFile, Checkpoint, GatesFolder
from parity.provenance import version
from parity.settings import Settings, default_bundles

SAY_SECONDS = 30.0
"""How often progress is told where there is no terminal to draw on."""


def calibrate(
    case: Cases = None,
    dtype: Annotated[
        list[str] | None,
        typer.Option(
            "--dtype",
            help=f"Dtype to measure, of {', '.join(PRECISIONS)}; repeat for several.",
            show_default="all",
            metavar="NAME",
        ),
    ] = None,
    seeds: Annotated[
        int, typer.Option(help="Seeds to measure, besides the cases as they are.", min=0)
    ] = 20,
    workers: Annotated[
        int, typer.Option("-n", "--workers", help="Processes that share the work.", min=1)
    ] = 1,
    device: Annotated[
        str, typer.Option(help="Device of the candidate, such as CPU or Ascend:0.", metavar="NAME")
    ] = Settings.device,
    checkpoint: Checkpoint = Settings.checkpoint,
    cases_file: CasesFile = Settings.cases_file,
    bundles: Bundles = None,
    gates: GatesFolder = Settings.gates,
) -> None:
    """Measure the gates: run the faithful port on many inputs, plant every fault, go between.

    Each seed runs every case in every dtype on random inputs of the cases' sizes, every second
    seed with random weights and a massive channel; the cases as they are are measured too. For
    each kind of module, scope and figure the gate then lies between the port's largest ratio and
    the smallest of a fault that it has to catch, and near the former.

    Measurements are kept in the user's cache: a command that was ended goes on where it was, and
    two at once share the work. A change of the port or of the reference measures anew.

    Needs PyTorch. Exit status 1 if a fault stays within the gates that is not known to be hidden
    by the dtype.
    """
    chosen = replace(
        Settings(), cases=tuple(case or ()), dtypes=tuple(dtype or PRECISIONS), device=device,
        checkpoint=checkpoint, cases_file=cases_file, bundles=bundles or default_bundles(),
        gates=gates,
    )  # fmt: skip
    found = calibrate_job(Plan(chosen, seeds), workers)
    for name, content in found.items():
        for line in told(name, content):
            typer.echo(line)
    typer.echo(f"wrote {len(found)} gates files and their picture to {gates}")
    raise typer.Exit(1 if any(missed(name, content) for name, content in found.items()) else 0)


def calibrate_job(plan: Plan, workers: int) -> dict[str, GatesFile]:
    """Measure what is not measured yet, and write a gates file for each dtype.

    Raises:
        ParityError: the reference or the candidate cannot be run, the port is wrong in a way that
            no gate measures, or a file cannot be written.
    """
    plan.session.validate(judging=False)
    if done(plan) < total(plan):
        with _progress(plan) as every_second:
            run_workers(plan, workers, every_second)
    every, faults = load(plan), load_faults(plan)
    _check_faithful(every)
    found = {}
    for dtype in plan.settings.dtypes:
        own = [record for record in every if record.dtype == dtype]
        planted = [record for record in faults if record.dtype == dtype]
        found[dtype] = fitted(plan, own, planted)
        path = gates_path(plan.settings.gates, plan.settings.device, dtype)
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary_beside(path) as temporary:
            temporary.write_text(gates_text(found[dtype]), encoding="utf-8")
    draw_device(plan.settings.gates, plan.settings.device)
    return found


def draw_device(folder: Path, device: str) -> Path:
    """Draw the gates of every dtype that was measured on ``device``; return the picture's path."""
    paths = {dtype: gates_path(folder, device, dtype) for dtype in PRECISIONS}
    files = {dtype: read_gates_file(path) for dtype, path in paths.items() if path.is_file()}
    picture = folder / f"{device.partition(':')[0]}.svg"
    with temporary_beside(picture) as temporary:
        temporary.write_text(draw(files), encoding="utf-8")
    return picture


def fitted(plan: Plan, records: Sequence[Record], faults: Sequence[Record]) -> GatesFile:
    """The content of one dtype's gates file."""
    measured: dict[str, Any] = {
        "date": date.today().isoformat(),
        "dtype": records[0].dtype,
        "device": records[0].device,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "versions": {name: version(name) or "none" for name in
                     ("mindspore", "torch", "transformers", "numpy")},
        "checkpoint": plan.settings.checkpoint.name,
        "cases": [case.name for case in plan.session.cases],
        "seeds": plan.seeds,
        "runs": len(records),
        "held_out": held_out(plan, records, faults),
    }  # fmt: skip
    return replace(fit(records, faults, _known(records[0].dtype)), measured=measured)


def held_out(plan: Plan, records: Sequence[Record], faults: Sequence[Record]) -> dict[str, Any]:
    """False alarms on seeds that the gates were not fitted on: each half judged by the other's.

    Gates that are fitted on all seeds have no false alarm on them by construction. Seeds are
    taken in pairs, so that each half has trained and random weights.
    """
    halves = [[r for r in records if (r.seed + 1) // 2 % 2 == half] for half in (0, 1)]
    if not all(halves):
        return {"runs": 0, "false_alarms": 0, "points": []}
    known = _known(records[0].dtype)
    runs, alarms, names = 0, 0, []
    for fit_on, judge_on in (halves, halves[::-1]):
        gates = as_gates(fit(fit_on, faults, known), "half of the seeds")
        for record in judge_on:
            over = record.over(gates, plan.points)
            runs, alarms = runs + 1, alarms + bool(over)
            names += [f"{name} in {record.case}, seed {record.seed}" for name in over]
    return {"runs": runs, "false_alarms": alarms, "points": names}


def told(dtype: str, content: GatesFile) -> list[str]:
    """What was found, for a person."""
    held = content.measured["held_out"]
    lines = [
        f"{dtype}: {content.measured['runs']} runs; held out, {held['false_alarms']} false alarms "
        f"in {held['runs']} runs",
        *(f"  false alarm: {name}" for name in held["points"]),
    ]
    for name, margin in sorted(content.faults.items(), key=lambda item: item[1].times):
        short = "NOT CAUGHT" if name in missed(dtype, content) else "hidden"
        seen = "caught" if margin.seen else f"{short}: {margin.why}"
        lines.append(f"  {name:24} {margin.times:10.3g} x gate  {seen}")
    return lines


def missed(dtype: str, content: GatesFile) -> list[str]:
    """Faults within the gates that nothing is known to hide."""
    known = _known(dtype)
    return [name for name, margin in content.faults.items()
            if not margin.seen and not known[name].hidden]  # fmt: skip


def _known(dtype: str) -> dict[str, Planted]:
    """What fitting has to know of every fault."""
    from parity.faults import catalogue

    return {
        name: Planted(fault.point, fault.hidden.get(dtype, ""))
        for name, fault in catalogue().items()
    }


def _check_faithful(records: Sequence[Record]) -> None:
    """Refuse to make gates of a port that is wrong.

    Raises:
        ParityError: it is, in a way that no gate measures.
    """
    for record in records:
        if record.wrong:
            raise ParityError(
                f"{record.case}, {record.dtype}, seed {record.seed}: {record.wrong[0]}. Gates are "
                "measured on a port that is right: mend it first"
            )


@contextmanager
def _progress(plan: Plan) -> Any:
    """Shows how much is done: a bar on a terminal, else a line now and then."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    columns = (TextColumn("measuring"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
               TextColumn("elapsed,"), TimeRemainingColumn(), TextColumn("left"))  # fmt: skip
    bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal,
                   speed_estimate_period=1200)  # fmt: skip
    said = time.monotonic()
    with bar:
        task = bar.add_task("", total=total(plan), completed=done(plan))

        def every_second() -> None:
            nonlocal said
            now = done(plan)
            bar.update(task, completed=now)
            if not console.is_terminal and time.monotonic() - said >= SAY_SECONDS:
                said = time.monotonic()
                console.print(f"measured {now} of {total(plan)}", highlight=False)

        yield every_second
