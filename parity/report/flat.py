"""Rows as a flat table: ``local.whole.ratio`` and the like as columns, each of one type."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from enum import Enum
from typing import Any, get_args, get_origin, get_type_hints

from parity.core.arithmetic import Arithmetic
from parity.core.nonfinite import NonFinite
from parity.core.rows import Comparison, Row, Slice
from parity.core.standards import Standards
from parity.report.figures import end_figure, local_figure

SIDES = ("local", "end_to_end")
TOLD = "arithmetic"
"""The row's own part that is a table itself."""
_PARTS: dict[str, type[Any]] = {
    "whole": Slice, "row": Slice, "column": Slice, "update": Slice, "standards": Standards,
    "candidate_nonfinite": NonFinite, "reference_nonfinite": NonFinite,
}  # fmt: skip


@dataclass(frozen=True)
class Column:
    """One column of the table."""

    name: str
    kind: type[Any]
    """``str``, ``int``, ``float`` or ``bool``: of a value, or of each in a list."""
    listed: bool = False
    """Whether a cell is a tuple of such values."""


def columns() -> list[Column]:
    """Every column, in order: the row's own, then each side's worst figure and all figures."""
    told = [_under(TOLD, one) for one in _of(Arithmetic)]
    return _of(Row) + told + [_under(side, one) for side in SIDES for one in _side_columns()]


def cells(row: Row) -> dict[str, object]:
    """The cells of a row that are not absent, by column: values as the row has them, no enums."""
    own = (one.name for one in fields(row) if one.name not in (*SIDES, TOLD))
    found = {name: _plain(getattr(row, name)) for name in own}
    if row.arithmetic is not None:
        found |= {f"{TOLD}.{one.name}": getattr(row.arithmetic, one.name)
                  for one in fields(row.arithmetic)}  # fmt: skip
    for side, worst in (("local", local_figure(row)), ("end_to_end", end_figure(row))):
        comparison: Comparison | None = getattr(row, side)
        if comparison is None or worst is None:
            continue
        found[f"{side}.worst"] = worst.name
        found[f"{side}.worst.use_of_gate"] = worst.use
        found.update({f"{side}.{name}": value for name, value in _figures(comparison)})
    return {name: value for name, value in found.items() if value is not None}


def _side_columns() -> list[Column]:
    """The columns of one side, without the side."""
    worst = [Column("worst", str), Column("worst.use_of_gate", float)]
    parts = [_under(name, one) for name, part in _PARTS.items() for one in _of(part)]
    return [*worst, *parts, *_of(Comparison)]


def _under(name: str, column: Column) -> Column:
    """A column of a part of something."""
    return Column(f"{name}.{column.name}", column.kind, column.listed)


def _of(schema: type[Any]) -> list[Column]:
    """A column for every field of a dataclass, but for those that are tables themselves."""
    hints = get_type_hints(schema)
    names = [one.name for one in fields(schema) if one.name not in (*SIDES, *_PARTS, TOLD)]
    return [_column(name, hints[name]) for name in names]


def _column(name: str, annotation: Any) -> Column:
    """The column of one field: its type without ``None``, without a tuple around it."""
    if (given := get_args(annotation)) and get_origin(annotation) is not tuple:
        annotation = next(one for one in given if one is not type(None))
    listed = get_origin(annotation) is tuple
    kind = get_args(annotation)[0] if listed else annotation
    return Column(name, str if issubclass(kind, Enum) else kind, listed)


def _figures(comparison: Comparison) -> Iterator[tuple[str, object]]:
    """Yield the cells of one side, without the side's name."""
    for name in _PARTS:
        part = getattr(comparison, name)
        if part is not None:
            yield from ((f"{name}.{one.name}", getattr(part, one.name)) for one in fields(part))
    for one in fields(comparison):
        if one.name not in _PARTS:
            yield one.name, getattr(comparison, one.name)


def _plain(value: object) -> object:
    """An enum's text; anything else as it is."""
    return value.value if isinstance(value, Enum) else value
