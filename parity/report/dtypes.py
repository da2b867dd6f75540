"""One line for every dtype of a run: what passes, and what is nearest to its gate in it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from parity.core.rows import Row, Verdict
from parity.report.figures import Worst, end_figure, local_figure
from parity.report.panels import label
from parity.report.table import FigureView, figure_view
from parity.report.text import clean


@dataclass(frozen=True)
class Extreme:
    """The figure of one kind that uses most of its gate, and where it is."""

    figure: FigureView
    point: str
    case: str
    anchor: str


@dataclass(frozen=True)
class DtypeView:
    """A line of the summary."""

    dtype: str
    passed: bool
    rows: int
    passing: int
    local: Extreme | None
    end: Extreme | None


def dtype_views(rows: Sequence[Row], ids: Mapping[int, str]) -> tuple[DtypeView, ...]:
    """Compute a line for each dtype, in run order; ``ids`` has every row's anchor by ``id(row)``.

    A run in a single dtype has none: the headline says it all.
    """
    names = list(dict.fromkeys(row.ran_in for row in rows))
    if len(names) < 2:
        return ()
    return tuple(_view(name, [row for row in rows if row.ran_in == name], ids) for name in names)


def _view(name: str, rows: Sequence[Row], ids: Mapping[int, str]) -> DtypeView:
    passing = sum(row.verdict is Verdict.PASS for row in rows)
    return DtypeView(
        dtype=clean(name),
        passed=all(row.verdict in (Verdict.PASS, Verdict.ABSENT) for row in rows),
        rows=len(rows),
        passing=passing,
        local=_extreme(rows, local_figure, ids),
        end=_extreme(rows, end_figure, ids),
    )


def _extreme(
    rows: Iterable[Row], figure: Callable[[Row], Worst | None], ids: Mapping[int, str]
) -> Extreme | None:
    """The row whose figure uses most of its gate; the first of equals."""
    found = [(row, worst) for row in rows if (worst := figure(row)) is not None]
    if not found:
        return None
    row, worst = max(found, key=lambda item: item[1].use)
    view = figure_view(worst)
    return None if view is None else Extreme(view, label(row), clean(row.case), ids[id(row)])
