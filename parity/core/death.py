"""What is told of a candidate whose process ended, or hung, in the middle of a case.

Nothing that it computed is left. The point it was at work on is at fault, since it did not produce
it; the others are that one's victims, so that a reader is led to the place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from parity.core.coverage import Coverage
from parity.core.points import Firing
from parity.core.rows import Row, Verdict
from parity.core.store import Bundle

LOADING, FREE, BARE, FORCED, COMPARING, MEASURING = (
    "loading of the candidate", "free run", "free run without hooks", "forced run", "comparison",
    "operator ledger",
)  # fmt: skip
"""What can be done when a candidate dies."""
RUNS = (FREE, BARE, FORCED)
"""In these it reaches points."""


@dataclass(frozen=True)
class Death:
    """How a candidate ended, and where."""

    how: str
    """After "the candidate": ``was killed by SIGSEGV``, ``hung: ...``."""
    step: str
    """What was done with it, one of those above."""
    point: str
    """The last point it had reached in this step; empty for none."""
    firing: int = 0

    @property
    def told(self) -> str:
        """In a sentence without its subject."""
        times = f" (firing {self.firing})" if self.firing else ""
        after = f"after {self.point}{times}" if self.point else "before any point was reached"
        return f"{self.how}, in the {self.step}, {after}"


def rows_of(
    schedule: Sequence[Firing], bundle: Bundle, case: str, dtype: str, mode: str, death: Death
) -> list[Row]:
    """A row for every firing that was to be compared, none of which passes."""
    guilty = _at_work_on(schedule, death)
    cause = schedule[guilty].point.name
    lost = f"not compared: the candidate {death.how}; explained by {cause}"
    rows = []
    for order, firing in enumerate(schedule):
        own = order == guilty
        recorded = bundle.get(firing.point.name, firing.index)
        row = Row(
            case=case, dtype=dtype, mode=mode, order=order, point=firing.point.name,
            stage=firing.stage, kind=firing.point.kind, firing=firing.index,
            verdict=Verdict.MISSING if own else Verdict.VICTIM,
            message=f"the candidate {death.told}" if own else lost,
            cause=None if own else cause,
            shape=() if recorded is None else bundle.tensor(recorded.value).shape,
            reference_dtype="" if recorded is None else recorded.dtype,
        )  # fmt: skip
        rows.append(row)
    return rows


def coverage_of(
    schedule: Sequence[Firing], bundle: Bundle, case: str, dtype: str, mode: str
) -> Coverage:
    """What was to be compared, and that the candidate left nothing to compare."""
    return Coverage(
        case=case,
        dtype=dtype,
        declared=len(schedule),
        reference=sum(bundle.get(f.point.name, f.index) is not None for f in schedule),
        free=0,
        forced_declared=sum(firing.point.module is not None for firing in schedule),
        forced=0,
        mode=mode,
    )


def _at_work_on(schedule: Sequence[Firing], death: Death) -> int:
    """Number of the first firing after the last one reached; the last one where there is none."""
    reached = [
        order
        for order, firing in enumerate(schedule)
        if (firing.point.name, firing.index) == (death.point, death.firing)
    ]
    if reached:
        return min(reached[0] + 1, len(schedule) - 1)
    if death.step == COMPARING:
        return len(schedule) - 1
    if death.step in (FREE, BARE):
        return 0
    model = (n for n, firing in enumerate(schedule) if firing.point.module is not None)
    return next(model, 0)
