"""``python -m parity.reliability places``: bad places, times and neighbours."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from parity.reliability.crowd import crowd
from parity.reliability.showing import bar, markdown
from parity.reliability.trials import (
    Trial,
    clock_back,
    full_disk,
    other_versions,
    read_only,
)

HEAD = ("place", "trials", "refused by name", "ended well", "wrong")
Kind = Callable[[Path], Iterable[Trial]]


def places(
    steps: Annotated[
        int, typer.Option(help="Sizes of the free room, from none to enough.", min=2)
    ] = 50,
    with_crowd: Annotated[
        bool,
        typer.Option(
            "--crowd/--no-crowd",
            help="Also let runs and pytest's workers share one empty cache (minutes; PyTorch).",
        ),
    ] = True,
) -> None:
    """Write and read where the disk is full, read-only, from the future, shared, or of another age.

    What cannot be written is refused with an error that names the place; nothing half-written may
    have the name of something whole, and all that was there before has to be there after. As root
    on Linux a small file system is mounted for it; elsewhere the size of files is limited instead,
    and no read-only place is tried.
    """
    kinds: dict[str, Kind] = {
        "disk full": partial(full_disk, steps=steps),
        "read-only file system": read_only,
        "clock set back by ten years": clock_back,
        "written by another version": other_versions,
    }
    if with_crowd:
        kinds["two runs, then 4 pytest workers, at once on an empty cache"] = crowd
    found: dict[str, list[Trial]] = {}
    temporary = tempfile.TemporaryDirectory(prefix="parity-places-")
    with temporary as name, bar("trying", len(kinds)) as tell:
        for number, (kind, tried) in enumerate(kinds.items()):
            found[kind] = list(tried(Path(name) / str(number)))
            tell(kind)
    typer.echo(markdown(HEAD, [_row(kind, trials) for kind, trials in found.items()]))
    every = [(kind, one.wrong) for kind, trials in found.items() for one in trials]
    wrong = [f"{kind}: {text}" for kind, text in every if text]
    for text in wrong:
        typer.echo(text, err=True)
    raise typer.Exit(1 if wrong else 0)


def _row(kind: str, trials: Sequence[Trial]) -> Sequence[object]:
    """A place's line in the table."""
    wrong = sum(bool(one.wrong) for one in trials)
    refused = sum(one.refused and not one.wrong for one in trials)
    return kind, len(trials), refused, len(trials) - wrong - refused, wrong
