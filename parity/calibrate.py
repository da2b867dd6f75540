"""Measuring the gates: between what the faithful port shows and what planted faults show.

A gate is the power of two that is at least ``HEADROOM`` times the largest ratio of the faithful
port over all cases. It is of use only if every fault exceeds a gate at its own point, which is
measured too and written beside the gates.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from datetime import date
from pathlib import Path

from parity.core.errors import ParityError
from parity.core.points import STAGES
from parity.core.rows import Kind, Row, Verdict
from parity.core.stats import Gate
from parity.core.store import temporary_beside
from parity.core.tolerance import DEFAULT_FILE, SCOPES
from parity.faults import catalogue
from parity.session import Session, Settings, version

HEADROOM = 3.0
FIGURES = tuple(field.name for field in fields(Gate))


@dataclass(frozen=True)
class Largest:
    """The largest ratio seen of one figure, and where."""

    ratio: float = 0.0
    point: str = "nowhere"
    case: str = ""

    @property
    def gate(self) -> float:
        """The proposed gate: a power of two, never under 2."""
        return 2.0 ** max(1, math.ceil(math.log2(max(HEADROOM * self.ratio, 1e-9))))


@dataclass(frozen=True)
class Margin:
    """By how much a planted fault exceeds the gate that it exceeds most, at its own point."""

    fault: str
    point: str
    case: str
    figure: str
    ratio: float
    gate: float

    @property
    def detected(self) -> bool:
        """Whether the gate catches the fault."""
        return self.ratio > self.gate


Measured = dict[tuple[str, str], Largest]


def faithful(session: Session, dtype: str) -> Measured:
    """The largest ratio of each (scope, figure) over every selected case of the port as it is.

    Raises:
        ParityError: the port is wrong in a way that no gate measures, so it is not faithful.
    """
    found: Measured = {(scope, figure): Largest() for scope in SCOPES for figure in FIGURES}
    for case in session.cases:
        session.say(f"faithful port, {case.name}")
        rows = session.run(case, dtype)
        wrong = next((row for row in rows if _measures_nothing(row)), None)
        if wrong is not None:
            raise ParityError(
                f"{wrong.point} in {wrong.case} is {wrong.verdict.value}: {wrong.message}. Gates "
                "are measured on a port that is right: mend it first"
            )
        for key, seen in _ratios(rows):
            if not seen.ratio <= found[key].ratio:
                found[key] = seen
    return found


def _measures_nothing(row: Row) -> bool:
    """Whether a row fails by something else than a ratio over the gate there is now."""
    measurable = (Verdict.PASS, Verdict.VICTIM, Verdict.GUILTY, Verdict.DRIFT)
    return row.verdict not in measurable or bool(row.mismatches)


def _ratios(rows: Iterable[Row]) -> Iterable[tuple[tuple[str, str], Largest]]:
    """Every ratio of ``rows`` with its scope and figure."""
    for row in rows:
        for scope in ("local", "end_to_end"):
            comparison = getattr(row, scope)
            if comparison is None:
                continue
            gate = "table" if row.kind is Kind.TABLE else scope
            for figure, value in comparison.slices.items():
                yield (gate, figure), Largest(value.ratio, row.point, row.case)


def margins(settings: Settings, dtype: str, measured: Measured, session: Session) -> list[Margin]:
    """How far each fault with a ratio exceeds the proposed gates at its own point."""
    found = []
    for fault in catalogue().values():
        case = next((case for case in session.cases if case.name in fault.cases), None)
        if case is None or ":" in fault.point or fault.point.startswith("processor."):
            continue
        session.say(f"{fault.name} in {case.name}")
        rows = Session(replace(settings, plant=fault.name)).run(case, dtype, STAGES)
        own = [row for row in rows if row.point == fault.point and row.local is not None]
        seen = [(gate, figure, value.ratio) for (gate, figure), value in _ratios(
            replace(row, end_to_end=None) for row in own)]  # fmt: skip
        if seen:
            scope, figure, ratio = max(seen, key=lambda s: s[2] / measured[(s[0], s[1])].gate)
            gate = measured[(scope, figure)].gate
            found.append(Margin(fault.name, fault.point, case.name, figure, ratio, gate))
    return found


def as_toml(dtype: str, measured: Measured, found: Sequence[Margin], cases: Sequence[str]) -> str:
    """The gates file."""
    lines = [
        "# Largest passing ratios. Made by `python -m parity calibrate`; what was measured is",
        f"# beside each: a gate is the power of two from {HEADROOM:g} times the faithful port's",
        "# largest ratio, and every planted fault exceeds one at its own point.",
        "",
        f"[{dtype}]",
        f'measured = "{date.today().isoformat()}"',
        f'versions = "mindspore {version("mindspore")}, torch {version("torch")}, '
        f'transformers {version("transformers")}"',
        f'machine = "CPU, {os.cpu_count()} cores"',
        f'cases = "{", ".join(cases)}"',
    ]
    for scope in SCOPES:
        lines += ["", f"[{dtype}.{scope}]"]
        for figure in FIGURES:
            seen = measured[(scope, figure)]
            where = f"{seen.ratio:.3g} at {seen.point}, {seen.case}" if seen.ratio else "0"
            lines.append(f"{figure} = {seen.gate:g}  # faithful port: {where}")
    for margin in sorted(found, key=lambda m: m.ratio / m.gate):
        lines += [
            "",
            f"[[{dtype}.faults]]",
            f'fault = "{margin.fault}"',
            f'point = "{margin.point}"',
            f'case = "{margin.case}"',
            f'figure = "{margin.figure}"',
            f"ratio = {margin.ratio:.3g}",
            f"times_the_gate = {margin.ratio / margin.gate:.3g}",
        ]
    return "\n".join(lines) + "\n"


def calibrate_job(settings: Settings, path: Path = DEFAULT_FILE) -> list[Margin]:
    """Measure, write ``path``, and return the margins of the faults.

    Raises:
        ParityError: the reference or the candidate cannot be run.
    """
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    dtype = settings.dtypes[0]
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("starting", total=None)
        session = Session(settings, say=lambda line: progress.update(task, description=line))
        session.capture([(case, dtype) for case in session.cases])
        measured = faithful(session, dtype)
        found = margins(settings, dtype, measured, session)
    with temporary_beside(path) as temporary:
        text = as_toml(dtype, measured, found, [case.name for case in session.cases])
        temporary.write_text(text, encoding="utf-8")
    return found
