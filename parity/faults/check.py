"""A fault has to change something on its own inputs, or it is no fault."""

from __future__ import annotations

from collections.abc import Sequence

from parity.core.errors import ParityError
from parity.core.rows import Row
from parity.faults.fault import Fault

Figures = dict[tuple[str, int], tuple[object, ...]]


def require_change(
    fault: Fault, dtype: str, faithful: Sequence[Row], planted: Sequence[Row]
) -> None:
    """Refuse a fault that leaves every figure as it was.

    Args:
        fault: what was planted.
        dtype: in which both ran.
        faithful: the port's rows without it.
        planted: the port's rows with it, of the same case.

    Raises:
        ParityError: no figure and no number of mismatches differs.
    """
    if figures(faithful) == figures(planted):
        case = faithful[0].case if faithful else "no case"
        raise ParityError(
            f"the fault {fault.name!r} changes nothing in {dtype} in {case}: its patch of "
            f"{fault.target} does not act there; mend it, or name the cases that show it"
        )


def figures(rows: Sequence[Row]) -> Figures:
    """What was measured at every point and firing, without words."""
    return {
        (row.point, row.firing): (
            row.verdict,
            row.candidate_shape,
            row.candidate_dtype,
            row.mismatches,
            row.local,
            row.end_to_end,
        )
        for row in rows
    }
