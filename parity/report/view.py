"""What the page shows, computed from a run: plain values, no HTML."""

from __future__ import annotations

from dataclasses import dataclass

from parity.core.rows import Row, RunResult, Verdict
from parity.report.anchors import anchors
from parity.report.dtypes import DtypeView, dtype_views
from parity.report.figures import at_fault
from parity.report.groups import Group, group
from parity.report.headline import Headline, headline
from parity.report.kernels import KernelTable, kernel_table
from parity.report.ledger import LedgerView, ledger_view
from parity.report.panels import Panel, panel
from parity.report.table import FigureView, RowView, figure_view, row_view
from parity.report.text import MESSAGE_LIMIT, clean
from parity.report.words import MEANINGS, TERMS

OPEN_PANELS = 3
"""Panels shown at once; the others unfold."""
_RANK = {Verdict.GUILTY: 0, Verdict.DRIFT: 2, Verdict.VICTIM: 3, Verdict.ABSENT: 4, Verdict.PASS: 5}


@dataclass(frozen=True)
class CountView:
    """How many rows have a verdict, with its meaning and the next step."""

    verdict: str
    count: int
    means: str
    next: str


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
    dtypes: tuple[DtypeView, ...]
    """Empty where the run is in one dtype."""
    groups: tuple[GroupView, ...]
    provenance: tuple[tuple[str, str], ...]
    not_compared: tuple[str, ...]
    invalid: tuple[str, ...]
    """Proofs of the run that failed."""
    ledger: LedgerView | None
    panels: tuple[Panel, ...]
    """Those with something guilty first, then what else fails, then run order."""
    open_panels: int
    rows: tuple[RowView, ...]
    """Guilty first, then what else is at fault, drift, victims, passes; each in run order."""
    choices: tuple[tuple[str, tuple[str, ...]], ...]
    """What the table can be filtered by: a name, and the values that occur."""
    terms: tuple[tuple[str, str], ...]
    kernels: KernelTable


def view(result: RunResult) -> ReportView:
    """Compute the page of a run."""
    names = list(anchors(result.rows))
    ids = dict(zip(map(id, result.rows), names, strict=True))
    groups = group(result.rows)
    by_panel = [(one, panel(one, number, ids)) for number, one in enumerate(groups, 1)]
    panels = tuple(drawn for _, drawn in sorted(by_panel, key=lambda item: _urgency(item[0])))
    guilty = {
        (row.case, row.ran_in, row.point): ids[id(row)]
        for row in reversed(result.rows)
        if at_fault(row)
    }
    order = sorted(enumerate(result.rows), key=lambda item: (rank(item[1]), item[0]))
    rows = tuple(row_view(row, number, names[number], guilty) for number, row in order)
    return ReportView(
        headline=headline(result, groups, ids),
        counts=_counts(result),
        dtypes=dtype_views(result.rows, ids),
        groups=tuple(_group_view(one, drawn.anchor, ids) for one, drawn in by_panel),
        provenance=tuple(_flatten(result.provenance)),
        not_compared=tuple(clean(item, MESSAGE_LIMIT) for item in result.not_compared),
        invalid=tuple(clean(item, MESSAGE_LIMIT) for item in result.invalid),
        ledger=ledger_view(result),
        panels=panels,
        open_panels=OPEN_PANELS,
        rows=rows,
        choices=_choices(rows),
        terms=TERMS,
        kernels=kernel_table(result.kernels),
    )


def rank(row: Row) -> int:
    """Return the place of a row's verdict in the table: guilty 0, passing last."""
    return _RANK.get(row.verdict, 1)


def _urgency(one: Group) -> int:
    """Return the place of a panel: something guilty, something else at fault, failing, passing."""
    return min((rank(row) for row in one.rows), default=len(_RANK))


def _counts(result: RunResult) -> tuple[CountView, ...]:
    """Count every verdict, those nobody got included."""
    counts = result.counts
    return tuple(
        CountView(verdict.value, counts[verdict.value], known.means, known.next)
        for verdict, known in MEANINGS.items()
    )


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


def _flatten(value: object, name: str = "") -> list[tuple[str, str]]:
    """Return nested provenance as names with dots and short texts."""
    if isinstance(value, dict):
        pairs = ((f"{name}.{key}" if name else str(key), item) for key, item in value.items())
        return [entry for key, item in pairs for entry in _flatten(item, key)]
    if isinstance(value, (list, tuple)):
        value = ", ".join(map(str, value))
    return [(clean(name), clean(str(value), MESSAGE_LIMIT))]


def _choices(rows: tuple[RowView, ...]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Collect the values that the table can be filtered by, as they first appear in the run."""
    in_order = sorted(rows, key=lambda row: row.number)
    return (
        ("verdict", tuple(dict.fromkeys(row.verdict for row in rows))),
        ("case", tuple(dict.fromkeys(row.case for row in in_order))),
        ("dtype", tuple(dict.fromkeys(row.dtype for row in in_order))),
        ("stage", tuple(dict.fromkeys(row.stage for row in in_order))),
    )
