"""What to type to see a failure again."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from parity.core.detail import Detail
from parity.core.rows import DUMPED, PYNATIVE, Row, RunResult
from parity.report.text import MESSAGE_LIMIT, clean


@dataclass(frozen=True)
class Command:
    """A command line, and what it does."""

    about: str
    text: str


def commands(row: Row, result: RunResult) -> tuple[Command, ...]:
    """What shows a row's failure again: its module by itself, where it can be, and the run."""
    alone = next((one.command for one in result.details if _same(row, one) and one.command), None)
    again = Command("This point again, in the whole model", _run(row, result))
    by_itself = Command("This module by itself", clean(alone or again.text, MESSAGE_LIMIT))
    # What is not computed by a module, such as a list of segments, has only the run.
    return (again,) if by_itself.text == again.text else (by_itself, again)


def _same(row: Row, detail: Detail) -> bool:
    """Whether a detail is about a row."""
    return (row.case, row.dtype, row.mode, row.point, row.firing) == (
        detail.case, detail.dtype, detail.mode, detail.point, detail.firing
    )  # fmt: skip


def _run(row: Row, result: RunResult) -> str:
    """Run the point's case and dtype again, as this run did."""
    if row.mode == DUMPED:
        return clean(str(result.provenance.get("command", "")), MESSAGE_LIMIT)
    words = ["python", "-m", "parity", "run", "--case", row.case, "--dtype", row.dtype]
    words += ["--point", row.point]
    if row.mode != PYNATIVE:
        words += ["--mode", row.mode]
    for name, option in (("planted fault", "--plant"), ("numerics model", "--numerics")):
        value = result.provenance.get(name)
        if isinstance(value, str) and value != "none":
            words += [option, value]
    return clean(shlex.join(words), MESSAGE_LIMIT)
