"""The command ``python -m parity bundle``."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from parity.core.errors import ParityError
from parity.core.numerics import PRECISIONS
from parity.options import Bundles, CasesFile, Checkpoint
from parity.settings import REFERENCES, Settings, default_bundles

if TYPE_CHECKING:
    from parity.core.portable import Manifest
    from parity.session import Session

ALL = "all"
UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


def bundle(
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder to make.", metavar="FOLDER")
    ],
    cases: Annotated[
        list[str] | None,
        typer.Option(
            "--cases",
            "--case",
            help="Cases to put in, separated by commas; `all` for all.",
            show_default=ALL,
            metavar="NAMES",
        ),
    ] = None,
    dtypes: Annotated[
        list[str] | None,
        typer.Option(
            "--dtypes",
            "--dtype",
            help=f"Dtypes to put in, of {', '.join(PRECISIONS)}, separated by commas.",
            show_default="fp32",
            metavar="NAMES",
        ),
    ] = None,
    tar: Annotated[
        bool, typer.Option("--tar", help="Write FOLDER.tar beside the folder, too.")
    ] = False,
    with_checkpoint: Annotated[
        bool,
        typer.Option(
            "--with-checkpoint",
            help="Put the model's own files in, so that nothing else has to travel.",
        ),
    ] = False,
    max_size: Annotated[
        str | None,
        typer.Option(
            help="Largest size, such as 500MB or 2GB (powers of 1000). What would exceed it is "
            "reduced: of tensors with many rows, truths are kept of some rows only.",
            metavar="SIZE",
            show_default="none",
        ),
    ] = None,
    reference: Annotated[
        str,
        typer.Option(
            help=f"{', '.join(REFERENCES)}, or your own as package.module:class.", metavar="NAME"
        ),
    ] = Settings.reference,
    checkpoint: Checkpoint = Settings.checkpoint,
    cases_file: CasesFile = Settings.cases_file,
    bundles: Bundles = None,
) -> None:
    """Make a portable bundle: all that a machine without PyTorch needs to compare.

    It holds the cases with their pictures, the tokens, the reference's values and every module's
    inputs, the float64 truths, and the hash of every file. Take it to the other machine, and
    `python -m parity run --bundle FOLDER` there. What is missing is captured first.
    """
    from parity.portable.make import check_place
    from parity.session import Session

    chosen = replace(
        Settings(), cases=_names(cases), dtypes=_names(dtypes) or Settings.dtypes,
        reference=reference, checkpoint=checkpoint, cases_file=cases_file,
        bundles=bundles or default_bundles(),
    )  # fmt: skip
    session = Session(chosen)
    session.validate(judging=False)
    check_place(output)
    limit = None if max_size is None else bytes_of(max_size)
    _make(session, output, tar, with_checkpoint, limit)


def bytes_of(text: str) -> int:
    """A size as bytes: ``2GB``, ``1.5 MB``, ``900``.

    Raises:
        ParityError: it is none.
    """
    found = re.fullmatch(r"(\d{1,12}(?:\.\d{1,9})?) ?(kB|KB|MB|GB|TB|B|)", text.strip())
    if found is None:
        raise ParityError(f"{text!r} is no size; write it as 500MB or 2GB")
    return int(float(found[1]) * UNITS[found[2].upper()])


def _make(session: Session, output: Path, tar: bool, carry: bool, max_size: int | None) -> None:
    """Capture what is missing, write the bundle under a progress bar, and say what it weighs."""
    from rich.console import Console
    from rich.progress import Progress

    from parity.core.archive import write_tar
    from parity.portable.make import Order, make

    pairs = [(case, dtype) for dtype in session.settings.dtypes for case in session.cases]
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("capturing the reference", total=None)
        session.references.capture(pairs)
        progress.update(task, description="writing", total=len(pairs))
        order = Order(session.settings, session.references, session.cases, carry, max_size)
        manifest, parts = make(order, output, lambda record: progress.advance(task))
        if tar:
            progress.update(task, description="writing the tar file", total=None)
            write_tar(output, manifest, tar_of(output))
    typer.echo("\n".join(lines(manifest, parts, output, tar_of(output) if tar else None)))


def tar_of(folder: Path) -> Path:
    """The tar file beside a bundle's folder."""
    return folder.with_name(f"{folder.name}.tar")


def lines(manifest: Manifest, parts: Counter[str], folder: Path, tar: Path | None) -> list[str]:
    """What was made, for the terminal: its parts by size, and how to go on."""
    target = tar or folder
    return [
        *(f"{size(count):>10}  {part}" for part, count in parts.most_common() if count),
        f"{size(manifest.size):>10}  in all: {len(manifest.cases)} cases in "
        f"{', '.join(manifest.dtypes)}",
        *_sampled(manifest),
        *_places(manifest, folder, tar),
        f"Take it to the other machine, and run it there: python -m parity run --bundle {target}",
    ]


def _sampled(manifest: Manifest) -> list[str]:
    """What was left out to keep to a size."""
    rows = manifest.exactness.get("rows")
    if rows is None:
        return []
    return [
        f"Of tensors with more than {rows} rows, truths are kept of {rows} at most: half evenly "
        "spread, half where the reference is worst. The other rows will not be compared."
    ]


def _places(manifest: Manifest, folder: Path, tar: Path | None) -> list[str]:
    """Where it is, and what has to travel beside it."""
    found = [f"{folder} ({manifest.sha256[:16]})", *([str(tar)] if tar else [])]
    if not manifest.carries_checkpoint:
        found.append(
            f"The checkpoint {manifest.checkpoint_name} is not in it (--with-checkpoint puts it "
            "in): name its folder there with --checkpoint"
        )
    return found


def size(count: int) -> str:
    """Bytes for a person, in powers of 1000."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= scale:
            return f"{count / scale:.3g} {unit}"
    return f"{count} B"


def _names(given: Sequence[str] | None) -> tuple[str, ...]:
    """The names in options that may hold several; none if all are meant."""
    names = [name.strip() for text in given or () for name in text.split(",")]
    return () if ALL in names else tuple(dict.fromkeys(filter(None, names)))
