"""Which rows stand in the page itself, for those who read it without its script or on paper."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from parity.report.table import RowView
from parity.report.text import plural

LIMIT = 300
"""Rows that a person can read; the page's script shows all of them, the data files hold them."""
NEAREST = 60
"""Of the passing rows, where not all are shown: so many, those nearest to their gates."""


@dataclass(frozen=True)
class Selection:
    """The rows of the page's own table, and what it says about the others."""

    rows: tuple[RowView, ...]
    note: str
    """Empty where every row is shown."""


def select(rows: Sequence[RowView]) -> Selection:
    """Choose from all rows, guilty first: all of them, or those that fail and the nearest to.

    Args:
        rows: Every row, in the table's order: what passes stands last.
    """
    if len(rows) <= LIMIT:
        return Selection(tuple(rows), "")
    failing = [row for row in rows if row.verdict != "PASS"]
    passing = [row for row in rows if row.verdict == "PASS"]
    shown = failing[:LIMIT]
    nearest = sorted(passing, key=lambda row: -nearness(row))[: min(NEAREST, LIMIT - len(shown))]
    kept = {row.number for row in nearest}
    nearest = [row for row in passing if row.number in kept]
    return Selection((*shown, *nearest), _note(len(rows), len(failing), len(shown), len(nearest)))


def nearness(row: RowView) -> float:
    """How much of its gate the row's worst figure uses."""
    return max((float(one.sort) for one in (row.local, row.end) if one is not None), default=0.0)


def _note(total: int, failing: int, shown: int, nearest: int) -> str:
    """Say what is shown, and where the rest is."""
    parts = []
    if failing:
        first = "" if shown == failing else f"the first {shown:,} of "
        parts.append(f"{first}{plural(failing, 'row')} that fail{'s' if failing == 1 else ''}")
    if nearest:
        parts.append(f"the {plural(nearest, 'passing row')} nearest to the gate")
    return f"Of {total:,} rows, here are {' and '.join(parts)}. All of them are in rows.json."
