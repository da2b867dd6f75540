"""``python -m parity.reliability corrupt``: damaged files, and whether any is believed."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from parity.reliability.damage import Damages, Outcome, damage
from parity.reliability.showing import bar, markdown

HEAD = ("file", "bytes", "damaged", *(one.value for one in Outcome))


def corrupt(
    count: Annotated[int, typer.Option(help="Damages of each file.", min=1)] = 500,
    seed: Annotated[int, typer.Option(help="Of the places; the same one damages the same.")] = 0,
) -> None:
    """Damage real files at random places, and see that none is believed.

    A captured bundle, the rows of a failing run, a history of two runs and a gates file are made in
    a temporary folder. Then, again and again, one bit of a file is flipped (or, one time in ten, it
    is cut off) and read by the code that every command reads it with. It has to be refused with an
    error that names it, or to say exactly what it said before.
    """
    from parity.reliability.material import make

    with tempfile.TemporaryDirectory(prefix="parity-corrupt-") as name:
        files = make(Path(name))
        with bar("damaging", count * len(files)) as tell:
            found = [damage(kept, count, seed, tell) for kept in files]
        typer.echo(markdown(HEAD, [_row(one) for one in found]))
    findings = [text for one in found for text in one.findings]
    for text in findings:
        typer.echo(text, err=True)
    raise typer.Exit(1 if findings else 0)


def _row(found: Damages) -> Sequence[object]:
    """A file's line in the table."""
    size = found.kept.path.stat().st_size
    return found.kept.name, size, found.outcomes.total(), *(found.outcomes[one] for one in Outcome)
