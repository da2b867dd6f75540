"""What the page shows, computed from a run: plain values, no HTML."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from parity.core.rows import Row, RunResult, Verdict
from parity.report.anchors import anchors
from parity.report.counts import (
    CountView,
    OverrideView,
    Tally,
    count_views,
    override_views,
    tallies,
)
from parity.report.depth import CaseDepth, case_depths
from parity.report.dtypes import DtypeView, dtype_views
from parity.report.figures import at_fault
from parity.report.groups import Group, group
from parity.report.headline import Headline, headline
from parity.report.kernels import KernelTable, kernel_table
from parity.report.ledger import LedgerView, ledger_view
from parity.report.matrix import Matrix, matrix
from parity.report.modes import ModesView, modes_view
from parity.report.panels import Panel, panel
from parity.report.provenance import Facts, provenance_view
from parity.report.selection import Selection, select
from parity.report.table import FigureView, RowView, figure_view, row_view
from parity.report.text import MESSAGE_LIMIT, clean
from parity.report.words import TERMS

_RANK = {Verdict.GUILTY: 0, Verdict.DRIFT: 2, Verdict.VICTIM: 3, Verdict.ABSENT: 4, Verdict.PASS: 5}


@dataclass(frozen=True)
class GroupView:
    """A line of the overview: one case in one dtype."""

    case: str
    dtype: str
    passed: bool
    rows: int
    compared: int
    passing: int
    guilty: int
    victims: int
    other: int
    worst: FigureView | None
    """Worst local figure."""
    worst_point: str
    worst_anchor: str
    panel: str
    """Anchor of the panel in the figure."""


@dataclass(frozen=True)
class ReportView:
    """Everything on the page."""

    headline: Headline
    counts: tuple[CountView, ...]
    tallies: tuple[Tally, ...]
    overrides: tuple[OverrideView, ...]
    dtypes: tuple[DtypeView, ...]
    """Empty where the run is in one dtype."""
    groups: tuple[GroupView, ...]
    provenance: tuple[Facts, ...]
    not_compared: tuple[str, ...]
    invalid: tuple[str, ...]
    """Proofs of the run that failed."""
    ledger: LedgerView | None
    panels: tuple[Panel, ...]
    """Those with something guilty first, then what else fails, then run order."""
    depths: tuple[CaseDepth, ...]
    """The same panels, case by case."""
    matrix: Matrix
    modes: ModesView | None
    rows: tuple[RowView, ...]
    """Guilty first, then what else is at fault, drift, victims, passes; each in run order."""
    selection: Selection
    """Those that stand in the page itself."""
    choices: tuple[tuple[str, tuple[str, ...]], ...]
    """What the table can be filtered by: a name, and the values that occur."""
    terms: tuple[tuple[str, str], ...]
    kernels: KernelTable


def view(result: RunResult) -> ReportView:
    """Compute the page of a run."""
    groups = group(result.rows)
    # Case by case and dtype by dtype, whatever order they ran in: a panel is a run of rows.
    ordered = [row for one in groups for row in one.rows]
    names = list(anchors(ordered))
    ids = dict(zip(map(id, ordered), names, strict=True))
    panels = tuple(_panels(groups, ids))
    urgent = sorted(zip(groups, panels, strict=True), key=lambda item: _urgency(item[0]))
    rows = _rows(ordered, names)
    return ReportView(
        headline=headline(result, groups, ids),
        counts=count_views(result),
        tallies=tallies(result),
        overrides=override_views(result),
        dtypes=dtype_views(result.rows, ids),
        groups=tuple(
            _group_view(one, drawn.anchor, ids) for one, drawn in zip(groups, panels, strict=True)
        ),
        provenance=provenance_view(result.provenance),
        not_compared=tuple(clean(item, MESSAGE_LIMIT) for item in result.not_compared),
        invalid=tuple(clean(item, MESSAGE_LIMIT) for item in result.invalid),
        ledger=ledger_view(result),
        panels=tuple(drawn for _, drawn in urgent),
        depths=case_depths(drawn for _, drawn in urgent),
        matrix=matrix(ordered, ids),
        modes=modes_view(ordered, ids),
        rows=rows,
        selection=select(rows),
        choices=_choices(rows),
        terms=TERMS,
        kernels=kernel_table(result.kernels),
    )


def _panels(groups: Sequence[Group], ids: Mapping[int, str]) -> Iterator[Panel]:
    """The panel of every group, with the number of its first row."""
    first = 0
    for number, one in enumerate(groups, 1):
        yield panel(one, number, first, ids)
        first += len(one.rows)


def _rows(ordered: Sequence[Row], names: Sequence[str]) -> tuple[RowView, ...]:
    """The table's lines, guilty first, each linked to what made it a victim."""
    faults = {
        (row.case, row.ran_in, row.point): name
        for row, name in zip(reversed(ordered), reversed(names), strict=True)
        if at_fault(row)
    }
    order = sorted(enumerate(ordered), key=lambda item: (rank(item[1]), item[0]))
    return tuple(row_view(row, number, names[number], faults) for number, row in order)


def rank(row: Row) -> int:
    """Return the place of a row's verdict in the table: guilty 0, passing last."""
    return _RANK.get(row.verdict, 1)


def _urgency(one: Group) -> int:
    """Return the place of a panel: something guilty, something else at fault, failing, passing."""
    return min((rank(row) for row in one.rows), default=len(_RANK))


def _group_view(one: Group, drawn: str, ids: dict[int, str]) -> GroupView:
    """Compute a line of the overview."""
    worst = one.worst_local
    return GroupView(
        case=clean(one.case),
        dtype=clean(one.dtype),
        passed=one.passed,
        rows=len(one.rows),
        compared=one.compared,
        passing=one.count(Verdict.PASS),
        guilty=one.count(Verdict.GUILTY),
        victims=one.count(Verdict.VICTIM),
        other=one.other,
        worst=None if worst is None else figure_view(worst[1]),
        worst_point="" if worst is None else clean(worst[0].point),
        worst_anchor="" if worst is None else ids[id(worst[0])],
        panel=drawn,
    )


def _choices(rows: tuple[RowView, ...]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Collect the values that the table can be filtered by, as they first appear in the run."""
    in_order = sorted(rows, key=lambda row: row.number)
    modes = tuple(dict.fromkeys(row.mode for row in in_order))
    return (
        ("verdict", tuple(dict.fromkeys(row.verdict for row in rows))),
        ("case", tuple(dict.fromkeys(row.case for row in in_order))),
        ("dtype", tuple(dict.fromkeys(row.dtype for row in in_order))),
        *([("mode", modes)] if len(modes) > 1 else []),
        ("stage", tuple(dict.fromkeys(row.stage for row in in_order))),
    )
