"""What the runs of one environment measured, as arrays: a line for each series, a column a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import Connection, Row, func, select

from parity.history import tables
from parity.history.database import History, RunInfo
from parity.history.record import Key
from parity.history.rows import NAN
from parity.history.texts import restored

ABSENT = -1
"""In ``verdicts``: the run has no such row."""
_NO_FIGURE, _NO_GATE = -2.0, 0
_CHUNK = 100_000
"""Rows that are fetched at a time."""

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
    """
    with history.reading() as connection:
        found = _entries(connection, runs)
        keys, lines = _series(connection, np.unique(found["series"]))
        figures, limits = _gates(connection)
    column = {one.id: place for place, one in enumerate(runs)}
    at = (_placed(found["series"], lines), _placed(found["run"], column))
    shape = (len(keys), len(runs))
    verdicts = np.full(shape, ABSENT, np.int8)
    verdicts[at] = found["verdict"]
    both = [
        _used(_table(shape, at, found[name], np.nan), _table(shape, at, found[gate], 0), figures,
              limits)
        for name, gate in (("local", "local_gate"), ("end_to_end", "end_gate"))
    ]  # fmt: skip
    return Measured(tuple(runs), keys, verdicts, *both)


def _entries(connection: Connection, runs: Sequence[RunInfo]) -> dict[str, npt.NDArray[Any]]:
    """The entries of some runs as columns."""
    entry = tables.entry.c
    query = select(
        entry.run, entry.series, entry.verdict,
        func.coalesce(entry.local, _NO_FIGURE), func.coalesce(entry.local_gate, _NO_GATE),
        func.coalesce(entry.end_to_end, _NO_FIGURE), func.coalesce(entry.end_gate, _NO_GATE),
    ).where(entry.run.in_([one.id for one in runs]))  # fmt: skip
    parts = [
        np.array([tuple(row) for row in rows], np.float64)
        for rows in connection.execution_options(yield_per=_CHUNK).execute(query).partitions()
    ]
    columns = np.concatenate(parts or [np.empty((0, 7))]).T
    names = ("run", "series", "verdict", "local", "local_gate", "end_to_end", "end_gate")
    kinds = (np.int64, np.int64, np.int8, np.float64, np.int64, np.float64, np.int64)
    return {
        name: values.astype(kind)
        for name, values, kind in zip(names, columns, kinds, strict=True)
    }  # fmt: skip


def _series(
    connection: Connection, wanted: npt.NDArray[np.int64]
) -> tuple[tuple[Key, ...], dict[int, int]]:
    """The keys of the series with these numbers, in order, and the line of each number."""
    used = set(wanted.tolist())
    rows = [row for row in connection.execute(select(tables.series)) if row.id in used]
    rows.sort(key=lambda row: (row.dtype, row.mode, row.case_name, row.place, row.id))
    keys = tuple(_key(row) for row in rows)
    return keys, {row.id: line for line, row in enumerate(rows)}


def _key(row: Row[Any]) -> Key:
    """The key of a series, from its row in the database."""
    case, dtype, mode = restored(row.case_name), restored(row.dtype), restored(row.mode)
    return Key(case, dtype, mode, restored(row.stage), restored(row.point), row.firing)


def _gates(connection: Connection) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float64]]:
    """Figure (a small number) and value of every gate, by its number; number 0 is no gate."""
    rows = list(connection.execute(select(tables.gate)))
    size = max((row.id for row in rows), default=0) + 1
    figures, limits = np.full(size, -1, np.int8), np.full(size, np.nan)
    names = {name: place for place, name in enumerate(sorted({row.figure for row in rows}))}
    for row in rows:
        figures[row.id], limits[row.id] = names[row.figure], row.value
    return figures, limits


def _placed(numbers: npt.NDArray[np.int64], places: Mapping[int, int]) -> npt.NDArray[np.int64]:
    """The place of every number."""
    table = np.zeros(max(places, default=0) + 1, np.int64)
    table[list(places)] = list(places.values())
    return table[numbers]


def _table(
    shape: tuple[int, int], at: tuple[Any, Any], values: npt.NDArray[Any], empty: float
) -> npt.NDArray[Any]:
    """Values at their places, [S, R]."""
    table = np.full(shape, empty, values.dtype)
    table[at] = values
    return table


def _used(
    ratios: npt.NDArray[np.float64],
    gates: npt.NDArray[np.int64],
    figures: npt.NDArray[np.int8],
    limits: npt.NDArray[np.float64],
) -> Floats:
    """Ratios [S, R] in units of the newest gate of their figure."""
    newest = np.full_like(ratios, np.nan)
    for figure in range(figures.max(initial=-1) + 1):
        mine = figures[gates] == figure
        last = _newest(np.where(mine, limits[gates], np.nan))
        newest = np.where(mine, last[:, None], newest)
    with np.errstate(divide="ignore", invalid="ignore"):
        used = ratios / newest
    used = np.where((newest == 0) & (ratios == 0), 0.0, used)
    used = np.where(np.isnan(used) | (ratios == NAN) | (newest == NAN), np.inf, used)
    return np.where(np.isnan(ratios) | (ratios == _NO_FIGURE), np.nan, used).astype(np.float32)


def _newest(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The last number of every line [S]; NaN where there is none."""
    last = np.full(values.shape[0], np.nan)
    for column in values.T:
        last = np.where(np.isnan(column), last, column)
    return last
