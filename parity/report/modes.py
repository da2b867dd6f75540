"""The two modes of a run side by side: where compiled code does something else than op by op."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from parity.core.rows import GRAPH, PYNATIVE, Between, Row
from parity.report.panels import label
from parity.report.text import clean, number, plural

LIMIT = 60
"""Points that are listed of a run."""
WORDS = {
    Between.BITS: "bit for bit the same",
    Between.ROUNDING: "the same within rounding",
    Between.COMPILER: "wrong compiled and right op by op: the compiler's",
    Between.PORT: "wrong in both: the port's",
    Between.OP_BY_OP: "right compiled and wrong op by op",
}
HEADINGS = ("Bit for bit", "Within rounding", "Compiler's fault", "Port's fault", "Op by op only")
"""Short, in the order of `WORDS`."""
_URGENT = (Between.COMPILER, Between.PORT, Between.OP_BY_OP, Between.ROUNDING, Between.BITS)


@dataclass(frozen=True)
class ModeTally:
    """One dtype: how many values of the compiled port compare how with those op by op."""

    dtype: str
    counts: tuple[int, ...]
    """In the order of `WORDS`."""
    end_bits: int
    """How many are the same bit for bit end to end too."""
    total: int


@dataclass(frozen=True)
class ModePoint:
    """A point in one dtype, at the case and firing that say most about it."""

    point: str
    case: str
    dtype: str
    between: str
    """A member of `Between`."""
    words: str
    plain: str
    """Worst local ratio op by op, the block run as a whole."""
    compiled: str
    gate: str
    plain_anchor: str
    compiled_anchor: str


@dataclass(frozen=True)
class ModesView:
    """Both modes of a run."""

    tallies: tuple[ModeTally, ...]
    points: tuple[ModePoint, ...]
    """What differs first; of what does not, that whose ratios are furthest apart."""
    headings: tuple[str, ...]
    """Of the tallies' counts."""
    note: str
    """What is not listed."""


def modes_view(rows: Sequence[Row], ids: Mapping[int, str]) -> ModesView | None:
    """Compute the view; ``None`` for a run of which no point was compared in two modes.

    Args:
        rows: Of the run.
        ids: Every row's anchor, by ``id(row)``.
    """
    pairs = _pairs(rows)
    if not pairs:
        return None
    chosen: dict[tuple[str, str], tuple[Row, Row]] = {}
    for pair in sorted(pairs, key=_urgency):
        chosen.setdefault((pair[1].point, pair[1].dtype), pair)
    shown = list(chosen.values())[:LIMIT]
    return ModesView(
        tuple(_tallies(pairs)),
        tuple(_point(plain, compiled, ids) for plain, compiled in shown),
        HEADINGS,
        _note(len(chosen) - len(shown)),
    )


def modes_lines(rows: Sequence[Row]) -> list[str]:
    """Say in a line a dtype how the modes compare; nothing for a run in one."""
    return [_line(tally) for tally in _tallies(_pairs(rows))]


def in_both_modes(rows: Iterable[Row]) -> dict[int, str]:
    """Say of every row that has a partner in the other mode how they compare, by ``id(row)``."""
    return {id(row): _both(*pair) for pair in _pairs(rows) for row in pair}


def _both(plain: Row, compiled: Row) -> str:
    ratios = f"{_figure(plain.block_ratio)} op by op, {_figure(compiled.block_ratio)} compiled"
    words = WORDS[compiled.between or Between.ROUNDING]
    return f"{words}; worst local ratio {ratios}, gate {_figure(compiled.block_gate)}"


def _line(tally: ModeTally) -> str:
    """Write a tally; what is nowhere is left out."""
    named = zip(tally.counts, WORDS.values(), strict=True)
    parts = [f"{count:,} {words}" for count, words in named if count]
    values = plural(tally.total, "value")
    return f"graph beside pynative, {tally.dtype}: of {values} {', '.join(parts)}"


def _pairs(rows: Iterable[Row]) -> list[tuple[Row, Row]]:
    """The rows that both modes have: op by op, then compiled."""
    known = [row for row in rows if row.between is not None]
    plain = {_key(row): row for row in known if row.mode == PYNATIVE}
    compiled = [row for row in known if row.mode == GRAPH]
    return [(plain[_key(row)], row) for row in compiled if _key(row) in plain]


def _key(row: Row) -> tuple[str, str, str, int]:
    return row.case, row.dtype, row.point, row.firing


def _tallies(pairs: Iterable[tuple[Row, Row]]) -> Iterable[ModeTally]:
    """A tally for each dtype, in run order."""
    by_dtype: dict[str, list[tuple[Row, Row]]] = {}
    for pair in pairs:
        by_dtype.setdefault(pair[1].dtype, []).append(pair)
    for dtype, found in by_dtype.items():
        counts = tuple(sum(row.between is one for _, row in found) for one in WORDS)
        ends = sum(_same_end(plain, compiled) for plain, compiled in found)
        yield ModeTally(clean(dtype), counts, ends, len(found))


def _same_end(plain: Row, compiled: Row) -> bool:
    return plain.end_bits is not None and plain.end_bits == compiled.end_bits


def _urgency(pair: tuple[Row, Row]) -> tuple[int, float]:
    """What differs before what does not, then the ratios that are furthest apart."""
    plain, compiled = pair
    rank = _URGENT.index(compiled.between) if compiled.between is not None else len(_URGENT)
    return rank, -_apart(plain, compiled)


def _apart(plain: Row, compiled: Row) -> float:
    """How far the ratios are apart, in units of the gate; what is no number is furthest."""
    ratios = (plain.block_ratio, compiled.block_ratio)
    if None in ratios or not compiled.block_gate:
        return 0.0
    apart = abs(float(ratios[1] or 0) - float(ratios[0] or 0)) / compiled.block_gate
    return math.inf if math.isnan(apart) else apart


def _point(plain: Row, compiled: Row, ids: Mapping[int, str]) -> ModePoint:
    """Compute a line."""
    between = compiled.between or Between.ROUNDING
    return ModePoint(
        point=label(compiled),
        case=clean(compiled.case),
        dtype=clean(compiled.dtype),
        between=between.value,
        words=WORDS[between],
        plain=_figure(plain.block_ratio),
        compiled=_figure(compiled.block_ratio),
        gate=_figure(compiled.block_gate),
        plain_anchor=ids[id(plain)],
        compiled_anchor=ids[id(compiled)],
    )


def _figure(value: float | None) -> str:
    return "-" if value is None else number(value)


def _note(left_out: int) -> str:
    return f"{plural(left_out, 'point')} that agree as well are left out." if left_out else ""
