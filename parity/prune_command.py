"""``python -m parity prune``: removing what no run needs any more."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from parity.core.stale import Stale, remove, size_of
from parity.options import Bundles, CasesFile, Checkpoint
from parity.portable.unpacked import default_place, unused
from parity.prune import DAYS, stale_bundles
from parity.runs import KEPT, LATEST, REPORTS, let_go, surplus
from parity.settings import Settings, default_bundles
from parity.workers import in_progress

DEFAULTS = Settings()


def prune(
    days: Annotated[
        float, typer.Option(help="Keep bundles that were used in this many days.", min=0)
    ] = DAYS,
    runs: Annotated[
        int, typer.Option(help="Keep this many of the newest finished runs.", min=1)
    ] = KEPT,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would go, and remove nothing.")
    ] = False,
    checkpoint: Checkpoint = DEFAULTS.checkpoint,
    cases_file: CasesFile = DEFAULTS.cases_file,
    bundles: Bundles = None,
    reports: Annotated[
        Path, typer.Option(help="The folder that holds runs/.", metavar="FOLDER")
    ] = REPORTS,
) -> None:
    """Remove captured references that no run would use any more, old reports, interrupted runs.

    A bundle goes if the checkpoint, the cases, the sources and the versions of today give it
    another name, and if it was not used for some days; bundles never go by themselves, but for
    what a portable bundle's tar file held, which is unpacked again when it is needed. Of the
    finished runs in reports/runs the newest stay; a run that holds a file of yours stays too. Of
    the interrupted ones, with which `run --resume` goes on, the three newest stay for that many
    days.
    """
    chosen = Settings(
        checkpoint=checkpoint, cases_file=cases_file, bundles=bundles or default_bundles()
    )
    gone = [*_prune_bundles(chosen, days, dry_run), *_prune_runs(reports, runs, dry_run),
            *_prune_interrupted(reports, days, dry_run)]  # fmt: skip
    typer.echo(f"{sum(gone) / 1e6:.1f} MB {'would go' if dry_run else 'removed'}")


def _prune_bundles(settings: Settings, days: float, dry_run: bool) -> Iterator[int]:
    """Remove stale bundles, and unpacked portable ones; yield the bytes of each that went."""
    portable: list[Stale] = list(unused(default_place(), days))
    for stale in (*stale_bundles(settings, days), *portable):
        gone = dry_run or remove(stale, days)
        _tell(stale.size, f"{stale.days:5.1f} days  {stale.folder.name}", gone, dry_run, "in use")
        yield stale.size if gone else 0


def _prune_runs(reports: Path, keep: int, dry_run: bool) -> Iterator[int]:
    """Remove the oldest runs; yield the bytes of each that went."""
    for run in surplus(reports, keep):
        size = size_of(run)
        gone = dry_run or let_go(run)
        _tell(size, f"       run  {run.name}", gone, dry_run, "holds a file of yours")
        yield size if gone else 0


def _prune_interrupted(reports: Path, days: float, dry_run: bool) -> Iterator[int]:
    """Remove interrupted runs that are old, or too many; yield the bytes of each that went."""
    for run in in_progress.surplus(reports / LATEST, days=days):
        size = size_of(run)
        gone = dry_run or in_progress.let_go(run)
        _tell(size, f"interrupted  {run.name}", gone, dry_run, "in use, or holds a file of yours")
        yield size if gone else 0


def _tell(size: int, what: str, gone: bool, dry_run: bool, kept: str) -> None:
    """Say what became of one thing; ``kept`` is why it is still there if it is."""
    word = f"kept, {kept}" if not gone else "would go" if dry_run else "removed"
    typer.echo(f"{size / 1e6:8.1f} MB  {what}  {word}")
