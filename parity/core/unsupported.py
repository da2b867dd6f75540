"""Rows for what a device cannot compute at all: named and counted, and never passed."""

from __future__ import annotations

from collections.abc import Sequence

from parity.core.points import Firing
from parity.core.rows import Row, Verdict


def unsupported(
    schedule: Sequence[Firing], case: str, dtype: str, mode: str, reason: str
) -> list[Row]:
    """One row for each firing of ``schedule``, none of which was run.

    Args:
        schedule: in execution order.
        case: its name.
        dtype: the precision that the device lacks.
        mode: how the candidate would have executed.
        reason: why it was not run, for a person.
    """
    return [
        Row(
            case=case,
            dtype=dtype,
            mode=mode,
            order=order,
            point=firing.point.name,
            stage=firing.stage,
            kind=firing.point.kind,
            firing=firing.index,
            verdict=Verdict.UNSUPPORTED,
            message=reason,
        )
        for order, firing in enumerate(schedule)
    ]
