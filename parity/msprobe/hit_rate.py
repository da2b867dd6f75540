"""How often a dump's verdict is right: every fault of the catalogue, planted, dumped, judged.

.venv-msprobe/bin/python -m parity.msprobe.make_dumps mindspore qwen2vl --plant all -o F
.venv-msprobe/bin/python -m parity.msprobe.make_dumps mindspore qwen2vl --case ... -o M
.venv-msprobe/bin/python -m parity.msprobe.make_dumps pytorch qwen2vl --case ... -o P
python -m parity.msprobe.hit_rate F M --reference P
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from parity.core.errors import ParityError
from parity.core.points import Point
from parity.core.rows import Row, RunResult
from parity.faults import find
from parity.msprobe.dump import open_dump
from parity.msprobe.job import Request, judge_alone, judge_pair
from parity.msprobe.json_file import read_json
from parity.options import run_alone
from parity.session import Session
from parity.settings import Settings

STEPS, FAITHFUL = "steps.json", "faithful"


@dataclass(frozen=True)
class Outcome:
    """What became of one dump."""

    case: str
    fault: str | None
    found: str | None
    """The first point at fault."""
    local: float
    """The most that a local figure (of two dumps the growth) uses of its gate, and where."""
    at: str
    end: float
    """The most that a figure uses of its gate, end to end."""
    placed: bool
    """Whether the first point at fault is the fault's own, or of its module; of a wrong argument,
    the first module that is given it."""


def hit_rate(
    folders: Annotated[list[Path], typer.Argument(help="Dumps that make_dumps made.")],
    dtype: Annotated[str, typer.Option(help="What they ran in.")] = "fp32",
    reference: Annotated[
        Path | None, typer.Option(help="Dump of PyTorch with a step a case, to judge against.")
    ] = None,
) -> None:
    """Judge every step of some dumps, and count what is found and placed."""
    outcomes = []
    for folder in folders:
        for outcome in _outcomes(folder, dtype, reference):
            outcomes.append(outcome)
            typer.echo(
                f"{outcome.fault or FAITHFUL:28} {outcome.case:18} {outcome.found or '-':46} "
                f"{'placed' if outcome.placed else '':7} {outcome.local:9.3g} {outcome.at}"
            )
    faults = [one for one in outcomes if one.fault is not None]
    faithful = [one for one in outcomes if one.fault is None]
    found, placed = sum(bool(one.found) for one in faults), sum(one.placed for one in faults)
    alarms = sum(one.found is not None for one in faithful)
    typer.echo(
        f"{len(faults)} faults: {found} found, {placed} placed; {alarms} false alarms in "
        f"{len(faithful)} faithful dumps, which use at most "
        f"{max((one.local for one in faithful), default=0):.3g} of a local gate and "
        f"{max((one.end for one in faithful), default=0):.3g} of one end to end"
    )


def _outcomes(folder: Path, dtype: str, reference: Path | None) -> Iterator[Outcome]:
    session = Session(Settings(dtypes=(dtype,)))
    cases = {case.name: case for case in session.cases}
    declared = {point.name: point for point in session.declared}
    theirs = {} if reference is None else {case: n for n, (case, _) in enumerate(_steps(reference))}
    for number, (case, fault) in enumerate(_steps(folder)):
        try:
            request = Request(open_dump(folder, number))
            if reference is None:
                rows = judge_alone(session, cases[case], dtype, request).rows
            elif case in theirs:
                other = open_dump(reference, theirs[case])
                rows = judge_pair(case, dtype, other, request).rows
            else:
                continue
        except ParityError as error:
            typer.echo(f"{fault or FAITHFUL:28} {case:18} could not be judged: {error}", err=True)
            continue
        yield _outcome(case, fault, rows, declared)


def _outcome(
    case: str, fault: str | None, rows: Sequence[Row], declared: Mapping[str, Point]
) -> Outcome:
    first = RunResult(rows=list(rows)).first_failure
    found = None if first is None else first.point
    own = [(row.local.worst[1].used, row.point) for row in rows if row.local is not None]
    end = [row.end_to_end.worst[1].used for row in rows if row.end_to_end is not None]
    placed = fault is not None and found is not None and _at(find(fault).points, found, declared)
    local, at = max(own, default=(0.0, ""))
    return Outcome(case, fault, found, local, at, max(end, default=0.0), placed)


def _at(points: Iterable[str], found: str, declared: Mapping[str, Point]) -> bool:
    """Whether ``found`` is one of ``points``, or the same by the names of two dumps."""
    module = re.sub(r"\.\d+$", "", found) if found not in declared else found
    for name in points:
        point = declared.get(name)
        inside = point is not None and point.is_input and f"{found}.".startswith(f"{point.module}.")
        if name == found or (point is not None and point.module == module) or inside:
            return True
    return False


def _steps(folder: Path) -> list[tuple[str, str | None]]:
    """Case and fault of every step."""
    steps = read_json(folder / STEPS)["steps"]
    if not isinstance(steps, list):
        raise ParityError(f"{folder / STEPS} is not what make_dumps wrote")
    return [(str(step["case"]), step["fault"]) for step in steps]


if __name__ == "__main__":
    run_alone(hit_rate)
