"""Which rows of large tensors a portable bundle keeps the truths of, where all would be too many.

A row is a token or a patch, a tensor ``[..., C]`` being taken as a matrix. Rows are chosen by
tiles of neighbours, since a row's floor looks at those around it: half of them evenly spread, the
first and the last included, and half where the reference itself is worst. All tensors of a record
with the same number of rows keep the same ones, so that blocks can be subtracted from each other.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from parity.core.trace import Array

TILE = 8
LEAST = 8 * TILE
"""Fewest rows that are kept: enough for the figures of single channels."""
Rows = NDArray[np.int64]
Masks = Mapping[int, NDArray[np.bool_]]
"""By how many rows a tensor has: which of them are kept."""


def rows_of(shape: Sequence[int]) -> int:
    """How many rows a tensor of ``shape`` has as a matrix; a scalar has one."""
    return math.prod(shape[:-1]) if shape else 1


def choose(scores: NDArray[np.float64], keep: int) -> Rows:
    """The rows to keep, in order; whole tiles, so that there may be a few less than ``keep``.

    Args:
        scores: how bad the reference is in each row; ``-inf`` where nothing is ever compared.
        keep: how many, at least ``LEAST``.
    """
    compared = np.flatnonzero(scores > -np.inf)
    if len(compared) <= keep:
        return compared
    tiles = np.array_split(compared, -(-len(compared) // TILE))
    wanted = max(2, keep // TILE)
    even = np.linspace(0, len(tiles) - 1, max(2, wanted // 2)).round().astype(np.int64)
    chosen = set(even.tolist())
    worst = sorted(range(len(tiles)), key=lambda tile: (-float(scores[tiles[tile]].max()), tile))
    for tile in worst:
        if len(chosen) >= wanted:
            break
        chosen.add(tile)
    return np.concatenate([tiles[tile] for tile in sorted(chosen)])


def badness(value: Array, residual: Array) -> NDArray[np.float64]:
    """How bad the reference is in each row, ``[R]``: its error there over its usual one.

    Both relative to the truth's norm. What is not a number is as bad as can be.

    Args:
        value: the reference's, ``[..., C]``.
        residual: truth minus value, of the same shape.
    """
    columns = value.shape[-1]
    error = residual.reshape(-1, columns).astype(np.float64)
    truth = value.reshape(-1, columns).astype(np.float64) + error
    with np.errstate(all="ignore"):
        relative = np.linalg.norm(error, axis=1) / np.linalg.norm(truth, axis=1)
        usual = np.median(relative[np.isfinite(relative)]) if np.isfinite(relative).any() else 1.0
        found = relative / usual
    return np.where(np.isfinite(found), found, np.inf)


def keep_rows(stored: Array, rows: Rows) -> Array:
    """Rows ``[K, C]`` of a stored tensor."""
    return np.ascontiguousarray(stored.reshape(-1, stored.shape[-1])[rows])


def expand(kept: Array, rows: Rows, shape: Sequence[int]) -> Array:
    """The stored tensor of ``shape`` whose ``rows`` are ``kept``, and the others not a number.

    Args:
        kept: ``[K, C]``: floats, or bfloat16 as its bits.
        rows: ``[K]``.
        shape: of the whole.
    """
    nothing = np.uint16(0x7FC0) if kept.dtype == np.uint16 else kept.dtype.type(np.nan)
    whole = np.full((rows_of(shape), shape[-1]), nothing, kept.dtype)
    whole[rows] = kept
    return whole.reshape(tuple(shape))


def masks(sampled: Mapping[int, Rows]) -> Masks:
    """The rows of each number of rows as a mask ``[R]``."""
    found = {}
    for count, rows in sampled.items():
        found[count] = np.zeros(count, np.bool_)
        found[count][rows] = True
    return found


def kept_of(shape: Sequence[int], sampled: Masks) -> NDArray[np.bool_] | None:
    """Which rows of a float tensor of ``shape`` there are truths of; ``None`` for all.

    Returns:
        A mask over its leading axes.
    """
    mask = sampled.get(rows_of(shape))
    return None if mask is None else mask.reshape(tuple(shape[:-1]))


def read_rows(data: Mapping[str, Sequence[int]], known: Collection[int]) -> dict[int, Rows]:
    """The rows that a record says it keeps, by how many there are.

    Args:
        data: as the record's file has it.
        known: numbers of rows that tensors of the record have; no other is made room for.

    Raises:
        ValueError: it is something else.
    """
    found = {}
    for text, rows in data.items():
        count = int(text)
        if count not in known or not isinstance(rows, list) or not rows:
            raise ValueError(f"rows of tensors with {text} rows")
        if not all(type(row) is int for row in rows):
            raise ValueError(f"a row of {text} that is no number")
        if rows[0] < 0 or rows[-1] >= count or rows != sorted(set(rows)):
            raise ValueError(f"rows that are not in order, or not among {text}")
        found[count] = np.array(rows, np.int64)
    return found
