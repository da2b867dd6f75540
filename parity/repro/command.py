"""The command ``python -m parity repro``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from parity.core.cases import Case
from parity.core.errors import ParityError
from parity.core.numerics import PRECISIONS, precision
from parity.core.points import Point
from parity.options import Bundles, CasesFile, Checkpoint, GatesFolder, PortableBundle
from parity.portable.open import on_bundle
from parity.repro.folder import Subject, check_buildable, check_replaceable, write_folder
from parity.session import Session, padding
from parity.settings import Settings, default_bundles


def repro(
    point: Annotated[
        str, typer.Argument(help="The point that fails (see `points`).", metavar="POINT")
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder to write.", metavar="FOLDER")
    ],
    case: Annotated[
        str | None,
        typer.Option(
            help="The case whose input is taken.", metavar="NAME", show_default="the first with it"
        ),
    ] = None,
    dtype: Annotated[
        str, typer.Option(help=f"One of {', '.join(PRECISIONS)}.", metavar="NAME")
    ] = "fp32",
    firing: Annotated[
        int, typer.Option(help="Which firing: 0 is the first, of the prompt.", metavar="NUMBER")
    ] = 0,
    device: Annotated[
        str, typer.Option(help="Device that the test runs on, such as CPU.", metavar="NAME")
    ] = Settings.device,
    checkpoint: Checkpoint = Settings.checkpoint,
    cases_file: CasesFile = Settings.cases_file,
    bundles: Bundles = None,
    bundle: PortableBundle = None,
    gates: GatesFolder = Settings.gates,
    plant: Annotated[
        str | None,
        typer.Option(help="A fault (see `faults`) that the test plants too.", metavar="FAULT"),
    ] = None,
) -> None:
    """Write a folder that shows the failure of one module without the rest of the model.

    It holds a pytest file, the module's weights and exact input, the reference's output and a
    float64 truth. The test builds that module alone and fails until it is mended; it needs no
    PyTorch. Example:

    `python -m parity repro visual.merger -o /tmp/merger && python -m pytest /tmp/merger`
    """
    settings = replace(
        Settings(), cases=(case,) if case else (), dtypes=(dtype,), device=device, gates=gates,
        checkpoint=checkpoint, cases_file=cases_file, bundles=bundles or default_bundles(),
        plant=plant, bundle=bundle,
    )  # fmt: skip
    settings = settings if bundle is None else on_bundle(settings, (dtype,))
    write_folder(subject(Session(settings), point, firing, output), output)
    typer.echo(f"written; now: python -m pytest {output / 'test_repro.py'}")


def subject(session: Session, name: str, index: int, folder: Path) -> Subject:
    """What the folder is about; the reference is captured first if it has to be.

    Raises:
        ParityError: there is no such point or firing, it cannot be built by itself, or the folder
            holds something else.
    """
    check_replaceable(folder)
    session.validate()
    point = next((one for one in session.declared if one.name == name), None)
    if point is None:
        raise ParityError(f"no point is named {name!r}; `python -m parity points` lists them")
    check_buildable(point)
    case = _case_with(session, point, index)
    (dtype,) = session.settings.dtypes
    bundle = session.references.open(case, dtype)
    return Subject(
        point=point,
        index=index,
        case=case,
        precision=precision(dtype),
        bundle=bundle,
        gates=session.gates_for(dtype, case.name),
        checkpoint=session.settings.checkpoint,
        device=session.settings.device,
        plant=session.settings.plant,
        keep=padding(bundle),
    )


def _case_with(session: Session, point: Point, index: int) -> Case:
    """The first selected case in which the point fires that often."""
    for case in session.cases:
        if any(f.point.name == point.name and f.index == index for f in session.schedule(case)):
            return case
    names = ", ".join(case.name for case in session.cases)
    raise ParityError(f"{point.name} has no firing {index} in any of the cases {names}")
