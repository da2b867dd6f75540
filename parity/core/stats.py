"""Errors of a candidate beside the reference's own, both against a float64 truth.

Legend: R rows (tokens), C columns (channels). Tensors are taken as ``[R, C]``: the last axis
is the channel, everything before it a token. All arithmetic on errors is float64.

A ratio is ``||candidate - truth|| / max(||reference - truth||, noise * ||truth||)``: how many
times worse than the reference, or than the rounding of one number, the candidate is. Numbers
below the normal range round by an absolute amount, which is part of the floor too: fp16 has many.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from parity.core.blocks import Operands
from parity.core.meter import Float
from parity.core.nonfinite import NonFinite
from parity.core.numerics import Format
from parity.core.onepass import Totals, add_up
from parity.core.rows import Comparison, Slice
from parity.core.standards import Errors, Standards, published, ratio
from parity.core.trace import Array

Kept: TypeAlias = "NDArray[np.bool_] | None"
"""True for the tokens to compare, in the tensor's leading axes; ``None`` for all."""

NEIGHBOURS = 9
"""A slice's floor is at least the median reference error of this many slices around it."""
EXCHANGES = (
    (1, 2), (4, 5), (7, 8), (0, 1), (3, 4), (6, 7), (1, 2), (4, 5), (7, 8), (0, 3),
    (5, 8), (4, 7), (3, 6), (1, 4), (2, 5), (4, 7), (4, 2), (6, 4), (4, 2),
)  # fmt: skip
"""Of the smaller and the larger of two, after which the fifth of nine is their median (A. Paeth,
Median Finding on a 3 x 3 Grid, Graphics Gems, 1990)."""
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
    (its own rounding is 2^-24 of a quantity that is itself an error); ``None`` for zeros.
    ``base``: what a residual block's update is counted from, in the reference's run.
    ``base_residual``: the same for the truth's run; ``None`` for zeros, as on clean inputs.
    """

    reference: Array
    residual: Array | None = None
    base: Array | None = None
    base_residual: Array | None = None


def robust_floor(reference_error: Float, rounding: Float) -> Float:
    """Absolute error each slice is allowed as its unit, ``[n]``.

    The largest of its own reference error, the median of its neighbours' (a chance-small
    reference error must not cry wolf; a median, so that one massive neighbour does not blind
    it) and the dtype's rounding of that slice.
    """
    half = NEIGHBOURS // 2
    mode: Literal["reflect", "edge"] = "reflect" if len(reference_error) > half else "edge"
    padded = np.pad(reference_error, half, mode=mode)
    shifted = [padded[start : start + len(rounding)] for start in range(NEIGHBOURS)]
    return np.maximum(np.maximum(reference_error, median_of_nine(shifted)), rounding)


def median_of_nine(nine: list[Float]) -> Float:
    """The median of each element over nine arrays; NaN where one of them is."""
    for low, high in EXCHANGES:
        pair = nine[low], nine[high]
        nine[low], nine[high] = np.minimum(*pair), np.maximum(*pair)
    return nine[4]


def figure(squares: Float, count: int, dtype: Format, gate: float) -> Slice:
    """The figure of one norm over ``count`` numbers.

    ``squares``: sums of squares of the error, the truth and the reference's own error, ``[3]``.
    """
    wrong, size, own = np.sqrt(squares)
    floor = float(np.maximum(own, dtype.rounding(size, count)))
    relative = ratio(float(wrong), float(size))
    return Slice(ratio(float(wrong), floor), relative, ratio(floor, float(size)), gate)


def slice_ratios(squares: Float, count: int, dtype: Format) -> tuple[Float, Float]:
    """Ratio and floor of ``n`` slices, ``[n]`` each; a slice without any error has ratio 0.

    ``squares``: as in :func:`figure`, of slices of ``count`` numbers each, ``[3, n]``.
    """
    wrong, size, own = np.sqrt(squares)
    floor = robust_floor(own, dtype.rounding(size, count))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(wrong == 0, 0.0, wrong / floor), floor


def worst_slice(squares: Float, count: int, dtype: Format, gate: float) -> Slice:
    """The slice whose ratio is largest; NaN counts as largest.

    ``squares``: as in :func:`slice_ratios`.
    """
    wrong, size, _ = np.sqrt(squares)
    ratios, floor = slice_ratios(squares, count, dtype)
    index = int(np.argmax(np.where(np.isnan(ratios), np.inf, ratios)))
    return Slice(
        float(ratios[index]),
        ratio(float(wrong[index]), float(size[index])),
        ratio(float(floor[index]), float(size[index])),
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
    kept = None if keep is None else np.flatnonzero(keep)
    if candidate.size == 0 or (kept is not None and not len(kept)):
        raise ValueError("nothing to compare")
    totals = add_up(operands(candidate, truth, candidate_base), dtype, kept)
    rows, columns = totals.rows.shape[1], totals.columns.shape[1]
    where = _Places(truth.reference.shape, kept)
    index = where.index(totals.max_at)
    with np.errstate(invalid="ignore", over="ignore"):
        whole = totals.rows.sum(axis=1)
        row = worst_slice(totals.rows, columns, dtype, gate.row) if rows > 1 else None
        enough = rows >= MIN_ROWS_FOR_COLUMNS and columns > 1
        compared = rows * columns - totals.census.alike
        means = totals.sums / max(compared, 1)
        return Comparison(
            whole=figure(whole, rows * columns, dtype, gate.whole),
            row=where.original(row),
            column=worst_slice(totals.columns, rows, dtype, gate.column) if enough else None,
            update=_update(totals, rows * columns, truth, candidate_base, dtype, gate),
            max_abs=totals.max_abs,
            max_index=index,
            reference_value=_at(truth.reference, index),
            candidate_value=_at(candidate, index),
            nonfinite=totals.census.unlike,
            compared=compared,
            mean_relative=float(means[1]),
            max_relative=float(totals.most[1]),
            mean_ulp=float(means[0]) * 2.0 ** (dtype.mantissa - 1),
            max_ulp=float(totals.most[0]) * 2.0 ** (dtype.mantissa - 1),
            cosine=_cosine(totals.products, whole[1]),
            rtol=math.inf if totals.census.unlike else totals.rtol,
            saturated=totals.saturated["candidate"],
            reference_saturated=totals.saturated["reference"],
            standards=_standards(totals, whole, means, compared, dtype),
            candidate_nonfinite=where.first(totals.census.sides.get("candidate")),
            reference_nonfinite=where.first(totals.census.sides.get("reference")),
        )


def operands(candidate: Array, truth: Truth, candidate_base: Array | None = None) -> Operands:
    """All as matrices ``[R, C]``; what does not differ, or cannot be used, left out."""
    base, base_residual, moved = truth.base, truth.base_residual, candidate_base
    if base is None or moved is None or moved.shape != base.shape:
        base = base_residual = moved = None
    elif moved is base:
        moved = None
    columns = candidate.shape[-1] if candidate.ndim else 1
    found = Operands(candidate, truth.reference, truth.residual, base, moved, base_residual)
    return found.map(lambda array: array.reshape(-1, columns))


def _update(
    totals: Totals,
    count: int,
    truth: Truth,
    candidate_base: Array | None,
    dtype: Format,
    gate: Gate,
) -> Slice | None:
    """The figure of a residual block's output minus its input."""
    if truth.base is None or candidate_base is None or candidate_base.shape != truth.base.shape:
        return None
    return figure(totals.update, count, dtype, gate.update)


def _cosine(products: Float, true: float) -> float:
    """From candidate by candidate, candidate by truth, and truth by truth."""
    candidate, both = products
    with np.errstate(all="ignore"):
        cosine = float(both / (np.sqrt(candidate) * np.sqrt(true)))
    return min(1.0, max(-1.0, cosine)) if math.isfinite(cosine) else math.nan


def _standards(
    totals: Totals, whole: Float, means: Float, compared: int, dtype: Format
) -> Standards:
    """The published standards, the reference standing for the other device."""
    rms = np.sqrt(whole / max(compared, 1))
    candidate = Errors(float(totals.most[1]), float(means[1]), float(rms[0]))
    reference = Errors(float(totals.most[2]), float(means[2]), float(rms[2]))
    return published(dtype.name, candidate, reference)


@dataclass(frozen=True)
class _Places:
    """From rows and columns of what was compared to indices of the tensor."""

    shape: tuple[int, ...]
    kept: NDArray[np.intp] | None

    def row(self, row: int) -> int:
        """A row's number before any were left out."""
        return row if self.kept is None else int(self.kept[row])

    def index(self, place: tuple[int, ...]) -> tuple[int, ...]:
        """Index into the tensor; a scalar has one value, at 0."""
        columns = self.shape[-1] if self.shape else 1
        where = np.unravel_index(self.row(place[0]) * columns + place[1], self.shape or (1,))
        return tuple(int(i) for i in where)

    def original(self, row: Slice | None) -> Slice | None:
        """A row with its index counted before any were left out."""
        if row is None or row.index is None:
            return row
        return replace(row, index=self.row(row.index))

    def first(self, found: NonFinite | None) -> NonFinite | None:
        """The first that is not finite, by its index in the tensor."""
        return None if found is None else replace(found, first=self.index(found.first))


def _at(array: Array, index: tuple[int, ...]) -> float:
    """One value of ``array``; a scalar array has one at index 0."""
    return float(array.reshape(-1)[0] if array.ndim == 0 else array[index])
