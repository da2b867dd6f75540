"""What a parity test asserts: that every firing of its point passes."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from parity.core.cases import Case
from parity.core.errors import ParityError
from parity.core.points import Point
from parity.core.rows import Row, Verdict, ran_in
from parity.plugin_state import State, session_of


@dataclass(frozen=True)
class PointCheck:
    """One point of one case in one dtype and mode."""

    state: State
    case: Case
    dtype: str
    mode: str
    point: Point
    stage: str

    def rows(self) -> list[Row]:
        """The point's rows in this stage, one a firing; the first call runs the case."""
        session = session_of(self.state)
        stages = self.state.stages[(self.case.name, self.dtype, self.mode)]
        if self.state.problem is not None:
            pytest.fail(self.state.problem, pytrace=False)
        try:
            found = session.run(self.case, self.dtype, stages, self.mode)
        except ParityError as error:
            reason = f"{self.case.name} {ran_in(self.dtype, self.mode)} could not run: {error}"
            if reason not in self.state.not_compared:
                self.state.not_compared.append(reason)
            pytest.fail(reason, pytrace=False)
        return [row for row in found if row.point == self.point.name and row.stage == self.stage]

    def check(self) -> None:
        """Fail unless every firing passes; a victim of a failure shown elsewhere is skipped."""
        rows = self.rows()
        if not rows:
            pytest.fail(f"{self.point.name} was not compared", pytrace=False)
        absent = [row for row in rows if row.verdict is Verdict.ABSENT]
        if len(absent) == len(rows):
            pytest.skip(f"ABSENT: {absent[0].cause} is not ported yet")
        bad = [row for row in rows if row.verdict not in (Verdict.PASS, Verdict.ABSENT)]
        blamed = [row for row in bad if row.verdict is not Verdict.VICTIM]
        if blamed:
            pytest.fail(failure(blamed[0], len(rows), len(blamed)), pytrace=False)
        if bad:
            self._victim(bad[0])

    def _victim(self, row: Row) -> None:
        """Skip if the cause has a failing test of its own in this session; else fail once."""
        cause = (self.case.name, self.dtype, self.mode, row.cause or "")
        if cause in self.state.selected or cause in self.state.told:
            pytest.skip(f"VICTIM of {row.cause}")
        self.state.told.add(cause)
        pytest.fail(f"{failure(row, 1, 1)}\nThe guilty point's own test is not selected.",
                    pytrace=False)  # fmt: skip


def failure(row: Row, firings: int, failing: int) -> str:
    """The text of a failing test."""
    often = f" (firing {row.firing}; {failing} of {firings} fail)" if firings > 1 else ""
    return f"{row.verdict.value}: {row.point} in {row.case}, {row.ran_in}{often}\n{row.message}"
