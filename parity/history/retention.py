"""Which runs are old enough to go."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from parity.history.database import RunInfo
    from parity.history.environment import Environment


def surplus(
    runs: Sequence[RunInfo], now: datetime, keep_days: float | None, keep_runs: int | None
) -> list[RunInfo]:
    """The runs that neither option keeps, the oldest first; an option that is None keeps nothing.

    Args:
        runs: All runs, the oldest first.
        now: From when the days count, UTC.
        keep_days: Runs made within so many days stay.
        keep_runs: So many of the newest of each environment stay.
    """
    newer: Counter[Environment] = Counter()
    gone = []
    for one in reversed(runs):
        recent = keep_days is not None and now - one.when <= timedelta(days=keep_days)
        if not recent and newer[one.environment] >= (keep_runs or 0):
            gone.append(one)
        newer[one.environment] += 1
    return gone[::-1]
