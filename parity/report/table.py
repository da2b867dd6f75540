"""What a line of the table of points shows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from parity.core.rows import Comparison, Kind, Row, Verdict
from parity.report.figures import Worst, end_figure, local_figure, shown_difference
from parity.report.panels import label
from parity.report.text import MESSAGE_LIMIT, clean, number, pair, plural

_NO_SCALE = 1e30
"""Stands for infinity where the page's script sorts."""


@dataclass(frozen=True)
class FigureView:
    """A worst figure against its gate."""

    text: str
    """``1.32 / 8``: ratio and gate; or ``equal``, ``3 of 96 differ``."""
    where: str
    """``worst token 17``."""
    ok: bool
    sort: str
    """Use of the gate, as a number the page's script can sort by."""
    bar: int | None
    """Length of the bar in percent; the gate is at 50. ``None``: no bar."""


@dataclass(frozen=True)
class DifferenceView:
    """The largest difference of a comparison, with both values there."""

    size: str
    where: str
    reference: str
    candidate: str
    sort: str


@dataclass(frozen=True)
class RowView:
    """A line of the table."""

    anchor: str
    number: int
    """Place in run order, from 0."""
    verdict: str
    style: str
    """CSS class: ``pass``, ``guilty``, ``victim``, ``drift`` or ``fault``."""
    point: str
    message: str
    """Empty for a victim: its figures say how much, and its cause says why."""
    suggestions: tuple[str, ...]
    """What to try, the best first."""
    notes: tuple[str, ...]
    cause: str
    cause_anchor: str
    case: str
    dtype: str
    mode: str
    ran_in: str
    """Dtype and mode, as they are shown."""
    stage: str
    local: FigureView | None
    end: FigureView | None
    difference: DifferenceView | None


def row_view(
    row: Row, place: int, anchor: str, faults: Mapping[tuple[str, str, str], str]
) -> RowView:
    """Compute a line; ``faults`` has the anchor of what is at fault by case, dtype and point."""
    cause = row.cause or ""
    explained = row.verdict is Verdict.VICTIM and bool(cause)
    return RowView(
        anchor=anchor,
        number=place,
        verdict=row.verdict.value,
        style=style(row.verdict),
        point=label(row),
        message="" if explained else clean(row.message, MESSAGE_LIMIT),
        suggestions=tuple(clean(text, MESSAGE_LIMIT) for text in row.suggestions),
        notes=tuple(_notes(row)),
        cause=clean(cause),
        cause_anchor=faults.get((row.case, row.ran_in, cause), ""),
        case=clean(row.case),
        dtype=clean(row.dtype),
        mode=clean(row.mode),
        ran_in=clean(row.ran_in),
        stage=clean(row.stage),
        local=_local_view(row),
        end=figure_view(end_figure(row)),
        difference=difference_view(row),
    )


def style(verdict: Verdict) -> str:
    """Return the CSS class of a verdict; those that have no look of their own share ``fault``."""
    own = {Verdict.PASS, Verdict.GUILTY, Verdict.VICTIM, Verdict.DRIFT, Verdict.ABSENT}
    return verdict.value.lower() if verdict in own else "fault"


def figure_view(worst: Worst | None) -> FigureView | None:
    """Compute the cell of a figure."""
    if worst is None:
        return None
    figure = worst.figure
    return FigureView(
        f"{number(figure.ratio)} / {number(figure.gate)}",
        worst.where,
        figure.ok,
        _sortable(worst.use),
        _bar(worst.use),
    )


def _local_view(row: Row) -> FigureView | None:
    """Compute the local cell, which for exact values says how many differ."""
    worst = figure_view(local_figure(row))
    if row.mismatches is None or (worst is not None and row.kind in (Kind.FLOAT, Kind.TABLE)):
        return worst
    if row.mismatches == 0:
        return FigureView("equal", "", True, "0", None)
    text = f"{row.mismatches:,} of {math.prod(row.shape):,} differ"
    return FigureView(text, "", False, _sortable(math.inf), None)


def difference_view(row: Row) -> DifferenceView | None:
    """Compute the cell of the largest difference."""
    shown = shown_difference(row)
    if shown is None:
        return None
    side, found = shown
    reference, candidate = pair(found.reference_value, found.candidate_value)
    index = f"[{', '.join(map(str, found.max_index))}]"
    where = f"{index} end to end" if side == "end to end" else index
    return DifferenceView(
        number(found.max_abs), where, reference, candidate, _sortable(found.max_abs)
    )


def _notes(row: Row) -> list[str]:
    """Collect what has to be known beside the verdict."""
    notes = []
    if row.excluded_rows:
        notes.append(f"{plural(row.excluded_rows, 'padding token')} left out")
    nonfinite = max((side.nonfinite for side in (row.local, row.end_to_end) if side), default=0)
    if nonfinite:
        notes.append(f"{plural(nonfinite, 'value')} not finite")
    shown = shown_difference(row)
    if shown is not None:
        notes += _range_notes(shown[1])
    if row.candidate_shape is not None and row.candidate_shape != row.shape:
        notes.append(f"shape {list(row.shape)} became {list(row.candidate_shape)}")
    if row.candidate_dtype and row.candidate_dtype != row.reference_dtype:
        notes.append(clean(f"{row.reference_dtype} became {row.candidate_dtype}"))
    return notes


def _range_notes(found: Comparison) -> list[str]:
    """Say what both sides hold alike that is no number, and what is at the end of the range."""
    notes = []
    odd = found.reference_nonfinite
    if odd is not None:
        count = odd.nan + odd.plus_inf + odd.minus_inf
        notes.append(f"{plural(count, 'value')} not finite in the reference")
    if found.saturated or found.reference_saturated:
        counts = f"{found.reference_saturated:,} in the reference, {found.saturated:,} here"
        notes.append(f"values at the end of the dtype's range: {counts}")
    return notes


def _bar(use: float) -> int:
    """Map use of a gate to a length: a thousandth 0, the gate 50, a thousandfold 100 percent."""
    if use <= 0:
        return 0
    return 100 if math.isinf(use) else round(min(100.0, max(0.0, 50 + 50 * math.log10(use) / 3)))


def _sortable(value: float) -> str:
    """Write a number for the page's script, which knows no NaN: it sorts as infinite."""
    return f"{value if math.isfinite(value) else _NO_SCALE:.4g}"
