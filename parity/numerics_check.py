"""The command ``python -m parity numerics-check``: does the dtype ledger tell what was computed?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated

import typer

from parity.core.cases import Case
from parity.core.numerics import PRECISIONS
from parity.core.rows import Row
from parity.core.verdict import judge
from parity.kernel_ledger import with_arithmetic
from parity.numerics_models import catalogue
from parity.numerics_models.model import NumericsModel
from parity.options import Bundles, Cases
from parity.session import Session
from parity.settings import Settings, default_bundles

FAITHFUL = "the port as it is"
ARITHMETIC = ("conv-hf32", "matmul-hf32", "cast-conv")
"""Planted faults that are another arithmetic, and are to be told as one."""


@dataclass
class Tally:
    """What the ledger said of several runs of one kind."""

    name: str
    dtype: str
    runs: int = 0
    changed: int = 0
    """Points whose arithmetic was another one, over all runs."""
    told: int = 0
    """Those of which the ledger says so, with the right name."""
    wrong: int = 0
    """Rows of which it says anything else."""
    share: float = 1.0
    """The least of what the arithmetic that was told accounts for."""
    wrongly: list[str] = field(default_factory=list)

    def add(self, rows: Sequence[Row], roles: dict[str, str], model: NumericsModel | None) -> None:
        """Count one run, of the port as it is if there is no ``model``."""
        self.runs += 1
        changed = {row.point for row in rows if model and roles.get(row.point) in model.roles}
        told = set()
        for row in rows:
            if row.arithmetic is None:
                continue
            if model and row.point in changed and row.arithmetic.name == model.arithmetic:
                told.add(row.point)
                self.share = min(self.share, row.arithmetic.share)
            else:
                self.wrong += 1
                self.wrongly.append(f"{row.case} {row.point}: {row.arithmetic}")
        self.changed += len(changed)
        self.told += len(told)

    @property
    def line(self) -> str:
        """A line of the table."""
        right = f"{self.told:,} of {self.changed:,}" if self.changed else "-"
        share = f"{100 * self.share:.1f} %" if self.told else "-"
        return f"| {self.name} | {self.dtype} | {self.runs} | {right} | {share} | {self.wrong} |"


HEADINGS = (
    "| what ran | dtype | runs | points told of those it changes | accounts for at least "
    "| told wrongly |"
)


def numerics_check(
    case: Cases = None,
    dtype: Annotated[
        list[str] | None,
        typer.Option(
            "--dtype",
            help=f"Dtype to run, of {', '.join(PRECISIONS)}; repeat for several.",
            show_default="all",
            metavar="NAME",
        ),
    ] = None,
    faults: Annotated[
        bool, typer.Option("--faults", help="Plant every fault too, on the first of its cases.")
    ] = False,
    bundles: Bundles = None,
) -> None:
    """Run every numerics model, and count where the dtype ledger tells it.

    The port as it is has to be told nothing of, and so has a planted fault, unless it is an
    arithmetic itself. Ends with a table; exit status 1 if anything was told wrongly.
    """
    settings = replace(
        Settings(), cases=tuple(case or ()), dtypes=tuple(dtype or PRECISIONS),
        bundles=bundles or default_bundles(),
    )  # fmt: skip
    tallies = []
    for tally in every(settings, faults):
        typer.echo(f"{tally.name} {tally.dtype}: {tally.told} of {tally.changed}", err=True)
        tallies.append(tally)
    typer.echo("\n".join([HEADINGS, "| --- " * 6 + "|", *(one.line for one in tallies)]))
    wrongly = [f"{one.name} {one.dtype}, {line}" for one in tallies for line in one.wrongly]
    for line in wrongly:
        typer.echo(f"told wrongly: {line}", err=True)
    raise typer.Exit(1 if wrongly else 0)


def every(settings: Settings, faults: bool) -> Iterator[Tally]:
    """The port as it is, then each model in its dtypes, then the faults."""
    for dtype in settings.dtypes:
        session = Session(settings)
        session.validate()
        session.references.capture([(case, dtype) for case in session.cases])
        yield _of(session, session.cases, dtype, FAITHFUL, None)
        for model in catalogue().values():
            if model.arithmetic and dtype in model.dtypes:
                imitating = Session(replace(settings, numerics=model.name))
                yield _of(imitating, session.cases, dtype, f"`{model.name}`", model)
        if faults:
            yield _of_faults(session, dtype)


def _of(
    session: Session, cases: Sequence[Case], dtype: str, name: str, model: NumericsModel | None
) -> Tally:
    """Every case under one model."""
    tally, roles = Tally(name, dtype), {point.name: point.role for point in session.points}
    for case in cases:
        tally.add(_told(session, case, dtype, None), roles, model)
    return tally


def _of_faults(session: Session, dtype: str) -> Tally:
    """Every fault that the dtype shows, on the first of its cases that is asked for."""
    from parity.faults import catalogue as planted_ones

    tally = Tally("a planted fault", dtype)
    roles = {point.name: point.role for point in session.points}
    for fault in planted_ones().values():
        case = next((case for case in session.cases if case.name in fault.cases), None)
        if case is not None and dtype in fault.dtypes and fault.name not in ARITHMETIC:
            tally.add(_told(session, case, dtype, fault.name), roles, None)
    return tally


def _told(session: Session, case: Case, dtype: str, fault: str | None) -> list[Row]:
    """The rows of one run, with what the ledger says of them."""
    from parity.faults import planted

    with planted(fault):
        evidence = session.evidence(case, dtype)
    return with_arithmetic(session, judge(session.schedule(case), evidence), evidence)
