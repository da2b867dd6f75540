"""Rows as a flat CSV table: one line a row, ``local.whole.ratio`` and the like as columns."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from enum import Enum

from parity.core.nonfinite import NonFinite
from parity.core.rows import Comparison, Row, RunResult, Slice
from parity.core.standards import Standards
from parity.report.figures import end_figure, local_figure
from parity.report.plain_io import encode_float

_PARTS: dict[str, type[Slice] | type[Standards] | type[NonFinite]] = {
    "whole": Slice, "row": Slice, "column": Slice, "update": Slice, "standards": Standards,
    "candidate_nonfinite": NonFinite, "reference_nonfinite": NonFinite,
}  # fmt: skip
_SIDES = ("local", "end_to_end")


def columns() -> list[str]:
    """Name every column, in order: the row's own, then each side's worst figure and all figures."""
    own = [one.name for one in fields(Row) if one.name not in _SIDES]
    return own + [f"{side}.{name}" for side in _SIDES for name in _side_columns()]


def _side_columns() -> list[str]:
    """Name the columns of one side, without the side."""
    figures = [f"{name}.{one.name}" for name, part in _PARTS.items() for one in fields(part)]
    own = [one.name for one in fields(Comparison) if one.name not in _PARTS]
    return ["worst", "worst.use_of_gate", *figures, *own]


def to_csv(result: RunResult) -> str:
    """Write the rows as CSV.

    An empty cell is an absent value; a value that is not finite is ``NaN``, ``Infinity`` or
    ``-Infinity``, as in the JSON. Line breaks inside a text become spaces, so that a line is a row.

    Returns:
        The table with a header line, also for a run without rows.
    """
    import pandas as pd  # half a second, and only this function needs it

    names = columns()
    cells = [[flat.get(name, "") for name in names] for flat in map(_flat, result.rows)]
    table = pd.DataFrame(cells, columns=names, dtype=object)
    text: str = table.to_csv(index=False, lineterminator="\n")
    return text


def _flat(row: Row) -> dict[str, object]:
    """Return the cells of a row that are not empty."""
    flat = {
        one.name: _cell(getattr(row, one.name)) for one in fields(row) if one.name not in _SIDES
    }
    for side, worst in (("local", local_figure(row)), ("end_to_end", end_figure(row))):
        comparison: Comparison | None = getattr(row, side)
        if comparison is None or worst is None:
            continue
        flat[f"{side}.worst"] = worst.name
        flat[f"{side}.worst.use_of_gate"] = _cell(worst.use)
        flat.update({f"{side}.{name}": cell for name, cell in _figures(comparison)})
    return flat


def _figures(comparison: Comparison) -> Iterator[tuple[str, object]]:
    """Yield the cells of one side, without the side's name."""
    for name in _PARTS:
        part = getattr(comparison, name)
        if part is not None:
            yield from ((f"{name}.{f.name}", _cell(getattr(part, f.name))) for f in fields(part))
    for one in fields(comparison):
        if one.name not in _PARTS:
            yield one.name, _cell(getattr(comparison, one.name))


def _cell(value: object) -> object:
    """Return one value as a cell."""
    if value is None:
        return ""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, tuple):
        return " ".join(map(str, value))
    if isinstance(value, float):
        return encode_float(value)
    return " ".join(value.splitlines()) if isinstance(value, str) else value
