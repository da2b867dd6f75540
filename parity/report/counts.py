"""Honest counts: what was compared, what became of it, and what was not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from parity.core.rows import Row, RunResult
from parity.report.figures import was_compared
from parity.report.text import MESSAGE_LIMIT, clean, plural
from parity.report.words import MEANINGS

NAMES_SHOWN = 8


@dataclass(frozen=True)
class CountView:
    """How many rows have a verdict, with its meaning and the next step."""

    verdict: str
    count: int
    means: str
    next: str


@dataclass(frozen=True)
class Tally:
    """A count that is no verdict."""

    name: str
    count: int
    means: str


@dataclass(frozen=True)
class OverrideView:
    """A written reason, and the points that were judged by another gate because of it."""

    reason: str
    points: str
    rows: str


def count_views(result: RunResult) -> tuple[CountView, ...]:
    """Count every verdict, those nobody got included."""
    counts = result.counts
    return tuple(
        CountView(verdict.value, counts[verdict.value], known.means, known.next)
        for verdict, known in MEANINGS.items()
    )


def tallies(result: RunResult) -> tuple[Tally, ...]:
    """Count what no verdict tells: rows, values held against others, overrides, what was left."""
    left = _left_out(result.ledger)
    compared = sum(map(was_compared, result.rows))
    overridden = sum(row.override is not None for row in result.rows)
    return (
        Tally("rows", len(result.rows), "One for every case, dtype, point and firing."),
        Tally("compared", compared, "Rows in which a value was held against the reference's."),
        Tally("overridden", overridden, "Rows judged by a gate of their own, with a reason."),
        Tally("not compared", len(result.not_compared), "Asked for, and nothing is known of it."),
        Tally("tests not run", left, "Tests that were deselected or skipped."),
    )


def override_views(result: RunResult) -> tuple[OverrideView, ...]:
    """The overrides that were used, by reason, in run order."""
    groups: dict[str, list[Row]] = {}
    for row in result.rows:
        if row.override is not None:
            groups.setdefault(row.override, []).append(row)
    return tuple(
        OverrideView(clean(reason, MESSAGE_LIMIT), _names(rows), plural(len(rows), "row"))
        for reason, rows in groups.items()
    )


def _names(rows: list[Row]) -> str:
    """The points of some rows; the first few of many."""
    names = list(dict.fromkeys(clean(row.point) for row in rows))
    more = len(names) - NAMES_SHOWN
    return ", ".join(names[:NAMES_SHOWN]) + (f" and {more:,} more" if more > 0 else "")


def _left_out(ledger: Mapping[str, object]) -> int:
    """Tests that did not run, as the ledger has them."""
    tests = ledger.get("tests")
    return sum(map(int, tests.values())) if isinstance(tests, Mapping) else 0
