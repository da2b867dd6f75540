"""The ledger as a table in a terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

COLUMNS = ("primitive", "dtype", "result", "device", "role", "elements", "mean ulp", "max ulp",
           "ratio")  # fmt: skip
_NUMBERS = frozenset({"elements", "mean ulp", "max ulp", "ratio"})


def lines(rows: Sequence[dict[str, Any]]) -> list[str]:
    """A line for each row, the largest ratio of a dtype first, under a line of names.

    What has no ratio, because the device has no such kernel, comes before it.
    """
    order = list(dict.fromkeys(row["dtype"] for row in rows))
    ranked = sorted(rows, key=lambda row: (order.index(row["dtype"]), -_rank(row["ratio"])))
    cells = [COLUMNS, *(tuple(_cell(row, name) for name in COLUMNS) for row in ranked)]
    widths = [max(len(line[at]) for line in cells) for at in range(len(COLUMNS))]
    return ["  ".join(_padded(line, widths)).rstrip() for line in cells]


def _rank(ratio: float) -> float:
    return math.inf if math.isnan(ratio) else ratio


def _cell(row: dict[str, Any], column: str) -> str:
    value = row[column.replace(" ", "_")]
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _padded(line: Sequence[str], widths: Sequence[int]) -> list[str]:
    return [
        text.rjust(width) if name in _NUMBERS else text.ljust(width)
        for text, width, name in zip(line, widths, COLUMNS, strict=True)
    ]
