"""Errors of a candidate beside the reference's own, both against a float64 truth.

Legend: R rows (tokens), C columns (channels). Tensors are taken as ``[R, C]``: the last axis
is the channel, everything before it a token. All arithmetic is float64.

A ratio is ``||candidate - truth|| / max(||reference - truth||, noise * ||truth||)``: how many
times worse than the reference, or than the rounding of one number, the candidate is. Numbers
below the normal range round by an absolute amount, which is part of the floor too: fp16 has many.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from parity.core.numerics import Format
from parity.core.rows import Comparison, Slice
from parity.core.trace import Array

Float: TypeAlias = NDArray[np.float64]
Kept: TypeAlias = "NDArray[np.bool_] | None"
"""True for the tokens to compare, in the tensor's leading axes; ``None`` for all."""

NEIGHBOURS = 9
"""A slice's floor is at least the median reference error of this many slices around it."""
MIN_ROWS_FOR_COLUMNS = 8
"""With fewer tokens, one channel's error is a handful of roundings: chance, not evidence."""


@dataclass(frozen=True)
class Gate:
    """Largest passing ratio of each figure."""

    whole: float
    row: float
    column: float
    update: float


@dataclass(frozen=True)
class Truth:
    """A reference tensor with the float64 truth stored beside it.

    ``reference``: as the reference computed it. ``residual``: truth minus reference, float32
    (its own rounding is 2^-24 of a quantity that is itself an error).
    ``base``: what a residual block's update is counted from, in the reference's run.
    ``base_residual``: the same for the truth's run (zero on clean inputs).
    """

    reference: Array
    residual: Array
    base: Array | None = None
    base_residual: Array | None = None


def as_matrix(array: Array, keep: Kept) -> Float:
    """``[..., C]`` as float64 ``[R, C]``, only the rows that ``keep`` (flattened) marks."""
    matrix = array.reshape(-1, array.shape[-1] if array.ndim else 1).astype(np.float64)
    return matrix if keep is None else matrix[keep.reshape(-1)]


def squared(matrix: Float, axis: int | None) -> Float:
    """Sum of squares over everything (``None``), over columns (1: a row) or rows (0: a column)."""
    if axis is None:
        return np.asarray(np.vdot(matrix, matrix), dtype=np.float64)
    spec = "rc,rc->r" if axis == 1 else "rc,rc->c"
    return np.asarray(np.einsum(spec, matrix, matrix), dtype=np.float64)


def robust_floor(reference_error: Float, rounding: Float) -> Float:
    """Absolute error each slice is allowed as its unit, ``[n]``.

    The largest of its own reference error, the median of its neighbours' (a chance-small
    reference error must not cry wolf; a median, so that one massive neighbour does not blind
    it) and the dtype's rounding of that slice.
    """
    half = NEIGHBOURS // 2
    padded = np.pad(
        reference_error, half, mode="reflect" if len(reference_error) > half else "edge"
    )
    neighbours = np.median(sliding_window_view(padded, NEIGHBOURS), axis=-1)
    return np.maximum(np.maximum(reference_error, neighbours), rounding)


def figure(error: Float, reference_error: Float, truth: Float, dtype: Format, gate: float) -> Slice:
    """The whole tensor's figure."""
    wrong, own, size = (np.sqrt(squared(m, None)) for m in (error, reference_error, truth))
    floor = float(np.maximum(own, dtype.rounding(size, truth.size)))
    ratio, relative = _ratio(float(wrong), floor), _ratio(float(wrong), float(size))
    return Slice(ratio, relative, _ratio(floor, float(size)), gate)


def worst_slice(
    error: Float, reference_error: Float, truth: Float, dtype: Format, gate: float, axis: int
) -> Slice:
    """The row (``axis`` 1) or column (``axis`` 0) whose ratio is largest; NaN counts as largest."""
    wrong, own, size = (np.sqrt(squared(m, axis)) for m in (error, reference_error, truth))
    floor = robust_floor(own, dtype.rounding(size, truth.shape[axis]))
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.where(wrong == 0, 0.0, wrong / floor)
    index = int(np.argmax(np.where(np.isnan(ratios), np.inf, ratios)))
    return Slice(
        float(ratios[index]),
        _ratio(float(wrong[index]), float(size[index])),
        _ratio(float(floor[index]), float(size[index])),
        gate,
        index,
    )


def compare(
    candidate: Array,
    truth: Truth,
    dtype: Format,
    gate: Gate,
    *,
    candidate_base: Array | None = None,
    keep: Kept = None,
) -> Comparison:
    """Judge ``candidate`` ``[..., C]`` against ``truth``, both of one shape.

    Args:
        candidate: the candidate's tensor.
        truth: the reference's, with its float64 truth.
        dtype: the reference's, whose rounding nobody can be asked to undercut.
        gate: largest passing ratios.
        candidate_base: what the candidate's update is counted from, for residual blocks.
        keep: tokens to compare, ``[...]`` without the channel axis; ``None`` for all.

    Raises:
        ValueError: shapes differ, or nothing is left to compare.
    """
    if candidate.shape != truth.reference.shape:
        raise ValueError(f"shapes differ: {truth.reference.shape} and {candidate.shape}")
    got, reference = as_matrix(candidate, keep), as_matrix(truth.reference, keep)
    if got.size == 0:
        raise ValueError("nothing to compare")
    own_error = -as_matrix(truth.residual, keep)
    true = reference - own_error
    difference = got - reference
    with np.errstate(invalid="ignore", over="ignore"):
        error = difference + own_error
        rows, columns = error.shape
        index = _largest(difference, truth.reference.shape, keep)
        here, there = _at(truth.reference, index), _at(candidate, index)
        row = worst_slice(error, own_error, true, dtype, gate.row, 1) if rows > 1 else None
        enough = rows >= MIN_ROWS_FOR_COLUMNS and columns > 1
        column = worst_slice(error, own_error, true, dtype, gate.column, 0) if enough else None
        return Comparison(
            whole=figure(error, own_error, true, dtype, gate.whole),
            row=_original_row(row, keep),
            column=column,
            update=_update(error, own_error, true, truth, candidate_base, dtype, gate, keep),
            nonfinite=int(np.count_nonzero(~np.isfinite(got) & np.isfinite(reference))),
            max_abs=abs(there - here),
            max_index=index,
            reference_value=here,
            candidate_value=there,
        )


def _update(
    error: Float,
    own_error: Float,
    true: Float,
    truth: Truth,
    candidate_base: Array | None,
    dtype: Format,
    gate: Gate,
    keep: Kept,
) -> Slice | None:
    """The figure of a residual block's output minus its input."""
    if truth.base is None or candidate_base is None or candidate_base.shape != truth.base.shape:
        return None
    base = as_matrix(truth.base, keep)
    drift = as_matrix(candidate_base, keep) - base
    if truth.base_residual is not None:
        base_residual = as_matrix(truth.base_residual, keep)
        drift, base = drift - base_residual, base + base_residual
        own_error = own_error + base_residual
    return figure(error - drift, own_error, true - base, dtype, gate.update)


def _largest(difference: Float, shape: tuple[int, ...], keep: Kept) -> tuple[int, ...]:
    """Index into ``shape`` of the largest difference; NaN counts as largest."""
    size = np.abs(difference)
    row, column = divmod(
        int(np.argmax(np.where(np.isnan(size), np.inf, size))), difference.shape[1]
    )
    if keep is not None:
        row = int(np.flatnonzero(keep)[row])
    where = np.unravel_index(row * difference.shape[1] + column, shape or (1,))
    return tuple(int(i) for i in where)


def _at(array: Array, index: tuple[int, ...]) -> float:
    """One value of ``array``; a scalar array has one at index 0."""
    return float(array.reshape(-1)[0] if array.ndim == 0 else array[index])


def _original_row(row: Slice | None, keep: Kept) -> Slice | None:
    """A row's index counted before padding was left out."""
    if row is None or keep is None or row.index is None:
        return row
    index = int(np.flatnonzero(keep)[row.index])
    return Slice(row.ratio, row.error, row.floor, row.gate, index)


def _ratio(numerator: float, denominator: float) -> float:
    """``numerator / denominator``, 0 for 0/0, infinite for x/0; NaN stays NaN."""
    if numerator == 0:
        return 0.0
    return numerator / denominator if denominator else float("inf") * numerator
