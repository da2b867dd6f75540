"""The commands ``python -m parity history list | import | prune``."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from parity.core.errors import ParityError
from parity.history.place import History, history_url

if TYPE_CHECKING:
    from parity.history.database import History as Database

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help=(
        "The history of runs: what is in it, adding older runs, and letting go.\n\n"
        "`python -m parity run` adds every run by itself; `python -m parity trend` shows what "
        "changed over time, and `trend --gate` fails a nightly job on what is new."
    ),
)


def opened(given: str | None) -> Database:
    """The history that a command is about.

    Raises:
        ParityError: none is to be kept, or SQLAlchemy is not installed.
    """
    url = history_url(given)
    if url is None:
        raise ParityError("no history is kept (PARITY_HISTORY=none): name one with --history.")
    try:
        from parity.history.database import History as Database
    except ImportError as error:
        raise ParityError(f"the history needs a package that is not here: {error}") from error
    return Database(url)


@app.command(name="list")
def list_runs(
    history: History = None,
    count: Annotated[
        int, typer.Option("--last", help="Show so many of the newest runs.", min=1)
    ] = 20,
) -> None:
    """List the newest runs: when, which commit, what came out, how many rows, in which environment.

    An environment is what a ratio may depend on besides the code: SoC, CANN, MindSpore, driver,
    device, machine, candidate and checkpoint. Only runs of one environment are compared.
    """
    runs = opened(history).runs()
    for one in runs[-count:]:
        outcome = "passed" if one.passed else "FAILED"
        typer.echo(
            f"{one.digest[:12]}  {one.when:%Y-%m-%d %H:%M}  {one.commit[:12]:12}  {outcome}  "
            f"{one.entries:6,} rows  {one.environment.label}"
        )
    typer.echo(f"{min(count, len(runs)):,} of {len(runs):,} runs, the newest last")


@app.command(name="import")
def import_runs(
    folders: Annotated[
        list[Path],
        typer.Argument(
            help="Folders that hold rows.json files, at any depth, or such files.",
            metavar="FOLDER...",
        ),
    ],
    history: History = None,
) -> None:
    """Add the runs of older reports, by their `rows.json`.

    A run that is there already is passed over, so that importing twice changes nothing. A file
    that cannot be read is named and the others are imported; the exit status is then 2.

    `python -m parity history import reports/runs` adds what the reports folder still holds.
    """
    from parity.history.importing import import_all

    if not import_all(opened(history), folders, typer.echo):
        raise typer.Exit(2)


@app.command(name="prune")
def prune_runs(
    keep_days: Annotated[
        float | None, typer.Option(help="Keep the runs of so many days.", min=0, metavar="DAYS")
    ] = None,
    keep_runs: Annotated[
        int | None,
        typer.Option(
            help="Keep so many of the newest runs of every environment.", min=1, metavar="NUMBER"
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would go, and remove nothing.")
    ] = False,
    history: History = None,
) -> None:
    """Remove old runs. With both options a run stays if either of them keeps it.

    For a nightly job, `python -m parity history prune --keep-days 400` after the run.
    """
    from parity.history.retention import surplus

    if keep_days is None and keep_runs is None:
        raise ParityError("say what to keep: --keep-days DAYS, --keep-runs NUMBER, or both.")
    database = opened(history)
    runs = database.runs()
    gone = surplus(runs, datetime.now(timezone.utc), keep_days, keep_runs)
    if not dry_run and gone:
        database.remove([one.id for one in gone])
    word = "would go" if dry_run else "removed"
    for one in gone:
        typer.echo(f"{one.digest[:12]}  {one.when:%Y-%m-%d %H:%M}  {one.entries:6,} rows  {word}")
    typer.echo(f"{len(gone):,} of {len(runs):,} runs {word}")
