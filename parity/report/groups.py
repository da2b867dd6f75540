"""One line for every case and dtype: how many were compared, how they fared, the worst of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from parity.core.rows import Row, Verdict
from parity.report.figures import Worst, at_fault, local_figure, was_compared


@dataclass
class Group:
    """The rows of one case in one dtype, in execution order."""

    case: str
    dtype: str
    """And the mode, where it is not the usual one."""
    rows: list[Row] = field(default_factory=list)

    @property
    def compared(self) -> int:
        """Rows for which a value was held against the reference's."""
        return sum(was_compared(row) for row in self.rows)

    def count(self, *verdicts: Verdict) -> int:
        """How many rows have one of these verdicts."""
        return sum(row.verdict in verdicts for row in self.rows)

    @property
    def other(self) -> int:
        """Rows that fail and are neither guilty nor victims."""
        known = (Verdict.PASS, Verdict.GUILTY, Verdict.VICTIM, Verdict.ABSENT)
        return len(self.rows) - self.count(*known)

    @property
    def passed(self) -> bool:
        """Whether there are rows that pass, and none that fails."""
        passing = self.count(Verdict.PASS)
        return bool(passing) and passing + self.count(Verdict.ABSENT) == len(self.rows)

    @property
    def faults(self) -> list[Row]:
        """Rows that fail for a reason of their own."""
        return [row for row in self.rows if at_fault(row)]

    @property
    def worst_local(self) -> tuple[Row, Worst] | None:
        """The row whose local figure uses most of its gate."""
        found = [(row, figure) for row in self.rows if (figure := local_figure(row)) is not None]
        return max(found, key=lambda item: item[1].use, default=None)


def group(rows: Iterable[Row]) -> list[Group]:
    """Group rows by case and dtype, in the order in which these first appear."""
    groups: dict[tuple[str, str], Group] = {}
    for row in rows:
        groups.setdefault((row.case, row.ran_in), Group(row.case, row.ran_in)).rows.append(row)
    for one in groups.values():
        one.rows.sort(key=lambda row: (row.order, row.firing))
    return list(groups.values())
