"""The command ``python -m parity trend``: a page about the history, and a nightly job's gate."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from parity.core.errors import ParityError
from parity.core.files import temporary_beside
from parity.history.commands import opened
from parity.history.place import History

if TYPE_CHECKING:
    from collections.abc import Sequence

    from parity.history.database import History as Database
    from parity.history.database import RunInfo
    from parity.history.gate import Judgement
    from parity.history.timeline import Shift

PAGE = Path("reports/trend.html")
RUNS = 90
OTHERS = 4
"""Environments besides the first that the page shows."""


def trend(
    history: History = None,
    run: Annotated[
        str | None,
        typer.Option(
            "--run",
            help="Judge up to this run: latest, an id, a report's folder or a rows.json. It has to "
            "be in the history.",
            show_default="the newest in the history",
            metavar="NAME",
        ),
    ] = None,
    gate: Annotated[
        bool,
        typer.Option("--gate", help="Exit with status 1 if anything got worse or began to fail."),
    ] = False,
    runs: Annotated[
        int, typer.Option(help="Look at so many of the newest runs of each environment.", min=2)
    ] = RUNS,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The page.", metavar="FILE")
    ] = PAGE,
) -> None:
    """Show how ratios changed over the runs in the history, and what of it is new.

    Runs of one environment (SoC, CANN, MindSpore, driver, device, machine, candidate, checkpoint)
    are compared with each other. A ratio's level changes where two or more runs in a row differ
    from those before by more than noise; anything of 1.5 times or more, and any point that began
    to fail, is new for three runs.

    A nightly job runs `python -m parity run`, then `python -m parity trend --gate --run latest`.

    Exit status: **0** steady (or without `--gate`), **1** worse, **2** could not run.
    """
    from parity.history.gate import lines_of

    database = opened(history)
    judged, shifts = judgements(database, run, runs)
    write(output, judged, shifts)
    for line in lines_of(judged[0]):
        typer.echo(line)
    typer.echo(f"page: {output}")
    raise typer.Exit(1 if gate and not judged[0].passed else 0)


def judgements(
    database: Database, name: str | None, count: int
) -> tuple[list[Judgement], list[tuple[str, tuple[Shift, ...]]]]:
    """Every environment up to a run, that run's own first, with what differs from the one before.

    Raises:
        ParityError: the history is empty, or the run is not in it.
    """
    from parity.history.gate import judge
    from parity.history.measured import load
    from parity.history.timeline import shifts_between

    groups = grouped(until(database.runs(), name))
    measured = [load(database, one[-count:]) for one in groups[: OTHERS + 1]]
    shifts: list[tuple[str, tuple[Shift, ...]]] = []
    for place, one in enumerate(measured):
        before = measured[place + 1] if place + 1 < len(measured) else None
        if before is None:
            shifts.append(("", ()))
            continue
        differences = before.runs[-1].environment.differences(one.runs[-1].environment)
        shifts.append(("; ".join(differences), shifts_between(before, one)))
    return [judge(one) for one in measured], shifts


def until(runs: Sequence[RunInfo], name: str | None) -> Sequence[RunInfo]:
    """The runs up to the one called ``name``, or all of them.

    Raises:
        ParityError: there are none, or that run is not among them.
    """
    if not runs:
        raise ParityError("the history is empty: `python -m parity run` adds a run to it.")
    if name is None:
        return runs
    from parity.history.record import record_of
    from parity.report.rows_io import read_json
    from parity.runs import find_run

    file = find_run(name)
    digest = record_of(read_json(file), str(file)).digest
    for place, one in enumerate(runs):
        if one.digest == digest:
            return runs[: place + 1]
    raise ParityError(
        f"{file} is not in the history, so there is nothing to judge: see why the run could not be "
        f"recorded, or add it with `python -m parity history import {file}`."
    )


def grouped(runs: Sequence[RunInfo]) -> list[list[RunInfo]]:
    """The runs by environment; the environment of the newest run first, and so on."""
    groups: dict[object, list[RunInfo]] = {}
    for one in reversed(runs):
        groups.setdefault(one.environment, []).insert(0, one)
    return list(groups.values())


def write(
    output: Path, judged: Sequence[Judgement], shifts: Sequence[tuple[str, tuple[Shift, ...]]]
) -> None:
    """Write the page.

    Raises:
        ParityError: it cannot be written.
    """
    from parity.history.page import render

    text = render(judged, shifts)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ParityError(f"cannot write {output}: {error.strerror}") from error
    with temporary_beside(output) as temporary:
        temporary.write_bytes(text.encode("utf-8", "backslashreplace"))
