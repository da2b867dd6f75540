"""``python -m parity.reliability fuzz``: readers of outside files against changed ones."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from parity.core.errors import ParityError
from parity.reliability.fuzzing import Fuzzed, Reader, fuzz_reader
from parity.reliability.showing import bar, markdown

HEAD = ("reader", "inputs", "refused", "read", "slowest", "memory grew by", "findings")


def fuzz(
    count: Annotated[int, typer.Option(help="Inputs for each reader.", min=1)] = 1000,
    seed: Annotated[int, typer.Option(help="The same one draws the same inputs.")] = 0,
    reader: Annotated[
        list[str] | None,
        typer.Option(help="Only readers whose name holds this; repeat for several."),
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option(
            help="Where to work, to keep the inputs of findings, and to go on after the reader "
            "that was finished last. Default: a temporary folder.",
            metavar="FOLDER",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Give every reader of files from outside many files that are nearly right.

    Real files are changed by Hypothesis: values replaced by what is seldom expected, keys renamed,
    parts cut out and doubled, names that lead out of the folder, sizes that are not there, bytes
    flipped; hashes are made to fit again. A reader may read a file or raise the documented error. A
    finding is anything else: another exception, 3 s of the processor, half a gigabyte, a file that
    is touched outside of the folder.
    """
    from parity.reliability.readers import readers

    names = reader or [""]
    chosen = [one for one in readers() if any(name in one.name for name in names)]
    if not chosen:
        raise ParityError(f"no reader is named {', '.join(names)}: see the table of all of them")
    with tempfile.TemporaryDirectory(prefix="parity-fuzz-") as name:
        found = _fuzz_all(chosen, count, seed, Path(folder or name))
    total = sum(one.inputs for one in found)
    typer.echo(markdown(HEAD, [_row(one) for one in found]))
    typer.echo(f"\n{total:,} inputs, {sum(len(one.findings) for one in found)} findings")
    for one in found:
        for text in one.findings:
            typer.echo(text, err=True)
    raise typer.Exit(1 if any(one.findings for one in found) else 0)


def _fuzz_all(chosen: Sequence[Reader], count: int, seed: int, folder: Path) -> list[Fuzzed]:
    """Try readers one after another, but for those that are noted in the folder already."""
    notes = folder / "fuzzed.jsonl"
    lines = notes.read_text(encoding="utf-8").splitlines() if notes.exists() else []
    done = {one.name: one for one in (Fuzzed(**json.loads(line)) for line in lines)}
    with bar("fuzzing", count * len(chosen)) as tell:
        for number, reader in enumerate(chosen):
            if reader.name in done:
                continue
            place = folder / f"{number}-{os.getpid()}"
            done[reader.name] = fuzz_reader(reader, count, seed, place, tell)
            with notes.open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(done[reader.name])) + "\n")
    return [done[reader.name] for reader in chosen]


def _row(found: Fuzzed) -> Sequence[object]:
    """A reader's line in the table."""
    return (found.name, found.inputs, found.refused, found.read, f"{found.slowest * 1e3:.0f} ms",
            f"{found.memory / 1e6:.0f} MB", len(found.findings))  # fmt: skip
