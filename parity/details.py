"""What the report knows beyond figures about the rows that matter most.

It is found out while both executions of a case are still in memory, for a few rows of each case,
and cut down to the most urgent ones of the run at its end.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from parity.core.cases import Case
from parity.core.compared import Compared, at_input, end_to_end, on_clean_inputs
from parity.core.detail import END_TO_END, LOCAL, Cells, Detail, Side, Tried
from parity.core.looked_into import urgency, used
from parity.core.points import Firing
from parity.core.profiles import EXACT, side
from parity.core.rows import Row, Verdict
from parity.core.trace import Array
from parity.core.verdict import Evidence
from parity.places import cells_of, coarser, ids_of
from parity.repro.line import command_line
from parity.settings import Settings

if TYPE_CHECKING:
    from parity.hypotheses.hypothesis import Trial

SHARES = {0: 6, 1: 2, 2: 2, 3: 1}
"""Rows of one case in one dtype, by rank: at fault, drifting, victims, passing."""
FEW = 64
"""Integers that are given in full."""


@dataclass(frozen=True)
class Looking:
    """One case in one dtype, both executions still there."""

    case: Case
    evidence: Evidence
    schedule: Sequence[Firing]
    tried: Mapping[int, Sequence[Trial]]
    """What was tried, by the row's order."""
    settings: Settings
    merge: int
    """Patches along each side of what becomes one token."""

    def details(self, rows: Iterable[Row]) -> list[Detail]:
        """Details of ``rows``; what the candidate alone has is on no schedule, and has none."""
        return [self._detail(row, self.schedule[row.order]) for row in rows
                if row.order < len(self.schedule)]  # fmt: skip

    def _detail(self, row: Row, firing: Firing) -> Detail:
        """What there is to know about one row."""
        point, evidence = firing.point, self.evidence
        local, where = self._local(firing)
        end = end_to_end(firing, evidence)
        place = None
        if evidence.bundle.get(point.name, firing.index) is not None:
            place = cells_of(point, firing.index, self.case, evidence.bundle, self.merge)
        at_clean = local is not None and not local.examine().ok
        sides = [
            self._side(local, LOCAL, place if at_clean or end is None else None, where),
            self._side(end, END_TO_END, None if at_clean else place, ""),
        ]
        found = local or end
        detail = Detail(
            row.case, row.dtype, row.mode, row.point, row.firing, point.role,
            command_line(self.settings, point, row),
            tuple(one for one in sides if one is not None), tried=self._tried(row),
        )  # fmt: skip
        return detail if found is None else self._with_integers(detail, place, found)

    def _local(self, firing: Firing) -> tuple[Compared | None, str]:
        """The worst of the point's own value and of what reached the modules inside it."""
        best, where = on_clean_inputs(firing, self.evidence), ""
        if best is None:
            return None, ""
        finding = best.examine()
        for inner in self.schedule:
            if inner.index == firing.index and self._around(inner) == firing.point.name:
                value = at_input(inner, self.evidence, firing.point)
                if value is not None and (found := value.examine()).worse(finding) is found:
                    best, where, finding = value, inner.point.name, found
        return best, where

    def _around(self, inner: Firing) -> str:
        """The smallest module around a module that is a point itself; its own name if none is."""
        names = {firing.point.name for firing in self.schedule}
        path = inner.point.name.rpartition(".")[0]
        while path and path not in names:
            path = path.rpartition(".")[0]
        return path or inner.point.name

    def _side(
        self, value: Compared | None, scope: str, place: Cells | None, where: str
    ) -> Side | None:
        """Where the error of one execution is; ``None`` if there is nothing to measure."""
        if value is None or value.tap.value.shape != value.truth.reference.shape:
            return None
        if not value.tap.value.size or (value.keep is not None and not value.keep.any()):
            return None
        found = replace(side(value, scope, place), where=where)
        cells = found.cells
        return found if cells is None else replace(found, cells=coarser(cells, self.merge))

    def _tried(self, row: Row) -> tuple[Tried, ...]:
        """The hypotheses that were tried on it, those that fit first."""
        found = [
            Tried(one.hypothesis.name, one.match.text if one.match else one.hypothesis.sentence,
                  one.match is not None)
            for one in self.tried.get(row.order, ())
        ]  # fmt: skip
        return tuple(sorted(found, key=lambda one: not one.fits))

    def _with_integers(self, detail: Detail, place: Cells | None, value: Compared) -> Detail:
        """``detail`` with both sides' integers, where they differ."""
        candidate, reference = value.tap.value, value.truth.reference
        if value.point.kind not in EXACT or value.examine().ok:
            return detail
        if max(candidate.size, reference.size) <= FEW:
            detail = replace(
                detail, reference_text=_text(reference), candidate_text=_text(candidate)
            )  # fmt: skip
        if place is None or candidate.shape != reference.shape:
            return detail
        return replace(detail, ids=ids_of(place, value.point, reference, candidate))


def chosen(rows: Iterable[Row]) -> list[Row]:
    """The rows of one case and dtype that are looked into, the most urgent first."""
    by_rank: dict[int, list[Row]] = {rank: [] for rank in SHARES}
    for row in rows:
        if row.verdict is not Verdict.ABSENT:
            by_rank[urgency(row)].append(row)
    by_rank[3].sort(key=used, reverse=True)
    return [row for rank, found in by_rank.items() for row in found[: SHARES[rank]]]


def _text(array: Array) -> str:
    """A few integers."""
    return str(array.tolist())
