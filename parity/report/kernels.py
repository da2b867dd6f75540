"""The operator ledger as a small table: for each primitive and dtype its coarsest kernel."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from parity.report.text import clean, number


@dataclass(frozen=True)
class KernelCell:
    """The largest ratio of one primitive in one dtype, and where it was measured."""

    ratio: str
    """Error over that of rounding once."""
    ulp: str
    """Largest distance from the truth."""
    where: str
    """Kind of module, and what the result is rounded to."""


@dataclass(frozen=True)
class KernelView:
    """A line of the table."""

    primitive: str
    cells: tuple[KernelCell | None, ...]
    """One a dtype; ``None`` where it was not measured."""


@dataclass(frozen=True)
class KernelTable:
    """The table; without lines where nothing was measured."""

    dtypes: tuple[str, ...]
    lines: tuple[KernelView, ...]
    """The coarsest primitive first."""
    case: str
    """Whose operands were measured."""


def kernel_table(ledger: Sequence[Mapping[str, object]]) -> KernelTable:
    """Compute the table of a run's ledger, whose rows `parity.kernels.ledger` describes."""
    dtypes = tuple(dict.fromkeys(_text(row, "dtype") for row in ledger))
    groups: dict[str, list[Mapping[str, object]]] = {}
    for row in ledger:
        groups.setdefault(_text(row, "primitive"), []).append(row)
    ranked = sorted(groups.items(), key=lambda item: -max(map(_ratio, item[1])))
    lines = [KernelView(name, tuple(_cell(rows, one) for one in dtypes)) for name, rows in ranked]
    cases = dict.fromkeys(_text(row, "case") for row in ledger)
    return KernelTable(dtypes, tuple(lines), ", ".join(cases))


def _cell(rows: Sequence[Mapping[str, object]], dtype: str) -> KernelCell | None:
    """The row of ``dtype`` with the largest ratio."""
    found = [row for row in rows if _text(row, "dtype") == dtype]
    if not found:
        return None
    worst = max(found, key=_ratio)
    where = f"{_text(worst, 'role')}, {_text(worst, 'result')}, {_text(worst, 'device')}"
    return KernelCell(_number(worst, "ratio"), _number(worst, "max_ulp"), where)


def _ratio(row: Mapping[str, object]) -> float:
    """The ratio to rank by; what is not a number is worst."""
    value = row.get("ratio")
    return value if isinstance(value, float) and math.isfinite(value) else math.inf


def _number(row: Mapping[str, object], name: str) -> str:
    """A figure of the ledger; files hold what is not finite as text."""
    value = row.get(name)
    return number(value) if isinstance(value, float) else clean(str(value))


def _text(row: Mapping[str, object], name: str) -> str:
    return clean(str(row.get(name, "")))
