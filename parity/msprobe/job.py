"""The job behind ``import-msprobe``: a dump in, a run and its report out."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path

from parity.core.cases import Case
from parity.core.errors import ParityError
from parity.core.numerics import precision
from parity.core.points import Firing, select
from parity.core.rows import DUMPED, Row, RunResult
from parity.core.trace import Trace
from parity.core.verdict import Evidence
from parity.msprobe.dump import Dump
from parity.msprobe.growth import GATES, judge_growth
from parity.msprobe.imported import imported
from parity.msprobe.judge import judge_dump
from parity.msprobe.names import Named, NameMap, listed
from parity.msprobe.own_inputs import OwnInputs
from parity.msprobe.pairing import pair_up
from parity.provenance import NONE, provenance
from parity.session import Session, padding
from parity.settings import Settings

UNKNOWN, UNSEEN = "modules without a known name", "values that are not in the dump"
LINE = 2000
"""Characters of a line about what was imported."""


@dataclass(frozen=True)
class Judgement:
    """What became of a dump."""

    rows: list[Row]
    dump: Dump
    named: Named
    left_out: dict[str, list[str]]
    """What was not compared: by kind, names."""
    reference: Dump | None = None
    """The dump it was judged against, if it was one."""

    @property
    def lines(self) -> list[str]:
        """What was imported, for a person."""
        known = len(self.named.modules)
        return [
            f"{self.dump.folder}: {len(self.dump.calls)} calls of modules "
            f"({self.dump.framework}, {self.dump.level}), {known} modules known by name",
            *(f"not compared, {len(names)} {what}: {listed(names)}"
              for what, names in self.left_out.items() if names),
        ]  # fmt: skip

    @property
    def facts(self) -> dict[str, object]:
        """What a dump changes in a run's provenance: nothing ran here but the comparison."""
        facts: dict[str, object] = {
            "candidate": f"a dump of msprobe ({self.dump.framework})",
            "commit": NONE,
            "working tree": NONE,
            "mode": DUMPED,
            "msprobe dump": {
                "folder": str(self.dump.folder),
                "level": self.dump.level,
                "calls": len(self.dump.calls),
                "modules known": len(self.named.modules),
                **{f"not compared: {what}": names or NONE for what, names in self.left_out.items()},
            },
        }
        if self.reference is not None:
            told = f"a dump of msprobe ({self.reference.framework})"
            facts["reference"] = {"name": told, "folder": str(self.reference.folder)}
            facts |= dict.fromkeys(("checkpoint", "bundles", "gates"), NONE)
        return facts


@dataclass(frozen=True)
class Request:
    """What to judge."""

    dump: Dump
    """The candidate's."""
    names: NameMap = field(default_factory=NameMap)
    patterns: Sequence[str] = ()
    """Points to judge; empty for all."""
    reference: Dump | None = None
    """Another dump to judge against, in place of the harness's own record."""
    tell: Callable[[str], object] = lambda name: None
    """Called with the name of what is judged next."""


def import_job(settings: Settings, request: Request, report: Path | None) -> tuple[RunResult, Path]:
    """Judge a dump, write the report and print the summary.

    Args:
        settings: of one case and dtype.
        request: what to judge.
        report: its folder; ``None`` for a new one among the runs.

    Returns:
        The run, and the path of its page.

    Raises:
        ParityError: the dump cannot be judged.
    """
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    from parity.report.github import github_lines
    from parity.report.terminal import summary_lines
    from parity.report.text import clean
    from parity.runs import check_place, write_run

    check_place(report)
    started = time.monotonic()
    console = Console(stderr=True)
    say = partial(console.print, highlight=False, markup=False)
    session = Session(
        settings if request.reference is None else replace(settings, cases=()), say=say
    )
    session.validate()
    with Progress(SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn(),
                  console=console, transient=True) as progress:  # fmt: skip
        task = progress.add_task("reading the dump", total=None)
        tell = partial(progress.update, task)
        judged = _judged(
            session, settings, replace(request, tell=lambda name: tell(description=clean(name)))
        )
    for line in judged.lines:
        say(clean(line, LINE))
    facts = provenance(session, time.monotonic() - started)
    result = RunResult(rows=judged.rows, provenance={**facts, **judged.facts})
    path = write_run(result, report)
    print("\n".join([*summary_lines(result, path), *github_lines(result, os.environ)]))
    return result, path


def _judged(session: Session, settings: Settings, request: Request) -> Judgement:
    """What becomes of the request, with one case or another dump to judge by."""
    (dtype,) = settings.dtypes
    if request.reference is not None:
        name = settings.cases[0] if settings.cases else "dumps"
        return judge_pair(name, dtype, request.reference, request)
    if len(session.cases) != 1:
        raise ParityError("name the case that the dumped model ran on: --case NAME (see `cases`)")
    return judge_alone(session, session.cases[0], dtype, request)


def judge_alone(session: Session, case: Case, dtype: str, request: Request) -> Judgement:
    """Judge a dump against the harness's own record of ``case``.

    Raises:
        ParityError: the dump cannot be judged.
    """
    every = session.schedule(case)
    shown = {point.name for point in select(session.points, request.patterns)}
    dump = request.dump
    bundle = session.references.open(case, dtype)
    found = imported(dump, every, request.names, case.modalities)
    evidence = Evidence(
        case=case.name,
        precision=precision(dtype),
        gates=session.gates_for(dtype, case.name),
        bundle=bundle,
        free=found.trace,
        forced=Trace(),
        level=session.settings.level,
        padding=padding(bundle),
        mode=DUMPED,
    )
    schedule = [firing for firing in every if firing.point.name in shown]
    visible = [firing for firing in schedule if found.shows(firing)]
    unseen = [name_of(firing) for firing in schedule if not found.shows(firing)]
    own = OwnInputs(evidence, found, session.settings.checkpoint)
    rows = judge_dump(visible, evidence, own, request.tell)
    left_out = {UNKNOWN: list(found.named.unmapped), UNSEEN: unseen}
    return Judgement(rows, dump, found.named, left_out)


def judge_pair(case: str, dtype: str, reference: Dump, request: Request) -> Judgement:
    """Judge a dump against another one; ``case`` and ``dtype`` are names for the rows.

    Raises:
        ParityError: they cannot be compared.
    """
    candidate = request.dump
    paired = pair_up(reference, candidate, request.names)
    rows = judge_growth(paired, case, dtype, GATES, request.tell)
    patterns = request.patterns or ["*"]
    for pattern in patterns:
        if not any(fnmatchcase(row.point, pattern) for row in rows):
            raise ParityError(f"no module of {reference.folder} is named {pattern!r}")
    shown = [row for row in rows if any(fnmatchcase(row.point, one) for one in patterns)]
    ours = {pair.module for pair in paired.pairs if any(pair.reference.outputs)}
    left_out = {
        UNKNOWN: list(paired.named.unmapped),
        "modules of the reference, inside ones that are compared":
            sorted(ours - paired.compared - {row.point for row in rows}),
    }  # fmt: skip
    return Judgement(shown, candidate, paired.named, left_out, reference)


def name_of(firing: Firing) -> str:
    """A point, with its firing if it is not the first."""
    return f"{firing.point.name} (firing {firing.index})" if firing.index else firing.point.name
