"""What a session found out beyond rows: details of some, what they were given, source lines."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from parity.core.detail import Detail
from parity.core.inputs_shown import InputsShown
from parity.core.rows import Row, RunResult, Verdict
from parity.core.sources import Source

MOST = 40
"""Rows of a run whose details are kept."""
PASSING = 3
"""Urgency of a row that passes."""
_URGENCIES = {Verdict.DRIFT: 1, Verdict.VICTIM: 2, Verdict.PASS: PASSING}


@dataclass
class LookedInto:
    """As the fields of the same names of `parity.core.rows.RunResult`."""

    details: list[Detail] = field(default_factory=list)
    inputs: dict[str, InputsShown] = field(default_factory=dict)
    sources: dict[str, Source] = field(default_factory=dict)
    nearest: float = -1.0
    """How much of its gate was used by the passing row nearest to it so far."""

    def wanted(self, rows: list[Row]) -> list[Row]:
        """``rows`` without those that pass, unless one is nearer to its gate than all before."""
        passing = max((used(row) for row in rows if urgency(row) == PASSING), default=-1.0)
        nearer = passing > self.nearest
        self.nearest = max(self.nearest, passing)
        return [row for row in rows if nearer or urgency(row) != PASSING]

    def add(self, other: LookedInto) -> None:
        """Take over what another process found out."""
        self.details += other.details
        self.inputs |= other.inputs
        self.sources |= other.sources

    def fill(self, result: RunResult) -> RunResult:
        """Put what matters most into ``result``, whose rows are known, and return it."""
        result.details = most_urgent(self.details, result.rows)
        cases = {detail.case for detail in result.details}
        result.inputs = {case: one for case, one in self.inputs.items() if case in cases}
        result.sources = self.sources
        return result


def urgency(row: Row) -> int:
    """0 for what is at fault itself, then what drifts, victims, and what passes."""
    return _URGENCIES.get(row.verdict, 0)


def used(row: Row) -> float:
    """How much of a gate a row's worst figure uses; -1 where there is none."""
    sides = [one for one in (row.local, row.end_to_end) if one is not None]
    return max((one.worst[1].used for one in sides), default=-1.0)


def most_urgent(details: list[Detail], rows: list[Row]) -> list[Detail]:
    """At most `MOST` of ``details``, those of rows that are not there left out.

    The first row at fault of every case goes before the second of any, so that no case is without;
    what passes goes by how near to its gate it is.
    """
    known = {(r.case, r.dtype, r.mode, r.point, r.firing): r for r in rows}
    places: Counter[tuple[str, str, int]] = Counter()
    ranked: list[tuple[tuple[int, int, float, int], Detail]] = []
    for number, one in enumerate(details):
        row = known.get((one.case, one.dtype, one.mode, one.point, one.firing))
        if row is None:
            continue
        rank = urgency(row)
        place = (row.case, row.ran_in, rank)
        nearest = -used(row) if rank == PASSING else 0.0
        ranked.append(((rank, places[place], nearest, number), one))
        places[place] += 1
    return [one for _, one in sorted(ranked, key=lambda item: item[0])[:MOST]]
