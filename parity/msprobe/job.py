"""The job behind ``import-msprobe``: a dump in, a run and its report out."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from parity.core.numerics import precision
from parity.core.points import Firing, select
from parity.core.rows import DUMPED, RunResult
from parity.core.trace import Trace
from parity.core.verdict import Evidence
from parity.msprobe.dump import open_dump
from parity.msprobe.imported import Imported, imported
from parity.msprobe.judge import judge_dump
from parity.msprobe.names import NameMap, listed, read_names
from parity.msprobe.own_inputs import OwnInputs
from parity.provenance import NONE, provenance
from parity.session import Session, padding
from parity.settings import Settings


@dataclass(frozen=True)
class Judgement:
    """What became of a dump."""

    result: RunResult
    imported: Imported
    unseen: list[str]
    """Declared values that a dump of these modules does not have: not compared."""

    @property
    def lines(self) -> list[str]:
        """What was imported, for a person."""
        dump, named = self.imported.dump, self.imported.named
        return [
            f"{dump.folder}: {len(dump.calls)} calls of modules ({dump.framework}, {dump.level})",
            f"{len(named.modules)} modules known by name",
            f"{len(named.unmapped)} modules not known and not compared: "
            f"{listed(named.unmapped) or NONE}",
            f"{len(self.unseen)} values not in the dump and not compared: "
            f"{listed(self.unseen) or NONE}",
        ]


def import_job(
    settings: Settings,
    folder: Path,
    names: Path | None,
    patterns: Sequence[str],
    part: tuple[int | None, int | None],
    report: Path | None,
) -> tuple[RunResult, Path]:
    """Judge the dump in ``folder``, write the report and print the summary.

    Args:
        settings: of one case and dtype.
        folder: of the candidate's dump.
        names: the user's file of names.
        patterns: points to judge; empty for all.
        part: step and rank, where the folder holds several.
        report: its folder; ``None`` for a new one among the runs.

    Returns:
        The run, and the path of its page.

    Raises:
        ParityError: the dump cannot be judged.
    """
    from rich.console import Console

    from parity.report.github import github_lines
    from parity.report.terminal import summary_lines
    from parity.report.text import clean
    from parity.runs import check_place, write_run

    check_place(report)
    say = partial(Console(stderr=True).print, highlight=False, markup=False)
    known = NameMap() if names is None else read_names(names)
    judged = judge_folder(Session(settings, say=say), folder, known, patterns, part)
    for line in judged.lines:
        say(clean(line))
    path = write_run(judged.result, report)
    result = judged.result
    print("\n".join([*summary_lines(result, path), *github_lines(result, os.environ)]))
    return result, path


def judge_folder(
    session: Session,
    folder: Path,
    names: NameMap,
    patterns: Sequence[str] = (),
    part: tuple[int | None, int | None] = (None, None),
) -> Judgement:
    """Judge the dump in ``folder`` on the session's first case and dtype; arguments as above.

    Raises:
        ParityError: the dump cannot be judged.
    """
    started = time.monotonic()
    session.validate()
    (case,), (dtype,) = session.cases, session.settings.dtypes
    shown = {point.name for point in select(session.points, patterns)}
    schedule = [f for f in session.schedule(case) if f.point.name in shown]
    dump = open_dump(folder, *part)
    bundle = session.references.open(case, dtype)
    every = session.schedule(case)
    found = imported(dump, every, names, case.modalities)
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
    visible = [firing for firing in schedule if found.shows(firing)]
    unseen = [name_of(firing) for firing in schedule if firing not in visible]
    rows = judge_dump(visible, evidence, OwnInputs(evidence, found, session.settings.checkpoint))
    result = RunResult(rows=rows)
    judgement = Judgement(result, found, unseen)
    facts = provenance(session, time.monotonic() - started)
    result.provenance = {**facts, **about(judgement)}
    return judgement


def name_of(firing: Firing) -> str:
    """A point, with its firing if it is not the first."""
    return f"{firing.point.name} (firing {firing.index})" if firing.index else firing.point.name


def about(judgement: Judgement) -> dict[str, object]:
    """What a dump changes in a run's provenance: nothing ran here but the comparison."""
    found = judgement.imported
    return {
        "candidate": f"a dump of msprobe ({found.dump.framework})",
        "commit": NONE,
        "working tree": NONE,
        "mode": DUMPED,
        "msprobe dump": {
            "folder": str(found.dump.folder),
            "level": found.dump.level,
            "calls": len(found.dump.calls),
            "modules known": len(found.named.modules),
            "modules not known": list(found.named.unmapped) or NONE,
            "values not in it": judgement.unseen or NONE,
        },
    }
