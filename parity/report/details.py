"""What the page shows when a reader looks into a point: plain values, no HTML."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from parity.core.detail import LOCAL, Detail, Side
from parity.core.inputs_shown import InputsShown
from parity.core.looked_into import MOST
from parity.core.rows import Row, RunResult
from parity.core.sources import Source
from parity.report.anchors import anchors
from parity.report.figures import at_fault, shown_difference
from parity.report.histograms import HistogramView, histogram_view
from parity.report.modes import in_both_modes
from parity.report.pictures import PicturesView, pictures_view
from parity.report.position_ids import IdsView, ids_view
from parity.report.profiles import ProfileView, profile_view
from parity.report.prompts import PromptView, prompt_view
from parity.report.table import DifferenceView, FigureView, row_view
from parity.report.text import MESSAGE_LIMIT, clean, number, plural

OPEN = 1
"""Points at fault that are unfolded at once."""
KERNELS = 4
"""Rows of the operator ledger that are shown of one kind of module: the coarsest."""


@dataclass(frozen=True)
class SideView:
    """The error of one execution."""

    scope: str
    where: str
    """The module inside at whose input it was found; empty for the point's own value."""
    histogram: HistogramView | None
    profiles: tuple[ProfileView, ...]
    pictures: PicturesView | None
    prompt: PromptView | None
    over: bool
    """Whether anything of it is over a gate."""

    @property
    def drawn(self) -> bool:
        """Whether this is the execution whose error is drawn on the input."""
        return self.pictures is not None or self.prompt is not None


@dataclass(frozen=True)
class TriedView:
    """A hypothesis."""

    name: str
    sentence: str


@dataclass(frozen=True)
class KernelRow:
    """A row of the operator ledger for this kind of module."""

    primitive: str
    result: str
    ratio: str
    ulp: str


@dataclass(frozen=True)
class DetailView:
    """One point looked into."""

    anchor: str
    """Of this block."""
    row_anchor: str
    """Of its line in the table."""
    verdict: str
    style: str
    point: str
    case: str
    dtype: str
    firing: int
    message: str
    suggestions: tuple[str, ...]
    local: FigureView | None
    end: FigureView | None
    difference: DifferenceView | None
    modes: str
    """How it compares with the same point in the other mode; empty if there is none."""
    where: str
    """In one sentence, where the error is; empty if no picture or prompt shows it."""
    command: str
    candidate: str
    """``VisionAttention, qwen2vl_ms/vision.py:77``."""
    built: str
    """``qwen2vl_ms/vision.py:189``."""
    reference: str
    sides: tuple[SideView, ...]
    ids: IdsView | None
    integers: tuple[str, str] | None
    """A few integers of both sides."""
    fitting: tuple[TriedView, ...]
    failing: tuple[TriedView, ...]
    """Hypotheses that do not fit."""
    kernels: tuple[KernelRow, ...]
    open: bool


@dataclass(frozen=True)
class DetailsView:
    """The section."""

    items: tuple[DetailView, ...]
    note: str
    """How many rows there are details of, and of how many."""


def details_view(result: RunResult) -> DetailsView | None:
    """Compute the section of a run; ``None`` where nothing was looked into."""
    names = dict(zip(map(id, result.rows), anchors(result.rows), strict=True))
    rows: dict[tuple[str, str, str, str, int], Row] = {}
    for row in result.rows:
        rows.setdefault((row.case, row.dtype, row.mode, row.point, row.firing), row)
    beside = in_both_modes(result.rows)
    items: list[DetailView] = []
    for detail in result.details[:MOST]:
        found = rows.get((detail.case, detail.dtype, detail.mode, detail.point, detail.firing))
        if found is not None:
            is_open = len(items) < OPEN and at_fault(found)
            item = _item(detail, found, result, names[id(found)], is_open)
            items.append(replace(item, modes=beside.get(id(found), "")))
    if not items:
        return None
    return DetailsView(tuple(items), _note(len(items), len(result.rows)))


def _note(shown: int, rows: int) -> str:
    """Say what there are no details of, so that nobody takes the rest for right."""
    return (
        f"Details of {shown:,} of {plural(rows, 'row')}: what is at fault first, then what drifts, "
        "the victims nearest to it, and what passes nearest to its gate. "
        f"At most {MOST} are kept, so that the page stays small."
    )


def _item(
    detail: Detail, row: Row, result: RunResult, row_anchor: str, is_open: bool
) -> DetailView:
    """Compute one block."""
    line = row_view(row, 0, row_anchor, {})
    shown = result.inputs.get(detail.case)
    sides = tuple(_side(one, row, shown) for one in detail.sides)
    source = result.sources.get(detail.point, Source())
    return DetailView(
        anchor=f"d-{row_anchor}",
        row_anchor=row_anchor,
        verdict=line.verdict,
        style=line.style,
        point=line.point,
        case=line.case,
        dtype=line.ran_in,
        firing=row.firing,
        message=line.message,
        suggestions=line.suggestions,
        local=line.local,
        end=line.end,
        difference=line.difference if shown_difference(row) else None,
        modes="",
        where=next((text for side in sides if (text := _where(side))), ""),
        command=clean(detail.command or "", MESSAGE_LIMIT),
        candidate=_place(source.candidate_class, source.candidate_file, source.candidate_line),
        built=_place(None, source.built_file, source.built_line),
        reference=_reference(source),
        sides=sides,
        ids=ids_view(detail.ids, shown),
        integers=_integers(detail),
        fitting=_tried(detail, True),
        failing=_tried(detail, False),
        kernels=_kernels(result.kernels, detail),
        open=is_open,
    )


def _integers(detail: Detail) -> tuple[str, str] | None:
    """Write the integers of both sides, if there are a few."""
    if detail.reference_text is None or detail.candidate_text is None:
        return None
    return (
        clean(detail.reference_text, MESSAGE_LIMIT),
        clean(detail.candidate_text, MESSAGE_LIMIT),
    )


def _side(side: Side, row: Row, shown: InputsShown | None) -> SideView:
    """Compute one execution."""
    compared = row.local if side.scope == LOCAL else row.end_to_end
    profiles = [profile_view(one, side.scope) for one in (side.tokens, side.channels)]
    cells = side.cells
    return SideView(
        clean(side.scope),
        clean(side.where),
        histogram_view(side.histogram),
        tuple(one for one in profiles if one is not None),
        None if cells is None else pictures_view(cells, shown),
        None if cells is None else prompt_view(cells, shown),
        over=compared is None or not compared.ok,
    )


def _where(side: SideView) -> str:
    """Return the sentence of a side's picture or prompt."""
    if side.pictures is not None:
        return side.pictures.sentence
    return "" if side.prompt is None else side.prompt.sentence


def _place(name: str | None, file: str | None, line: int | None) -> str:
    """Write a class, its file and its line."""
    where = "" if file is None else file if line is None else f"{file}:{line}"
    return clean(", ".join(part for part in (name, where) if part))


def _reference(source: Source) -> str:
    """Write the reference's class, its file and its version."""
    if source.reference_class is None:
        return ""
    package = f" ({clean(source.reference_package)})" if source.reference_package else ""
    return _place(source.reference_class, source.reference_file, None) + package


def _tried(detail: Detail, fits: bool) -> tuple[TriedView, ...]:
    """Return the hypotheses that fit, or those that do not."""
    return tuple(
        TriedView(clean(one.name), clean(one.sentence, MESSAGE_LIMIT))
        for one in detail.tried
        if one.fits is fits
    )


def _kernels(ledger: Sequence[Mapping[str, object]], detail: Detail) -> tuple[KernelRow, ...]:
    """Return the coarsest kernels that modules of this kind use."""
    rows: dict[tuple[object, object], Mapping[str, object]] = {}
    for one in sorted(ledger, key=_coarseness):
        if one.get("role") == detail.role and one.get("dtype") == detail.dtype:
            rows.setdefault((one.get("primitive"), one.get("result")), one)
    return tuple(
        KernelRow(
            clean(str(one.get("primitive", ""))), clean(str(one.get("result", ""))),
            _figure(one.get("ratio")), _figure(one.get("max_ulp")),
        )
        for one in list(rows.values())[:KERNELS]
    )  # fmt: skip


def _coarseness(row: Mapping[str, object]) -> float:
    """Return what the coarsest kernel is first by; what is not a number goes before all."""
    value = row.get("ratio")
    return -value if isinstance(value, float) and math.isfinite(value) else -math.inf


def _figure(value: object) -> str:
    """Write a figure of the ledger, which holds what is not finite as text."""
    return number(float(value)) if isinstance(value, (int, float)) else clean(str(value))
