"""What several commands take on their command line, and how they end."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from parity.core.errors import ParityError

COULD_NOT_RUN = 2

Cases = Annotated[
    list[str] | None,
    typer.Option("--case", help="Case to run; repeat for several. Default: all.", metavar="NAME"),
]
CasesFile = Annotated[
    Path,
    typer.Option(
        help="The file that defines the cases.", metavar="FILE", show_default="fixtures/cases.toml"
    ),
]
Checkpoint = Annotated[
    Path,
    typer.Option(
        help="Hugging Face checkpoint folder of both sides.",
        metavar="FOLDER",
        show_default="fixtures/qwen2vl-tiny",
    ),
]
Bundles = Annotated[
    Path | None,
    typer.Option(
        help="Where captured references are kept.",
        show_default="the user's cache",
        metavar="FOLDER",
    ),
]
PortableBundle = Annotated[
    Path | None,
    typer.Option(
        "--bundle",
        help="Portable bundle (folder or tar file, made by `bundle`) to run on: PyTorch is not "
        "needed, and every case and dtype in it is run unless some are named.",
        metavar="PATH",
        show_default="none",
    ),
]
GatesFolder = Annotated[
    Path,
    typer.Option(
        "--gates",
        help="Folder of the gates files (DEVICE-DTYPE.toml).",
        metavar="FOLDER",
        show_default="parity/gates",
    ),
]
Overrides = Annotated[
    Path | None,
    typer.Option(
        help="File of overrides: other gates for single points, each with a written reason.",
        metavar="FILE",
        show_default="none",
    ),
]


def end_in_one_line(app: Callable[[], object]) -> None:
    """Run a command line; an error a user can act on becomes one line and exit status 2."""
    try:
        app()
    except ParityError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(COULD_NOT_RUN)


def run_alone(command: Callable[..., None]) -> None:
    """Run a file that is one command, such as ``python -m parity.bench.compare``."""
    app = typer.Typer(
        add_completion=False, rich_markup_mode="markdown", pretty_exceptions_enable=False
    )
    app.command()(command)
    end_in_one_line(app)
