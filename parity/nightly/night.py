"""One run of the night, from the checks to its outcome.

Its status is taken from what the run left behind, never from an exit status alone: Python ends with
1 when anything goes wrong that nobody foresaw, and that is not a port out of parity.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from parity.core.errors import ParityError
from parity.nightly.arguments import REPORT, TREND, again, command, run_arguments, trend_arguments
from parity.nightly.asked import Asked
from parity.nightly.cells import Cell
from parity.nightly.checks import check, check_computes
from parity.nightly.machine_error import (
    DEVICE_LOST,
    NO_DEVICE,
    NO_HISTORY,
    NO_MINDSPORE,
    NO_SPACE,
    RUN_ENDED,
    TIME_LIMIT,
    MachineError,
)
from parity.nightly.outcome import (
    BROKEN,
    COULD_NOT_RUN,
    FILE,
    PARITY,
    Guilty,
    Outcome,
    read_outcome,
    write_outcome,
)
from parity.nightly.steps import Ended, run_step
from parity.workers.in_progress import interrupted

if TYPE_CHECKING:
    from parity.core.rows import Row, RunResult

RUN_LOG, TREND_LOG = "run.log", "trend.log"
OURS = frozenset({REPORT, TREND, RUN_LOG, TREND_LOG, FILE, f".{FILE}"})
"""What a cell's folder holds, beside an interrupted run."""
TREND_SECONDS = 900.0


def night(asked: Asked, cell: Cell) -> Outcome:
    """Check the machine, run the cell, hold it against its history, and keep the outcome.

    Raises:
        ParityError: the cell's folder holds something that no night wrote.
    """
    started = time.monotonic()
    folder = asked.folder(cell)
    if asked.resume and (done := finished(asked, cell)) is not None:
        return done
    going_on = asked.resume and bool(interrupted(folder / REPORT))
    try:
        if not going_on:
            _clear(folder)
        check(asked, cell)
        folder.mkdir(parents=True, exist_ok=True)
        outcome = _run(asked, cell, folder, ["--resume"] if going_on else [])
    except MachineError as trouble:
        outcome = _stopped(cell, trouble)
    except OSError as error:
        outcome = _stopped(cell, MachineError(NO_SPACE, f"{folder}: {error.strerror or error}"))
    timed = replace(outcome, seconds=round(time.monotonic() - started, 1))
    _keep(timed, folder)
    return timed


def finished(asked: Asked, cell: Cell) -> Outcome | None:
    """The verdict that the same run of the same code left in the cell's folder."""
    from parity.commit import commit_of

    try:
        found = read_outcome(asked.folder(cell) / FILE)
    except ParityError:
        return None
    if found.status == COULD_NOT_RUN or found.commit != commit_of(Path(__file__)).hash:
        return None
    return found if found.command == command(asked, cell) else None


def _run(asked: Asked, cell: Cell, folder: Path, more: list[str]) -> Outcome:
    """The run and the trend.

    Raises:
        MachineError: there is no verdict, and the machine is to blame.
    """
    ended = run_step([*run_arguments(asked, cell), *more], folder / RUN_LOG, asked.seconds)
    result = read_result(folder, ended)
    if result is None:
        _still(lambda: check(asked, cell))
        raise MachineError(_why_no_verdict(ended), ended.how)
    if not result.passed:
        _still(lambda: check_computes(asked))
    trend = run_step(trend_arguments(asked, cell), folder / TREND_LOG, TREND_SECONDS)
    found = outcome_of(cell, result, trend, again(asked, cell, result.first_failure))
    return replace(found, command=command(asked, cell))


def read_result(folder: Path, ended: Ended) -> RunResult | None:
    """What a run found out; nothing if it has no verdict, or not the one that it ended with."""
    from parity.report.rows_io import read_json

    if ended.timed_out or ended.status not in (PARITY, BROKEN):
        return None
    try:
        result = read_json(folder / REPORT / "rows.json")
    except ParityError:
        return None
    return result if ended.status == (PARITY if result.passed else BROKEN) else None


def _why_no_verdict(ended: Ended) -> str:
    """The name of what ended a run, where the machine is as it was."""
    if ended.timed_out:
        return TIME_LIMIT
    # A device that was reset computes again; the run has recognised what CANN said of it.
    return DEVICE_LOST if ended.how.startswith("the device was lost in ") else RUN_ENDED


def _still(checked: Callable[[], None]) -> None:
    """See whether what was there before a run that failed is there still.

    Raises:
        MachineError: it is not.
    """
    try:
        checked()
    except MachineError as trouble:
        if trouble.name in (NO_DEVICE, NO_MINDSPORE, RUN_ENDED):
            raise MachineError(DEVICE_LOST, trouble.message) from trouble
        raise


def outcome_of(cell: Cell, result: RunResult, trend: Ended, again: str) -> Outcome:
    """The outcome of a run that has a verdict.

    Raises:
        MachineError: it passed, and cannot be held against its history.
    """
    from parity.report.headline import sentence

    first = result.first_failure
    known = Outcome(
        cell,
        PARITY if result.passed else BROKEN,
        sentence(result),
        guilty=None if first is None else _guilty(first, again),
        trend=trend_text(trend),
        commit=str(result.provenance.get("commit", "")),
        device=device_of(result),
    )
    worse = trend.status == BROKEN and bool(known.trend)
    if trend.timed_out or not (trend.status == PARITY or worse):
        if known.status == BROKEN:
            return replace(known, trend=f"not judged: {trend.how}")
        raise MachineError(NO_HISTORY, f"the run passed; its trend: {trend.how}")
    if worse and known.status == PARITY:
        return replace(known, status=BROKEN, sentence=f"Every point passes, and {known.trend}")
    return known


def trend_text(ended: Ended) -> str:
    """The lines of a judgement; none if there is not one."""
    lines = ended.output.splitlines()
    told = [line for line in lines if not line.startswith("page: ")]
    return "\n".join(told)[:8000] if told and told[0].startswith("trend: ") else ""


def _guilty(row: Row, again: str) -> Guilty:
    """The first failing row, as the terminal shows it."""
    from parity.report.terminal import culprit

    return Guilty(row.point, row.case, row.verdict.value, "\n".join(culprit(row))[:8000], again)


def device_of(result: RunResult) -> str:
    """What computed, in a line."""
    facts = result.provenance.get("device")
    versions = result.provenance.get("versions")
    told = dict(facts) if isinstance(facts, dict) else {"device": facts}
    if isinstance(versions, dict):
        told["mindspore"] = versions.get("mindspore", "")
    return ", ".join(f"{name} {value}" for name, value in told.items()
                     if value not in (None, "", "none"))  # fmt: skip


def _stopped(cell: Cell, trouble: MachineError) -> Outcome:
    """The outcome where the machine is to blame."""
    return Outcome(cell, COULD_NOT_RUN, str(trouble)[:4000], trouble.name)


def _clear(folder: Path) -> None:
    """Remove what an earlier night left.

    Raises:
        ParityError: something else is there.
    """
    if not folder.exists():
        return
    for one in folder.iterdir():
        if one.name not in OURS and not one.name.startswith(f".{REPORT}."):
            raise ParityError(f"{one} is not a nightly run's: name another folder with -o")
    shutil.rmtree(folder)


def _keep(outcome: Outcome, folder: Path) -> None:
    """Write the outcome's file; on a full disk the terminal has to do."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_outcome(outcome, folder)
    except OSError as error:
        print(f"error: the outcome cannot be kept in {folder}: {error.strerror or error}")
