"""What became of a comparison of generations, for a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from parity.core.generation import RowResult

if TYPE_CHECKING:
    from parity.generation_check import CaseResult

WIDTH = 100
_HEADER = ("case", "dtype", "row", "steps", "sure", "left at", "result")
_NUMBERS = slice(2, 6)


def summary_lines(results: Sequence[CaseResult]) -> list[str]:
    """Summarise the results.

    Returns:
        Plain lines: the verdict, a line for every row of every case and dtype, then for each what
        is wrong with it and which steps the reference decided by less than twice its noise.
    """
    rows = [(result, place, row) for result in results for place, row in enumerate(result.rows)]
    failed = sum(not row.outcome.passed for _, _, row in rows)
    word = "PASSED" if rows and not failed else "FAILED"
    total = sum(row.steps for _, _, row in rows)
    narrow = sum(len(row.narrow) for _, _, row in rows)
    lines = _wrapped(
        f"generation {word}: {len(rows) - failed} of {len(rows)} rows; {total} tokens, of which "
        f"the reference decided {narrow} by at most twice its own error"
    )
    lines.append("")
    cells = [_HEADER, *(_cells(result, place, row) for result, place, row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(_HEADER))]
    for line in cells:
        padded = [text.ljust(width) for text, width in zip(line, widths, strict=True)]
        padded[_NUMBERS] = [
            text.rjust(width) for text, width in zip(line[_NUMBERS], widths[_NUMBERS], strict=True)
        ]
        lines.append("  ".join(padded).rstrip())
    details = [line for entry in rows for line in _details(*entry)]
    return [*lines, "", *details] if details else lines


def _cells(result: CaseResult, place: int, row: RowResult) -> tuple[str, ...]:
    left = "-" if row.left_at is None else str(row.left_at)
    sure = row.steps - len(row.narrow)
    return (result.case, result.dtype, str(place), str(row.steps), str(sure), left,
            row.outcome.value)  # fmt: skip


def _details(result: CaseResult, place: int, row: RowResult) -> Iterator[str]:
    where = f"{result.case} {result.dtype} row {place}"
    if row.message:
        yield from _wrapped(f"{where}: WRONG: {row.message}")
    if row.narrow:
        yield from _wrapped(f"{where}: decided by less at {_listed(row.narrow)}")
    if row.left_at is not None and row.outcome.passed:
        others = _listed(row.differing) if row.differing else "no step"
        yield from _wrapped(
            f"{where}: goes its own way from step {row.left_at}; given the reference's tokens it "
            f"chooses another contender at {others}"
        )


def _listed(steps: Sequence[int]) -> str:
    return f"step{'s' if len(steps) > 1 else ''} {', '.join(map(str, steps))}"


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, subsequent_indent="  ", break_on_hyphens=False)
