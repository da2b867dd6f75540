"""The operator ledger of a run, and the command ``python -m parity kernels`` that shows it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

import typer

from parity.core.errors import ParityError
from parity.core.numerics import PRECISIONS, precision
from parity.core.points import Point
from parity.core.rows import Row
from parity.core.verdict import Evidence
from parity.kernels.arithmetic import observed
from parity.kernels.explain import explained, open_to_explanation
from parity.kernels.ledger import measure
from parity.kernels.table import lines
from parity.kernels.workbench import Workbench
from parity.options import Bundles, CasesFile, Checkpoint, PortableBundle
from parity.portable.open import on_bundle
from parity.session import Session
from parity.settings import CANDIDATES, Settings, default_bundles, load_by_name
from parity.subjects.modules import Weights, read_config


def workbench_of(session: Session, dtype: str, points: Sequence[Point]) -> Workbench | None:
    """What modules are computed again with; ``None`` if the candidate does not offer its kernels.

    Args:
        session: names the candidate, the device and the checkpoint.
        dtype: name of a precision.
        points: at which the forced run hands on the reference's values.

    Raises:
        ParityError: the device is not there, or the checkpoint cannot be read.
    """
    settings = session.settings
    kind = load_by_name(settings.candidate, CANDIDATES, "candidate")
    offer = getattr(kind, "kernels", None)
    if offer is None:
        return None
    config = read_config(settings.checkpoint)
    weights = Weights(settings.checkpoint, precision(dtype), tied=config.tied)
    return Workbench(offer(settings.device), precision(dtype), weights, config, points)


def ledger_of(session: Session) -> list[dict[str, object]]:
    """The ledger of a session: its first case, in each of its dtypes.

    Raises:
        ParityError: as in `workbench_of`, or the reference cannot be captured.
    """
    return [row for dtype in session.settings.dtypes for row in ledger_in(session, dtype)]


def ledger_in(session: Session, dtype: str) -> list[dict[str, object]]:
    """What :func:`ledger_of` has of one dtype; nothing if the candidate offers no kernels."""
    case = session.cases[0]
    bench = workbench_of(session, dtype, session.declared)
    if bench is None:
        return []
    return measure(bench, session.references.open(case, dtype), case.name)


def with_kernels(session: Session, rows: list[Row], evidence: Evidence) -> list[Row]:
    """``rows`` with the kernels that explain the guilty ones; costs nothing if none is.

    Raises:
        ParityError: as in `workbench_of`.
    """
    if not any(map(open_to_explanation, rows)):
        return rows
    bench = workbench_of(session, evidence.precision.name, session.execution(evidence.mode).points)
    return rows if bench is None else explained(rows, evidence, bench)


def with_arithmetic(session: Session, rows: list[Row], evidence: Evidence) -> list[Row]:
    """``rows`` with the arithmetic that was really used, where its errors tell another one.

    Raises:
        ParityError: as in `workbench_of`.
    """
    points = session.execution(evidence.mode).points
    bench = workbench_of(session, evidence.precision.name, points)
    return rows if bench is None else observed(rows, evidence, bench)


def kernels(
    case: Annotated[
        str, typer.Option(help="Case whose operands to measure on.", metavar="NAME")
    ] = "single-image",
    dtype: Annotated[
        list[str] | None,
        typer.Option(
            "--dtype",
            help=f"Dtype to measure, of {', '.join(PRECISIONS)}; repeat for several.",
            show_default="all",
            metavar="NAME",
        ),
    ] = None,
    device: Annotated[
        str, typer.Option(help="Device to measure, such as CPU or Ascend:0.", metavar="NAME")
    ] = Settings.device,
    candidate: Annotated[
        str,
        typer.Option(help=f"{', '.join(CANDIDATES)}, or your own as package.module:class."),
    ] = Settings.candidate,
    checkpoint: Checkpoint = Settings.checkpoint,
    cases_file: CasesFile = Settings.cases_file,
    bundles: Bundles = None,
    bundle: PortableBundle = None,
) -> None:
    """Measure how accurate the device's kernels are, on what they are given in a captured run.

    Every primitive is run on the device as the port runs it, and compared with float64. The ratio
    is its error over that of rounding the result: under 1 it is as good as rounding once, and a
    large one is a coarse kernel. Inside a module the reference's own error counts too, so that a
    ratio here is not a ratio there.

    A kernel is no bug of a port. Where one explains a local ratio over its gate, `run` says so, by
    the name it has here; to accept that, write an override.
    """
    chosen = replace(
        Settings(), cases=(case,), dtypes=tuple(dtype or PRECISIONS), device=device,
        candidate=candidate, checkpoint=checkpoint, cases_file=cases_file,
        bundles=bundles or default_bundles(), bundle=bundle,
    )  # fmt: skip
    if bundle is not None:
        chosen = on_bundle(chosen, tuple(dtype) if dtype else None)
    session = Session(chosen, say=lambda line: typer.echo(line, err=True))
    session.validate(judging=False)
    session.references.capture([(session.cases[0], name) for name in chosen.dtypes])
    rows = ledger_of(session)
    if not rows:
        raise ParityError(
            f"the candidate {candidate!r} does not offer its device's kernels: give its class a "
            "method `kernels(device)` as MindSporeCandidate has it"
        )
    typer.echo("\n".join(lines(rows)))
