"""What the runs of one environment measured, as arrays: a line for each series, a column a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import Connection, Row, select

from parity.history import tables
from parity.history.checksums import Damaged, check_entries
from parity.history.columns import (
    NO_FIGURE,
    Columns,
    GateTable,
    Ints,
    entries_of,
    gates_of,
    looked_up,
)
from parity.history.database import History, RunInfo
from parity.history.record import Key
from parity.history.rows import NAN, key_digest
from parity.history.texts import restored

ABSENT = -1
"""In ``verdicts``: the run has no such row."""

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Measured:
    """S series over R runs, the oldest first."""

    runs: tuple[RunInfo, ...]
    keys: tuple[Key, ...]
    """By dtype, mode, case and execution order."""
    verdicts: npt.NDArray[np.int8]
    """[S, R] places in ``tables.VERDICTS``, or ``ABSENT``."""
    local: Floats
    """[S, R] ratios in units of the newest gate of their figure; NaN where there is none, infinite
    where the ratio is not a number."""
    end: Floats
    """[S, R] the same, end to end."""


def load(history: History, runs: Sequence[RunInfo]) -> Measured:
    """Read what ``runs`` measured.

    A ratio is divided by the newest gate of its figure in its series, not by the one it was judged
    by: when gates are measured anew, nothing about the port has changed.

    Args:
        history: Where from.
        runs: Runs of one environment, the oldest first.

    Raises:
        ParityError: the history cannot be read, or is damaged.
    """
    with history.reading() as connection:
        found, gates = _entries(connection, runs)
        keys, lines = _series(connection, np.unique(found["series"]))
    at = (_places(found["series"], lines), _places(found["run"], [one.id for one in runs]))
    shape = (len(keys), len(runs))
    verdicts = np.full(shape, ABSENT, np.int8)
    verdicts[at] = found["verdict"]
    both = [
        _used(_table(shape, at, found[name], np.nan), _table(shape, at, found[gate], 0), gates)
        for name, gate in (("local", "local_gate"), ("end_to_end", "end_gate"))
    ]  # fmt: skip
    return Measured(tuple(runs), keys, verdicts, *both)


def _entries(connection: Connection, runs: Sequence[RunInfo]) -> tuple[Columns, GateTable]:
    """The entries of some runs, checked, and every gate."""
    known = {one.id: one.checksum for one in runs}
    try:
        found, gates = entries_of(connection, list(known)), gates_of(connection)
    except (TypeError, ValueError) as error:  # text where a number belongs, say
        raise Damaged(f"the history is damaged: its rows hold no numbers ({error})") from error
    check_entries(connection, found, gates, known)
    if not np.isin(found["verdict"], range(len(tables.VERDICTS))).all():
        raise Damaged("the history is damaged: a row has a verdict that there is not")
    return found, gates


def _series(connection: Connection, wanted: Ints) -> tuple[tuple[Key, ...], list[int]]:
    """The keys of the series with these numbers, in order, and their numbers in that order."""
    used = set(wanted.tolist())
    rows = [row for row in connection.execute(select(tables.series)) if row.id in used]
    try:
        keys = {row.id: _key(row) for row in rows}
    except (TypeError, ValueError, OverflowError) as error:  # bytes where text belongs, say
        raise Damaged(f"the history is damaged: a row's name is no text ({error})") from error
    if keys.keys() != used or any(row.digest != key_digest(keys[row.id]) for row in rows):
        raise Damaged("the history is damaged: the name of a row is not the one it had")
    rows.sort(key=lambda row: (row.dtype, row.mode, row.case_name, row.place, row.id))
    return tuple(keys[row.id] for row in rows), [row.id for row in rows]


def _key(row: Row[Any]) -> Key:
    """The key of a series, from its row in the database."""
    case, dtype, mode = restored(row.case_name), restored(row.dtype), restored(row.mode)
    return Key(case, dtype, mode, restored(row.stage), restored(row.point), row.firing)


def _places(numbers: Ints, order: Sequence[int]) -> Ints:
    """The place in ``order`` of every number; each of them is there."""
    known = np.array(order, np.int64)
    sorting = np.argsort(known)
    return looked_up(numbers, known[sorting], sorting, -1)


def _table(
    shape: tuple[int, int], at: tuple[Any, Any], values: npt.NDArray[Any], empty: float
) -> npt.NDArray[Any]:
    """Values at their places, [S, R]."""
    table = np.full(shape, empty, values.dtype)
    table[at] = values
    return table


def _used(ratios: npt.NDArray[np.float64], numbers: Ints, gates: GateTable) -> Floats:
    """Ratios [S, R] in units of the newest gate of their figure; ``numbers`` [S, R] are gates'."""
    newest = np.full_like(ratios, np.nan)
    figures = looked_up(numbers, gates.numbers, gates.figures, -1)
    limits = looked_up(numbers, gates.numbers, gates.limits, np.nan)
    for figure in range(gates.figures.max(initial=-1) + 1):
        mine = figures == figure
        last = _newest(np.where(mine, limits, np.nan))
        newest = np.where(mine, last[:, None], newest)
    with np.errstate(divide="ignore", invalid="ignore"):
        used = ratios / newest
    used = np.where((newest == 0) & (ratios == 0), 0.0, used)
    used = np.where(np.isnan(used) | (ratios == NAN) | (newest == NAN), np.inf, used)
    return np.where(np.isnan(ratios) | (ratios == NO_FIGURE), np.nan, used).astype(np.float32)


def _newest(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The last number of every line [S]; NaN where there is none."""
    last = np.full(values.shape[0], np.nan)
    for column in values.T:
        last = np.where(np.isnan(column), last, column)
    return last
