"""Rows as a flat CSV table, one line a row."""

from __future__ import annotations

from parity.core.rows import RunResult
from parity.report.flat import cells, columns
from parity.report.plain_io import encode_float


def to_csv(result: RunResult) -> str:
    """Write the rows as CSV.

    An empty cell is an absent value; a value that is not finite is ``NaN``, ``Infinity`` or
    ``-Infinity``, as in the JSON. Line breaks inside a text become spaces, so that a line is a row.

    Returns:
        The table with a header line, also for a run without rows.
    """
    import pandas as pd  # half a second, and only this function needs it

    names = [one.name for one in columns()]
    flat = ({name: _cell(value) for name, value in cells(row).items()} for row in result.rows)
    table = pd.DataFrame([[row.get(name, "") for name in names] for row in flat], columns=names,
                         dtype=object)  # fmt: skip
    text: str = table.to_csv(index=False, lineterminator="\n")
    return text


def _cell(value: object) -> object:
    """Return one value as a cell."""
    if isinstance(value, tuple):
        return " ".join(map(str, value))
    if isinstance(value, float):
        return encode_float(value)
    return " ".join(value.splitlines()) if isinstance(value, str) else value
