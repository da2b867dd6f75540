"""The summary a person reads in the terminal, as plain lines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from parity.core.rows import Row, RunResult, Verdict
from parity.report.figures import Worst, end_figure, local_figure, was_compared
from parity.report.groups import Group, group
from parity.report.headline import detail, sentence, word
from parity.report.ledger import ledger_view
from parity.report.modes import modes_lines
from parity.report.panels import label
from parity.report.table import difference_view, figure_view
from parity.report.text import MESSAGE_LIMIT, WIDTH, clean, number, plural, wrap
from parity.report.words import meaning

_HEADER = ("case", "dtype", "compared", "pass", "guilty", "victims", "other", "worst local")
_NUMBERS = slice(2, 7)
_LISTED = 10
"""Items of a list that are shown."""


def summary_lines(result: RunResult, report_path: Path | None = None) -> list[str]:
    """Summarise a run for a terminal.

    Args:
        result: The run.
        report_path: The page that was written, if one was.

    Returns:
        Plain lines without colour or control characters, at most 100 wide except where a path is
        longer: the verdict, a line for every case and dtype, the first point at fault with its
        numbers, what it means and what to do, what was not compared, and the report's path. The
        proofs of the run that failed come before all that.
    """
    groups = group(result.rows)
    lines = wrap(f"parity {word(result)}: {sentence(result)}")
    if result.invalid:
        lines += _listed(result.invalid)
    lines += wrap(detail(result, groups), "  ") + _ledger(result)
    for line in modes_lines(result.rows):
        lines += wrap(line, "  ")
    if groups:
        lines += ["", *_table(groups)]
    if (first := result.first_failure) is not None:
        lines += ["", *culprit(first)]
    if result.not_compared:
        lines += ["", f"not compared ({len(result.not_compared):,}):"]
        lines += _listed(result.not_compared)
    if report_path is not None:
        lines += ["", f"report: {report_path}"]
    return lines


def verdict_line(result: RunResult, report_path: Path | None = None) -> str:
    """The whole run in one line, which ends what a command prints: ``grep '^parity verdict: '``."""
    counts = result.counts
    compared = sum(map(was_compared, result.rows))
    tally = [f"{counts[name]:,} {name}" for name in counts if counts[name] and name != "PASS"]
    parts = [f"{compared:,} of {plural(len(result.rows), 'row')} compared",
             *tally, f"{counts['PASS']:,} PASS"]  # fmt: skip
    if result.not_compared:
        parts.append(f"{len(result.not_compared):,} not compared")
    line = f"parity verdict: {word(result)}: {', '.join(parts)}"
    if (first := result.first_failure) is not None:
        where = f"{clean(first.case)}, {clean(first.ran_in)}"
        line += f"; first {first.verdict.value}: {label(first)} in {where}"
    return line if report_path is None else f"{line}; {report_path}"


def _ledger(result: RunResult) -> list[str]:
    """Say what was compared, and what fails or was left out; the rest is on the page."""
    found = ledger_view(result)
    if found is None:
        return []
    notes = "; ".join(note.text for note in sorted(found.notes, key=lambda note: not note.fails))
    return wrap(f"{found.summary} {clean(notes, 300)}".strip(), "  ")


def _table(groups: Sequence[Group]) -> list[str]:
    """Lay out a line for every group, and under it the point of its worst local figure."""
    cells = [_HEADER, *map(_cells, groups)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(_HEADER))]
    lines = []
    for line in cells:
        padded = [text.ljust(width) for text, width in zip(line, widths, strict=True)]
        padded[_NUMBERS] = [
            text.rjust(width) for text, width in zip(line[_NUMBERS], widths[_NUMBERS], strict=True)
        ]
        lines.append("  ".join(padded).rstrip())
    room = WIDTH - max(map(len, lines)) - 2
    return [lines[0], *(f"{text}{_worst_point(one, text, lines, room)}"
                        for one, text in zip(groups, lines[1:], strict=True))]  # fmt: skip


def _cells(one: Group) -> tuple[str, ...]:
    """Return the cells of a group."""
    worst = one.worst_local
    counts = (
        f"{one.compared}/{len(one.rows)}", one.count(Verdict.PASS), one.count(Verdict.GUILTY),
        one.count(Verdict.VICTIM), one.other,
    )  # fmt: skip
    figure = "-" if worst is None else _ratio(worst[1])
    return (clean(one.case, 24), clean(one.dtype, 20), *map(str, counts), figure)


def _worst_point(one: Group, text: str, lines: Sequence[str], room: int) -> str:
    """Return the point of a group's worst local figure, after a line as wide as the others."""
    if one.worst_local is None or room < 12:
        return ""
    gap = " " * (max(map(len, lines)) - len(text) + 2)
    name = clean(label(one.worst_local[0]))
    # The end of a name tells modules apart, its beginning is the same for many.
    return gap + (name if len(name) <= room else f"...{name[3 - room :]}")


def culprit(row: Row) -> list[str]:
    """Describe the first failing point, its numbers, what they mean and what to do."""
    known = meaning(row)
    where = f"({clean(row.case, 40)}, {clean(row.ran_in)}, {clean(row.stage)})"
    lines = [*wrap(f"{row.verdict.value} {label(row)} {where}"), *_numbers(row)]
    lines += wrap(clean(row.message, MESSAGE_LIMIT), "  ")
    for suggestion in row.suggestions:
        lines += wrap(f"what to try: {clean(suggestion, MESSAGE_LIMIT)}", "  ")
    if row.arithmetic is not None:
        lines += wrap(f"computed as {clean(str(row.arithmetic))}", "  ")
    lines += wrap(f"meaning: {known.means}", "  ") + wrap(f"next: {known.next}", "  ")
    return lines


def _numbers(row: Row) -> list[str]:
    """Write the figures of a row, as far as it has any."""
    lines = []
    for name, worst in (("local", local_figure(row)), ("end to end", end_figure(row))):
        if (seen := figure_view(worst)) is not None and worst is not None:
            verdict = "within the gate" if seen.ok else "over the gate"
            lines.append(f"  {name:<11}ratio {_ratio(worst)}, {seen.where}: {verdict}")
    if row.mismatches:
        lines.append(f"  equality   {row.mismatches:,} elements differ")
    if (largest := difference_view(row)) is not None:
        lines.append(
            f"  largest    {largest.size} at {largest.where}: "
            f"reference {largest.reference}, candidate {largest.candidate}"
        )
    return lines


def _ratio(worst: Worst) -> str:
    """Write a ratio against its gate."""
    return f"{number(worst.figure.ratio)} / {number(worst.figure.gate)}"


def _listed(items: Sequence[str]) -> list[str]:
    """List the first items, and say how many more there are."""
    lines: list[str] = []
    for item in items[:_LISTED]:
        lines += wrap(f"- {clean(item, 300)}", "  ")
    if len(items) > _LISTED:
        lines.append(f"  and {len(items) - _LISTED:,} more, in the report")
    return lines
