"""Measuring the gates: between what the faithful port shows and what planted faults show.

A gate is ``HEADROOM`` times the largest ratio of the faithful port over all cases, rounded up to
two digits, and never under 2. It is of use only if faults exceed a gate at their own points, which
is measured too and written beside the gates. A fault that changes less than rounding does (an
epsilon in bf16) is not visible in that dtype: no gate that lets the faithful port pass could catch
it.
"""

from __future__ import annotations

import math
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import date
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

from parity.core.errors import ParityError
from parity.core.files import temporary_beside
from parity.core.numerics import PRECISIONS
from parity.core.points import LEVELS, STAGES
from parity.core.rows import Kind, Row, Verdict
from parity.core.stats import Gate
from parity.core.tolerance import DEFAULT_FILE, SCOPES, Gates
from parity.faults import catalogue
from parity.session import Session, version
from parity.settings import Settings

HEADROOM = 2.0
OPEN = Gates(*(Gate(*(sys.float_info.max for _ in fields(Gate))) for _ in SCOPES))
"""Gates to measure under: a dtype has none before it was measured."""
FIGURES = tuple(field.name for field in fields(Gate))


@dataclass(frozen=True)
class Largest:
    """The largest ratio seen of one figure, and where."""

    ratio: float = 0.0
    point: str = "nowhere"
    case: str = ""

    @property
    def gate(self) -> float:
        """The proposed gate, two digits, never under 2."""
        least = max(HEADROOM * self.ratio, 2.0)
        unit = 10.0 ** (math.floor(math.log10(least)) - 1)
        return round(math.ceil(least / unit) * unit, 6)


@dataclass(frozen=True)
class Margin:
    """By how much a planted fault exceeds the gate that it exceeds most, at its own point."""

    fault: str
    point: str
    case: str
    figure: str
    ratio: float
    gate: float
    faithful: float
    """The faithful port's largest ratio of this figure."""

    @property
    def detected(self) -> bool:
        """Whether the gate catches the fault."""
        return self.ratio > self.gate

    @property
    def visible(self) -> bool:
        """Whether the fault stands out of what rounding does to the faithful port."""
        return self.ratio > HEADROOM * self.faithful


Measured = dict[tuple[str, str], Largest]


def faithful(session: Session, dtype: str) -> Measured:
    """The largest ratio of each (scope, figure) over every selected case of the port as it is.

    At both levels: a block that is judged as a whole (as in graph mode) adds up more roundings.

    Raises:
        ParityError: the port is wrong in a way that no gate measures, so it is not faithful.
    """
    found: Measured = {(scope, figure): Largest() for scope in SCOPES for figure in FIGURES}
    both = [at_level(session, level) for level in LEVELS]
    for case, one in product(session.cases, both):
        session.say(f"faithful port, {case.name}, {one.settings.level} level")
        rows = one.run(case, dtype)
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


def at_level(session: Session, level: str) -> Session:
    """The same session at another level."""
    return Session(replace(session.settings, level=level), session.say, gates=session.gates)


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
    kinds = {point.name: point.kind for point in session.points}
    for fault in catalogue().values():
        case = next((case for case in session.cases if case.name in fault.cases), None)
        if case is None or kinds.get(fault.point) not in (Kind.FLOAT, Kind.TABLE):
            continue
        session.say(f"{fault.name} in {case.name}")
        planted = Session(replace(settings, plant=fault.name), gates=session.gates)
        rows = planted.run(case, dtype, STAGES)
        own = [row for row in rows if row.point == fault.point]
        _check_planted(fault.name, dtype, rows)
        seen = [(gate, figure, value.ratio) for (gate, figure), value in _ratios(
            replace(row, end_to_end=None) for row in own)]  # fmt: skip
        if seen:
            scope, figure, ratio = max(seen, key=lambda s: s[2] / measured[(s[0], s[1])].gate)
            own_gate, most = measured[(scope, figure)].gate, measured[(scope, figure)].ratio
            found.append(Margin(fault.name, fault.point, case.name, figure, ratio, own_gate, most))
    return found


def _check_planted(fault: str, dtype: str, rows: Iterable[Row]) -> None:
    """Refuse a fault that ends the candidate's run instead of changing its numbers.

    Raises:
        ParityError: it does, so nothing is measured of it.
    """
    lost = next((row for row in rows if _measures_nothing(row) and row.mismatches is None), None)
    if lost is not None:
        raise ParityError(
            f"{fault} in {dtype} is not the mistake it stands for: {lost.point} is "
            f"{lost.verdict.value}, {lost.message}"
        )


HEADER = f"""\
# Largest passing ratios. Made by `python -m parity calibrate`; what was measured is beside each:
# a gate is {HEADROOM:g} times the faithful port's largest ratio, and never under 2. A planted fault
# exceeds one at its own point, unless it is marked as not visible: it then changes less than
# {HEADROOM:g} times what rounding in that dtype does to the faithful port.
"""
SECTION = re.compile(r"^\[([\w-]+)\]$", re.MULTILINE)


def as_toml(dtype: str, measured: Measured, found: Sequence[Margin], cases: Sequence[str]) -> str:
    """The section of one dtype in the gates file."""
    lines = [
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
        lines += ["", f"[[{dtype}.faults]]", *_margin_lines(margin)]
    return "\n".join(lines) + "\n"


def _margin_lines(margin: Margin) -> list[str]:
    """One fault's entry."""
    return [
        f'fault = "{margin.fault}"',
        f'point = "{margin.point}"',
        f'case = "{margin.case}"',
        f'figure = "{margin.figure}"',
        f"ratio = {margin.ratio:.3g}",
        f"times_the_gate = {margin.ratio / margin.gate:.3g}",
        f"visible = {str(margin.visible).lower()}",
    ]


def merged(old: str, sections: Mapping[str, str]) -> str:
    """A gates file with some dtypes' sections replaced or added, and the others as they were."""
    starts = [*SECTION.finditer(old)]
    ends = [*(match.start() for match in starts), len(old)][1:]
    kept = {m[1]: old[m.start() : end] for m, end in zip(starts, ends, strict=True)}
    every = {**kept, **sections}
    known = [dtype for dtype in PRECISIONS if dtype in every]
    others = [dtype for dtype in every if dtype not in PRECISIONS]
    return "\n".join([HEADER, *(f"{every[dtype].strip()}\n" for dtype in (*known, *others))])


def calibrate_job(settings: Settings, path: Path = DEFAULT_FILE) -> dict[str, list[Margin]]:
    """Measure every dtype of ``settings``, write ``path``; return the faults' margins by dtype.

    Raises:
        ParityError: the reference or the candidate cannot be run, or ``path`` cannot be written.
    """
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    sections, found = {}, {}
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("starting", total=None)
        for dtype in settings.dtypes:
            say = partial(_describe, progress, task, dtype)
            sections[dtype], found[dtype] = _measure(settings, dtype, say)
    with temporary_beside(path) as temporary:
        old = path.read_text(encoding="utf-8") if path.exists() else ""
        temporary.write_text(merged(old, sections), encoding="utf-8")
    return found


def _describe(progress: Any, task: Any, dtype: str, line: str) -> None:
    """Show what is being measured."""
    progress.update(task, description=f"{dtype}: {line}")


def _measure(
    settings: Settings, dtype: str, say: Callable[[str], None]
) -> tuple[str, list[Margin]]:
    """One dtype's section of the gates file, and the margins of the faults."""
    session = Session(settings, say=say, gates=OPEN)
    session.capture([(case, dtype) for case in session.cases])
    measured = faithful(session, dtype)
    found = margins(settings, dtype, measured, session)
    return as_toml(dtype, measured, found, [case.name for case in session.cases]), found
