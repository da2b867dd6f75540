"""Rows as a Parquet table: the columns of the CSV, with their types.

An absent value is null and a value that is no number is NaN, so that the two stay apart. The file's
own metadata holds the run's provenance under ``parity``.
"""

from __future__ import annotations

import json
from typing import Any

from parity.core.rows import RunResult
from parity.report.flat import Column, cells, columns
from parity.report.rows_io import FORMAT, FORMAT_NAME, plain


def missing() -> str | None:
    """Why Parquet cannot be written here; ``None`` if it can."""
    try:
        import pyarrow.parquet  # noqa: F401  # a tenth of a second, and only this file needs it
    except ImportError as error:  # not there, or made for another NumPy
        reason = str(error).splitlines()[0] if str(error) else "ImportError"
        return f"no rows.parquet: {reason}; install it with `pip install 'qwen2vl-ms[parquet]'`"
    return None


def to_parquet(result: RunResult) -> bytes:
    """Write the rows as Parquet; needs what `missing` asks for.

    Returns:
        The file, also for a run without rows.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    flat = [cells(row) for row in result.rows]
    arrays = [_array(pa, one, [row.get(one.name) for row in flat]) for one in columns()]
    about = {"format_name": FORMAT_NAME, "format": FORMAT, "passed": result.passed,
             "provenance": plain(result.provenance)}  # fmt: skip
    schema = pa.schema(
        [pa.field(one.name, _type(pa, one)) for one in columns()],
        metadata={"parity": json.dumps(about)},
    )
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_arrays(arrays, schema=schema), sink)
    written: bytes = sink.getvalue().to_pybytes()
    return written


def _array(pa: Any, column: Column, values: list[object]) -> Any:
    """One column; text that UTF-8 cannot hold (half of a surrogate pair) is written escaped."""
    if column.kind is str:
        values = [_text(value) for value in values]
    return pa.array(values, type=_type(pa, column), from_pandas=False)


def _type(pa: Any, column: Column) -> Any:
    """The Arrow type of a column."""
    kind = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}[column.kind]
    return pa.list_(kind) if column.listed else kind


def _text(value: object) -> object:
    """Text, or a tuple of it, that UTF-8 can hold."""
    if isinstance(value, tuple):
        return [_text(one) for one in value]
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value
