"""The numbers of runs as columns, as a database holds them, and looking things up in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import Connection, func, select

from parity.history import tables

NO_FIGURE, NO_GATE = -2.0, 0
"""What stands for NULL: ratios are never below NaN's -1, and numbers of gates begin at 1."""
FIGURES = ("whole", "row", "column", "update")
_CHUNK = 100_000
"""Rows that are fetched at a time."""
_NAMES = ("run", "series", "verdict", "local", "local_gate", "end_to_end", "end_gate")
_KINDS = (np.int64, np.int64, np.int8, np.float64, np.int64, np.float64, np.int64)

Ints = npt.NDArray[np.int64]
Columns = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class GateTable:
    """G gates by their numbers."""

    numbers: Ints
    """[G] in ascending order."""
    figures: npt.NDArray[np.int8]
    """[G] places in ``FIGURES``; -1 for another name."""
    limits: npt.NDArray[np.float64]
    """[G] the largest ratio that passed."""


def entries_of(connection: Connection, runs: Sequence[int]) -> Columns:
    """The entries of some runs, E of them in any order: each column of the table, [E].

    Raises:
        TypeError, ValueError: a value is no number.
    """
    entry = tables.entry.c
    query = select(
        entry.run, entry.series, entry.verdict,
        func.coalesce(entry.local, NO_FIGURE), func.coalesce(entry.local_gate, NO_GATE),
        func.coalesce(entry.end_to_end, NO_FIGURE), func.coalesce(entry.end_gate, NO_GATE),
    ).where(entry.run.in_(list(runs)))  # fmt: skip
    # Of this query alone: a connection keeps its options, and PostgreSQL reads nothing but a SELECT
    # in pieces.
    found = connection.execute(query, execution_options={"yield_per": _CHUNK})
    parts = [np.array([tuple(row) for row in rows], np.float64) for rows in found.partitions()]
    columns = np.concatenate(parts or [np.empty((0, len(_NAMES)))]).T
    with np.errstate(invalid="ignore"):  # of numbers that no column can hold: a checksum tells
        return {name: values.astype(kind)
                for name, values, kind in zip(_NAMES, columns, _KINDS, strict=True)}  # fmt: skip


def gates_of(connection: Connection) -> GateTable:
    """Every gate."""
    rows = sorted(connection.execute(select(tables.gate)), key=lambda row: row.id)
    places = {name: place for place, name in enumerate(FIGURES)}
    return GateTable(
        np.array([row.id for row in rows], np.int64),
        np.array([places.get(row.figure, -1) for row in rows], np.int8),
        np.array([row.value for row in rows], np.float64),
    )


def looked_up(
    wanted: Ints, numbers: Ints, values: npt.NDArray[Any], absent: Any
) -> npt.NDArray[Any]:
    """The value of every wanted number, and ``absent`` for one that is not there.

    Args:
        wanted: [W] any numbers, however large.
        numbers: [N] in ascending order.
        values: [N] one for each of them.
        absent: what a number stands for that is none of them.
    """
    if not numbers.size:
        return np.full(wanted.shape, absent, values.dtype)
    places = np.minimum(np.searchsorted(numbers, wanted), numbers.size - 1)
    found: npt.NDArray[Any] = values[places]
    return np.where(numbers[places] == wanted, found, np.array(absent, values.dtype))
