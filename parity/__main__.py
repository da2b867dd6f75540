"""Command line: ``python -m parity``."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from parity.calibrate import calibrate
from parity.compare_runs import diff
from parity.core.numerics import PRECISIONS
from parity.device.probe import device as device_command
from parity.gates_list import list_gates
from parity.generation import generation
from parity.history.commands import app as history_app
from parity.history.place import NOWHERE, History, NoHistory
from parity.history.trend import trend
from parity.kernel_ledger import kernels
from parity.msprobe.command import import_msprobe
from parity.nightly.command import app as nightly_app
from parity.numerics_check import numerics_check
from parity.options import (
    COULD_NOT_RUN,
    Bundles,
    Cases,
    CasesFile,
    Checkpoint,
    GatesFolder,
    Overrides,
    PortableBundle,
    end_in_one_line,
)
from parity.portable.command import bundle as make_bundle
from parity.predicted_gates import predict_gates
from parity.prune_command import prune
from parity.repro.command import repro
from parity.schema_command import schema
from parity.selftest.command import selftest
from parity.session import Session
from parity.settings import CANDIDATES, REFERENCES, Settings, default_bundles

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help=(
        "Proves a MindSpore port of Qwen2-VL against the Hugging Face PyTorch reference, layer by "
        "layer.\n\nStart with `python -m parity run`. To see the harness find a bug, plant one: "
        "`python -m parity faults` lists them, `python -m parity run --plant NAME` plants it.\n\n"
        "Exit status: **0** parity, **1** parity broken, **2** the run could not be made, or "
        "it failed a proof of itself."
    ),
)

DEFAULTS = Settings()
Dtypes = Annotated[
    list[str] | None,
    typer.Option(
        "--dtype",
        help=f"Dtype to run, of {', '.join(PRECISIONS)}; repeat for several.",
        show_default="fp32",
        metavar="NAME",
    ),
]
Reference = Annotated[
    str,
    typer.Option(
        help=f"{', '.join(REFERENCES)}, or your own as package.module:class.", metavar="NAME"
    ),
]
Candidate = Annotated[
    str,
    typer.Option(
        help=f"{', '.join(CANDIDATES)}, or your own as package.module:class.", metavar="NAME"
    ),
]
Level = Annotated[
    str,
    typer.Option(
        help="block (blocks and their surroundings) or module (inside them too).", metavar="NAME"
    ),
]
Device = Annotated[
    str, typer.Option(help="Device of the candidate, such as CPU or Ascend:0.", metavar="NAME")
]
Hf32 = Annotated[
    list[str] | None,
    typer.Option(
        "--hf32",
        help="Let Ascend compute matmul or conv in HF32, 11 bits for float32's 24; repeat for "
        "both. CANN's own default is conv.",
        show_default="neither",
        metavar="NAME",
    ),
]
Modes = Annotated[
    list[str] | None,
    typer.Option(
        "--mode",
        help="How the candidate executes: pynative, or graph, which compiles its blocks: they and "
        "what is outside them are compared, nothing inside them is. Repeat for both in one report.",
        show_default="pynative",
        metavar="NAME",
    ),
]
Plant = Annotated[
    str | None,
    typer.Option(help="Plant a fault (see `faults`), to see the harness find it.", metavar="FAULT"),
]


Numerics = Annotated[
    str | None,
    typer.Option(
        help="Let the port on CPU compute as a device does (see `numerics`), to see what a run on "
        "it would say.",
        metavar="MODEL",
    ),
]
Without = Annotated[
    list[str] | None,
    typer.Option(
        help="Leave these modules out, as if not ported yet: the reference's values stand in for "
        "them (* and ? match); repeat for several.",
        metavar="PATTERN",
    ),
]


def settings(
    case: list[str] | None, dtype: list[str] | None, bundles: Path | None, **rest: Any
) -> Settings:
    """The options of a command as settings."""
    return replace(
        DEFAULTS,
        cases=tuple(case or ()),
        dtypes=tuple(dtype or DEFAULTS.dtypes),
        bundles=bundles or default_bundles(),
        **rest,
    )


@app.command()
def run(
    case: Cases = None,
    dtype: Dtypes = None,
    point: Annotated[
        list[str] | None,
        typer.Option(
            help="Show only these points (* and ? match); repeat for several.", metavar="PATTERN"
        ),
    ] = None,
    level: Level = DEFAULTS.level,
    mode: Modes = None,
    device: Device = DEFAULTS.device,
    hf32: Hf32 = None,
    candidate: Candidate = DEFAULTS.candidate,
    reference: Reference = DEFAULTS.reference,
    checkpoint: Checkpoint = DEFAULTS.checkpoint,
    cases_file: CasesFile = DEFAULTS.cases_file,
    bundles: Bundles = None,
    bundle: PortableBundle = None,
    report: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the report.",
            show_default="a new one in reports/runs, to which reports/latest leads",
            metavar="FOLDER",
        ),
    ] = None,
    plant: Plant = None,
    numerics: Numerics = None,
    without: Without = None,
    gates: GatesFolder = DEFAULTS.gates,
    overrides: Overrides = None,
    history: History = None,
    no_history: NoHistory = False,
    timeout: Annotated[
        float,
        typer.Option(
            help="Stop a case that takes longer, report the point it hung at, and go on with the "
            "next; 0: never.",
            min=0,
            metavar="SECONDS",
        ),
    ] = 1800.0,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Go on with the newest interrupted run of the same settings, code and references.",
        ),
    ] = False,
) -> None:
    """Compare candidate and reference on every case, and write the report.

    The candidate runs in processes of its own, one for each dtype and mode. One that hangs, exits,
    crashes or runs out of memory is reported at the point it had reached, and the other cases run.
    Each finished case is kept on disk until the report is written: after Ctrl-C, or whatever else
    ended a run, the same command with `--resume` goes on from there.
    """
    from parity.history.recording import remember
    from parity.job import run_job
    from parity.report.terminal import verdict_line

    chosen = settings(
        case, dtype, bundles, modes=tuple(mode or DEFAULTS.modes), level=level, device=device,
        candidate=candidate, reference=reference, checkpoint=checkpoint, cases_file=cases_file,
        plant=plant, gates=gates, overrides=overrides, without=tuple(without or ()),
        hf32=tuple(hf32 or ()), numerics=numerics, bundle=bundle,
    )  # fmt: skip
    if bundle is not None:
        from parity.portable.open import on_bundle

        chosen = on_bundle(chosen, tuple(dtype) if dtype else None)
    result, path = run_job(chosen, point or [], report, resume=resume, limit=timeout or None)
    say = partial(typer.echo, err=True)  # the verdict stays the last line of the output
    remember(result, NOWHERE if no_history else history, chosen.without, say)
    typer.echo(verdict_line(result, path))
    raise typer.Exit(COULD_NOT_RUN if result.invalid else 0 if result.passed else 1)


@app.command()
def capture(
    case: Cases = None,
    dtype: Dtypes = None,
    reference: Reference = DEFAULTS.reference,
    checkpoint: Checkpoint = DEFAULTS.checkpoint,
    cases_file: CasesFile = DEFAULTS.cases_file,
    bundles: Bundles = None,
) -> None:
    """Run the reference and keep what it computes; `run` calls this when something is missing."""
    from parity.job import capture_job

    chosen = settings(
        case, dtype, bundles, reference=reference, checkpoint=checkpoint, cases_file=cases_file
    )
    capture_job(chosen)


@app.command()
def cases(cases_file: CasesFile = DEFAULTS.cases_file) -> None:
    """List the cases."""
    from parity.core.cases import load_cases

    for case in load_cases(cases_file).values():
        typer.echo(f"{case.name:20} {case.about}")


@app.command()
def points(
    case: Annotated[
        str, typer.Option(help="Case whose points to list.", metavar="NAME")
    ] = "decoding",
    level: Level = DEFAULTS.level,
    checkpoint: Checkpoint = DEFAULTS.checkpoint,
    cases_file: CasesFile = DEFAULTS.cases_file,
) -> None:
    """List the points of a case in execution order: name, kind, stage."""
    session = Session(settings([case], None, None, level=level, checkpoint=checkpoint,
                               cases_file=cases_file))  # fmt: skip
    for firing in session.schedule(session.cases[0]):
        step = f" step {firing.step}" if firing.step else ""
        typer.echo(f"{firing.point.name:50} {firing.point.kind.value:9} {firing.stage}{step}")


@app.command()
def faults() -> None:
    """List the faults that `--plant` knows: where they enter, and what shows and hides them."""
    from parity.faults import catalogue
    from parity.faults.listing import lines

    for fault in catalogue().values():
        typer.echo("\n".join(lines(fault)))


@app.command()
def numerics() -> None:
    """List the numerics models that `--numerics` knows: what of a device each imitates, and where.

    A model takes the place of operations of the port on CPU. Nothing was measured on a device.
    """
    from parity.numerics_models import catalogue

    for model in catalogue().values():
        typer.echo(f"{model.name:18} {model.about}")
        typer.echo(f"{'':18} changes {', '.join(model.dtypes)}; from: {model.source}")


app.command()(generation)
app.command()(kernels)
app.command(name="device")(device_command)
app.command()(calibrate)
app.command(name="gates")(list_gates)
app.command()(predict_gates)
app.command()(numerics_check)
app.command()(selftest)
app.command(name="bundle")(make_bundle)
app.command()(repro)
app.command()(diff)
app.command()(prune)
app.command()(trend)
app.command()(schema)
app.command(name="import-msprobe")(import_msprobe)
app.add_typer(history_app, name="history")
app.add_typer(nightly_app, name="nightly")


def main() -> None:
    """Entry point: errors a user can act on become one line and exit status 2."""
    end_in_one_line(app)


if __name__ == "__main__":
    main()
