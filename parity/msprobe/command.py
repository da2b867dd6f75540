"""The command ``python -m parity import-msprobe``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from parity.core.numerics import PRECISIONS
from parity.options import Bundles, CasesFile, Checkpoint, GatesFolder, Overrides, PortableBundle
from parity.settings import Settings, default_bundles


def import_msprobe(
    folder: Annotated[
        Path,
        typer.Argument(
            help="The candidate's dump: msprobe's dump_path, or a folder in it.", metavar="DIR"
        ),
    ],
    case: Annotated[
        str | None,
        typer.Option(
            help="The case that the dumped model ran on; needed unless there is a `--reference`.",
            metavar="NAME",
            show_default="none",
        ),
    ] = None,
    dtype: Annotated[
        str | None,
        typer.Option(
            help=f"What it ran in, of {', '.join(PRECISIONS)}.",
            metavar="NAME",
            show_default="what most of the dump is in",
        ),
    ] = None,
    reference: Annotated[
        Path | None,
        typer.Option(
            help="Another dump (of PyTorch, say) to judge against, in place of the harness's own "
            "record; then `--case` only names the rows.",
            metavar="DIR",
            show_default="the harness's own record of the case",
        ),
    ] = None,
    names: Annotated[
        Path | None,
        typer.Option(
            help="TOML file whose table [names] maps beginnings of the dump's module paths to "
            'canonical ones, such as `"vit.layers" = "visual.blocks"`.',
            metavar="FILE",
            show_default="by rule",
        ),
    ] = None,
    point: Annotated[
        list[str] | None,
        typer.Option(
            help="Judge only these points (* and ? match), where the dump holds only a part of "
            "the model; repeat for several.",
            metavar="PATTERN",
            show_default="all",
        ),
    ] = None,
    step: Annotated[
        int | None,
        typer.Option(help="Which step, if several.", metavar="NUMBER", show_default="the only one"),
    ] = None,
    rank: Annotated[
        int | None,
        typer.Option(help="Which rank, if several.", metavar="NUMBER", show_default="the only one"),
    ] = None,
    level: Annotated[
        str, typer.Option(help="block or module, as for `run`.", metavar="NAME")
    ] = Settings.level,
    checkpoint: Checkpoint = Settings.checkpoint,
    cases_file: CasesFile = Settings.cases_file,
    bundles: Bundles = None,
    bundle: PortableBundle = None,
    gates: GatesFolder = Settings.gates,
    overrides: Overrides = None,
    report: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the report.",
            show_default="a new one in reports/runs, to which reports/latest leads",
            metavar="FOLDER",
        ),
    ] = None,
) -> None:
    """Judge a dump that msprobe made of a port, without running the port.

    Dump with level L0 and task tensor, forward included, and the whole step into an empty
    folder. Every value is compared with the reference's record of `--case`, end to end; every
    module is also judged on its own dumped inputs, from the checkpoint in float64, so that GUILTY
    is where the bug is and VICTIM what follows from it. What the dump does not have (what the
    processor made, rope deltas) is listed and not compared.

    Modules are known by their paths: wrappers' names before them are dropped, and `--names` maps
    what is called otherwise. Exit status as of `run`.

    `python -m parity import-msprobe dump_path --case single-image --dtype bf16`
    """
    from parity.msprobe.dump import open_dump
    from parity.msprobe.job import Request, import_job
    from parity.msprobe.names import NameMap, read_names
    from parity.report.terminal import verdict_line

    dump = open_dump(folder, step, rank)
    settings = Settings(
        checkpoint=checkpoint, cases_file=cases_file, dtypes=(dtype or dump.dtype,), level=level,
        cases=() if case is None else (case,), bundles=bundles or default_bundles(),
        bundle=bundle, gates=gates, overrides=overrides,
    )  # fmt: skip
    if bundle is not None:
        from parity.portable.open import on_bundle

        settings = on_bundle(settings, settings.dtypes)
    other = None if reference is None else open_dump(reference, step, rank)
    known = NameMap() if names is None else read_names(names)
    request = Request(dump, known, tuple(point or ()), other)
    result, path = import_job(settings, request, report)
    typer.echo(verdict_line(result, path))
    raise typer.Exit(0 if result.passed else 1)
