"""The verdict of a run in one line, and the point to look at first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from parity.core.rows import DUMPED, GRAPH, Row, RunResult, Verdict
from parity.report.commands import Command, commands
from parity.report.figures import at_fault, end_figure, local_figure, was_compared
from parity.report.groups import Group
from parity.report.panels import label
from parity.report.table import RowView, row_view
from parity.report.text import clean, number, plural
from parity.report.words import meaning

_NAMED = 6
"""Modules that are named."""


@dataclass(frozen=True)
class Culprit:
    """The first point to look at."""

    row: RowView
    means: str
    next: str
    own_fault: bool
    """Whether it is at fault itself; otherwise it only drifts, or suffers."""
    commands: tuple[Command, ...]
    """What shows it again."""


@dataclass(frozen=True)
class Headline:
    """The verdict of the run."""

    passed: bool
    word: str
    """``PASSED``, ``PASSED WITH HOLES`` where modules are not ported yet, ``FAILED``, or
    ``INVALID`` where the run failed one of its own proofs."""
    title: str
    """For the title bar, and short."""
    sentence: str
    detail: str
    """What was compared, in numbers."""
    culprit: Culprit | None


def headline(result: RunResult, groups: Sequence[Group], ids: Mapping[int, str]) -> Headline:
    """Compute the headline; ``ids`` has every row's anchor by ``id(row)``."""
    first = result.first_failure
    return Headline(
        passed=result.passed,
        word=word(result),
        title=_title(result, first),
        sentence=sentence(result),
        detail=detail(result, groups),
        culprit=None if first is None else _culprit(first, result, ids),
    )


def word(result: RunResult) -> str:
    """Say in one word what became of the run."""
    if result.invalid:
        return "INVALID"
    if not result.passed:
        return "FAILED"
    return "PASSED WITH HOLES" if result.holes else "PASSED"


def holes(result: RunResult) -> str:
    """Say which modules are not ported yet."""
    names, more = result.holes[:_NAMED], len(result.holes) - _NAMED
    listed = ", ".join(map(clean, names)) + (f" and {more:,} more" if more > 0 else "")
    verb = "is" if len(result.holes) == 1 else "are"
    return f"{plural(len(result.holes), 'module')} {verb} not ported yet: {listed}"


def sentence(result: RunResult) -> str:
    """Say in one sentence why the run passed or failed."""
    first = result.first_failure
    if result.invalid:
        proofs = plural(len(result.invalid), "proof")
        return f"{proofs} of the run itself failed, so nothing it says can be trusted."
    if not result.rows:
        return "Nothing was compared, so nothing is known."
    if not result.compared_something:
        return f"Nothing of the model was compared: {holes(result)}."
    if first is not None:
        where = f"{clean(first.case)}, {clean(first.ran_in)}"
        return f"{opening(first)} {label(first)} in {where}."
    if result.not_compared:
        left_out = plural(len(result.not_compared), "thing")
        return f"What was compared passes, but {left_out} asked for could not be compared."
    if result.holes:
        return f"What is there passes; {holes(result)}."
    return "Every point is within its gate, on clean inputs and end to end."


def opening(row: Row) -> str:
    """Return the words that introduce the first failing point."""
    if row.verdict is Verdict.GUILTY:
        return "First guilty:"
    return f"First at fault ({row.verdict.value}):" if at_fault(row) else f"{row.verdict.value}:"


def detail(result: RunResult, groups: Sequence[Group]) -> str:
    """Say what was compared, and how much of it passes."""
    counts = result.counts
    compared = sum(map(was_compared, result.rows))
    cases = len({one.case for one in groups})
    dtypes = len({row.dtype for row in result.rows})
    modes = len({row.mode for row in result.rows})
    failing = [f"{n:,} {name}" for name, n in counts.items() if n and name != "PASS"]
    verdicts = ", ".join([*failing, f"{counts['PASS']:,} PASS"])
    text = (
        f"{compared:,} of {plural(len(result.rows), 'row')} compared, in {plural(cases, 'case')} "
        f"and {plural(dtypes, 'dtype')}{f', {modes} modes' if modes > 1 else ''}: {verdicts}"
    )
    if result.holes and result.first_failure is not None:
        text += f"; {holes(result)}"
    if result.not_compared:
        text += f"; {len(result.not_compared):,} not compared"
    if overridden := sum(row.override is not None for row in result.rows):
        text += f"; {overridden:,} overridden"
    doubt = "Not to be trusted: " if result.invalid else ""
    limits = f"{_imitated(result)}{_unseen(result)}{_borrowed(result)}"
    return f"{doubt}{text}.{limits}{_nearest(result)}"


def _unseen(result: RunResult) -> str:
    """Say, of a dump and of a run in graph mode, what they cannot see."""
    if any(row.mode == DUMPED for row in result.rows):
        return (
            " These are the values of a dump: local is on each module's own dumped inputs, and "
            "what the dump does not hold was not compared."
        )
    if all(row.mode != GRAPH for row in result.rows):
        return ""
    return " In graph mode each block is one compiled function: nothing inside it is declared."


def _borrowed(result: RunResult) -> str:
    """Say where the gates are from, if not from this device."""
    note = result.provenance.get("gates note")
    return f" Gates: {clean(str(note), 300)}." if note else ""


def _imitated(result: RunResult) -> str:
    """Say so where the port computed as a numerics model says, and nothing ran on a device."""
    model = result.provenance.get("numerics model", "none")
    if model == "none":
        return ""
    return f" Imitated on CPU, by the numerics model {clean(str(model))}: no device was measured."


def _nearest(result: RunResult) -> str:
    """Say, where everything passes, which figure is nearest to its gate."""
    found = [
        (worst, row, side)
        for row in result.rows
        for side, worst in (("local", local_figure(row)), ("end to end", end_figure(row)))
        if worst is not None
    ]
    if result.first_failure is not None or not found:
        return ""
    worst, row, side = max(found, key=lambda item: item[0].use)
    return (
        f" Nearest to its gate: {label(row)}, {side}, in {clean(row.case)}, {clean(row.ran_in)}, "
        f"with a ratio of {number(worst.figure.ratio)} against {number(worst.figure.gate)}."
    )


def _title(result: RunResult, first: Row | None) -> str:
    """Return the text of the title bar."""
    if result.invalid:
        return f"INVALID: {plural(len(result.invalid), 'proof')} failed - parity"
    if first is not None:
        return f"FAILED: {clean(first.point, 60)} {first.verdict.value} - parity"
    if not result.rows:
        return "FAILED: nothing compared - parity"
    if result.not_compared:
        return f"FAILED: {len(result.not_compared):,} not compared - parity"
    if not result.compared_something:
        return "FAILED: nothing compared - parity"
    return f"{word(result)}: {plural(len(result.rows), 'row')} - parity"


def _culprit(first: Row, result: RunResult, ids: Mapping[int, str]) -> Culprit:
    """Describe the first failing row."""
    known = meaning(first)
    place = next(number for number, row in enumerate(result.rows) if row is first)
    return Culprit(
        row=row_view(first, place, ids[id(first)], {}),
        means=known.means,
        next=known.next,
        own_fault=at_fault(first),
        commands=commands(first, result),
    )
