"""One pass over a candidate and its reference that adds up all that a comparison says.

The tensors are matrices ``[R, C]`` (legend in :mod:`parity.core.stats`), read block by block.
A block is small enough that everything made from it stays in the processor's caches, and no
temporary has the size of a tensor. Errors, truths and their squares are float64. Figures that
no verdict depends on (ULPs, relative errors) are made from them in float32, which holds seven
digits of each in half the time. Where that overflows, or anything is not finite, the block is
gone over again in float64, with what is not finite alike on both sides set to zero.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from parity.core.numerics import Format
from parity.core.rows import NonFinite
from parity.core.standards import EPSILON

Float: TypeAlias = NDArray[np.float64]
Real: TypeAlias = NDArray[np.floating[Any]]
Numbers: TypeAlias = NDArray[Any]

PIECE = 9000
"""Numbers in one product by OpenBLAS, which splits those of more than 9216 among threads: for
vectors that stay in the cache, waking a thread takes longer than the product."""
PIECES = 4
"""In one block: enough that calling NumPy costs little beside computing."""
ATOL = 1e-5
"""Absolute tolerance of ``torch.testing.assert_close``, in each of the three dtypes."""
HUGE = 1e38
"""Still a number in float32."""
SLACK = 1e-6
"""More than float32 can be off by, where it decides what is looked at in float64."""


class Operands(NamedTuple):
    """The tensors of a comparison, or one block of each; ``None`` for what does not differ.

    Names are those of :class:`parity.core.stats.Truth`. No ``residual`` means that the truth is
    the reference, and no ``candidate_base`` that the candidate's base is the reference's.
    """

    candidate: Numbers
    reference: Numbers
    residual: Numbers | None = None
    base: Numbers | None = None
    candidate_base: Numbers | None = None
    base_residual: Numbers | None = None

    def map(self, change: Callable[[Numbers], Numbers]) -> Operands:
        """The same with each one changed."""
        return Operands(
            change(self.candidate),
            change(self.reference),
            *(None if operand is None else change(operand) for operand in self[2:]),
        )

    def cut(self, rows: slice | NDArray[np.intp], columns: slice) -> Operands:
        """A block of each, as vectors; views wherever they will do."""
        return self.map(lambda matrix: matrix[rows, columns].reshape(-1))


class Block(NamedTuple):
    """A part of the matrices: consecutive rows, or consecutive columns of one row."""

    rows: slice
    columns: slice
    pieces: int
    """Of how many equal parts, of whole rows, the block consists."""


def blocks(rows: int, columns: int) -> Iterator[Block]:
    """Cut ``[rows, columns]`` into blocks, in the order in which a matrix is laid out."""
    width = min(columns, PIECE)
    height = max(1, PIECE // width)
    full = PIECES if width == columns else 1
    start = 0
    while start < rows:
        pieces = min(full, (rows - start) // height)
        stop = start + pieces * height if pieces else rows
        for left in range(0, columns, width):
            across = slice(left, min(left + width, columns))
            yield Block(slice(start, stop), across, max(1, pieces))
        start = stop


@dataclass
class Totals:
    """What a pass adds up; the order of each triple is that of its docstring."""

    rows: Float
    """Sums of squares of every row's error, truth and reference's own error, ``[3, R]``."""
    columns: Float
    """The same of every column, ``[3, C]``."""
    update: Float = field(default_factory=lambda: np.zeros(3))
    """The same of the update, over everything."""
    products: Float = field(default_factory=lambda: np.zeros(3))
    """Candidate by candidate, reference by reference, candidate by reference."""
    sums: Float = field(default_factory=lambda: np.zeros(3))
    """Of ULPs, of the candidate's relative errors and of the reference's."""
    most: Float = field(default_factory=lambda: np.zeros(3))
    """The largest of each of these."""
    max_abs: float = -1.0
    """Largest ``|candidate - reference|``; NaN where there is one."""
    max_at: tuple[int, int] = (0, 0)
    """Its row, of those compared, and its column."""
    rtol: float = 0.0
    """Smallest relative tolerance with which ``assert_close`` accepts all finite pairs."""
    saturated: tuple[int, int] = (0, 0)
    """Values of candidate and reference at or beyond the dtype's largest number."""
    alike: int = 0
    """Elements that are not finite, and the same on both sides."""
    unlike: int = 0
    """Elements that are not finite on one side at least, and not the same on the other."""
    candidate: NonFinite | None = None
    reference: NonFinite | None = None


class Scratch:
    """Memory that every block uses again."""

    def __init__(self, size: int, narrow: type[np.float32] | type[np.float64]) -> None:
        self._wide = np.empty(3 * size)
        self._narrow: Real = np.empty(5 * size, narrow)

    def wide(self, size: int) -> Float:
        """Three float64 vectors, one after the other: ``[3, size]``."""
        return self._wide[: 3 * size].reshape(3, size)

    def narrow(self, size: int) -> Real:
        """Five vectors in the faster format: ``[5, size]``."""
        return self._narrow[: 5 * size].reshape(5, size)


@dataclass
class Figures:
    """What one block adds to the totals."""

    rows: Float
    columns: Float
    update: Float
    products: Float
    sums: Float
    most: Float
    sizes: Real
    """``|candidate - reference|`` of every element."""

    @property
    def finite(self) -> bool:
        """Whether every number in the block was, and nothing made from them overflowed."""
        return bool(np.isfinite(self.rows.sum() + self.sums.sum() + self.most.sum()))


def add_up(operands: Operands, dtype: Format, kept: NDArray[np.intp] | None = None) -> Totals:
    """Go over ``operands``, matrices of one shape, once.

    Args:
        operands: what is compared, ``[R, C]`` each.
        dtype: in whose spacing ULPs are counted, and whose largest number saturates.
        kept: rows to compare, in order; ``None`` for all.
    """
    count, columns = operands.reference.shape
    count = count if kept is None else len(kept)
    totals = Totals(np.zeros((3, count)), np.zeros((3, columns)))
    one_pass = _Pass(dtype, totals)
    with np.errstate(all="ignore"):
        for block in blocks(count, columns):
            rows = block.rows if kept is None else kept[block.rows]
            one_pass.take(operands.cut(rows, block.columns), block)
    return totals


class _Pass:
    """The pass on its way: what has been added up, and the memory it works in."""

    def __init__(self, dtype: Format, totals: Totals) -> None:
        self.dtype, self.totals = dtype, totals
        self.scratch = Scratch(PIECE * PIECES, np.float32)
        self.ones = np.ones(PIECE)

    def take(self, part: Operands, block: Block) -> None:
        """Add one block."""
        figures, found = None, part
        if part.candidate.dtype == part.reference.dtype == np.float32:
            figures = self._measure(part, block, self.scratch)
        if figures is None or not figures.finite:
            part = self._set_apart(found, block)
            figures = self._measure(part, block, Scratch(part.reference.size, np.float64))
        totals = self.totals
        totals.rows[:, block.rows] += figures.rows
        totals.columns[:, block.columns] += figures.columns
        totals.update += figures.update
        totals.products += figures.products
        totals.sums += figures.sums
        np.maximum(totals.most, figures.most, out=totals.most)
        largest = figures.sizes.max()
        self._locate(part, block, figures.sizes, largest)
        self._tolerate(part, figures.sizes, largest)
        if part is not found or not self._moderate(figures):
            self._saturate(found)

    def _measure(self, part: Operands, block: Block, scratch: Scratch) -> Figures:
        """Make every figure of a block."""
        size = part.reference.size
        wide, narrow = scratch.wide(size), scratch.narrow(size)
        error, true, own = wide
        np.copyto(error, part.candidate)
        np.copyto(true, part.reference)
        products = self._products(error, true, block.pieces)
        np.subtract(error, true, out=error)
        if part.residual is None:
            own[...] = 0
        else:
            np.copyto(own, part.residual)
            np.subtract(error, own, out=error)
            np.add(true, own, out=true)
        sums, most = self._relate(part, error, narrow)
        update = self._update(part, wide, block.pieces)
        rows, columns = self._squares(wide, block)
        return Figures(rows, columns, update, products, sums, most, narrow[0])

    def _products(self, candidate: Float, reference: Float, pieces: int) -> Float:
        """The three inner products of which a cosine is made."""
        pairs = ((candidate, candidate), (reference, reference), (candidate, reference))
        return np.array([_dot(one, other, pieces) for one, other in pairs])

    def _relate(self, part: Operands, error: Float, narrow: Real) -> tuple[Float, Float]:
        """Sums and maxima of ULPs and relative errors; leaves the differences in ``narrow[0]``."""
        difference, true, ulps, relative, own = narrow
        np.subtract(part.candidate, part.reference, out=difference)
        np.copyto(relative, error, casting="same_kind")
        if part.residual is None:
            np.copyto(true, part.reference, casting="same_kind")
            own[...] = 0
        else:
            np.add(part.reference, part.residual, out=true)
            np.copyto(own, part.residual, casting="same_kind")
        np.abs(narrow[:2], out=narrow[:2])
        np.abs(narrow[3:], out=narrow[3:])
        np.add(true, narrow.dtype.type(EPSILON), out=true)
        np.divide(narrow[3:], true, out=narrow[3:])
        self._binades(part.reference, ulps)
        np.divide(difference, ulps, out=ulps)
        sums = np.add.reduce(narrow[2:], axis=1).astype(np.float64)
        most = np.maximum.reduce(narrow[2:], axis=1).astype(np.float64)
        return sums, most

    def _binades(self, reference: Numbers, out: Real) -> None:
        """The power of two at or below each reference, or the dtype's least normal one."""
        if out.dtype == np.float32:
            exponents = out.view(np.int32)
            np.bitwise_and(reference.view(np.int32), np.int32(0x7F800000), out=exponents)
        else:
            np.ldexp(1.0, np.frexp(reference)[1] - 1, out=out)
        np.maximum(out, out.dtype.type(2.0**self.dtype.least_exponent), out=out)

    def _update(self, part: Operands, wide: Float, pieces: int) -> Float:
        """Sums of squares of what a residual block adds to its input: error, truth, own error."""
        if part.base is None:
            return np.zeros(3)
        error, true, own = wide
        base = part.base.astype(np.float64)
        if part.candidate_base is not None:
            error = error - (part.candidate_base - base)
        if part.base_residual is not None:
            error, own = error + part.base_residual, own - part.base_residual
            base += part.base_residual
        true = true - base
        return np.array([_dot(vector, vector, pieces) for vector in (error, true, own)])

    def _squares(self, wide: Float, block: Block) -> tuple[Float, Float]:
        """Sums of squares by row and by column; ``wide`` is lost."""
        width = block.columns.stop - block.columns.start
        np.square(wide, out=wide)
        stacked = wide.reshape(3, block.pieces, -1, width)
        by_row = np.matmul(stacked, self.ones[:width, None])
        by_column = np.matmul(self.ones[: stacked.shape[2]], stacked)
        return by_row.reshape(3, -1), np.add.reduce(by_column, axis=1)

    def _locate(self, part: Operands, block: Block, sizes: Real, largest: np.floating[Any]) -> None:
        """Note the largest difference, exactly, if it is in this block; NaN counts as largest."""
        totals = self.totals
        if not np.isfinite(totals.max_abs) or largest < sizes.dtype.type(totals.max_abs):
            return
        near = np.flatnonzero(~(sizes < largest))  # rounding keeps the order
        exact = np.abs(part.candidate[near].astype(np.float64) - part.reference[near])
        first = int(np.argmax(np.where(np.isnan(exact), np.inf, exact)))
        if not exact[first] <= totals.max_abs:
            totals.max_abs = float(exact[first])
            totals.max_at = self._place(block, int(near[first]))

    def _tolerate(self, part: Operands, sizes: Real, largest: np.floating[Any]) -> None:
        """Raise the relative tolerance until this block is within it, too."""
        if largest <= ATOL * (1 - SLACK):
            return
        rtol = min(self.totals.rtol * (1 - SLACK), HUGE)
        allowed = np.abs(part.reference) * sizes.dtype.type(rtol)
        over = np.flatnonzero(sizes - allowed > ATOL * (1 - SLACK))
        reference = part.reference[over].astype(np.float64)
        excess = np.abs(part.candidate[over] - reference) - ATOL
        needed = excess[excess > 0] / np.abs(reference[excess > 0])
        self.totals.rtol = max(self.totals.rtol, float(needed.max(initial=0.0)))

    def _moderate(self, figures: Figures) -> bool:
        """Whether the norms of a block rule out values at the end of the dtype's range."""
        error, true, own = np.sqrt(figures.rows.max(axis=1))
        return bool(true + max(error, own) < self.dtype.largest)

    def _saturate(self, part: Operands) -> None:
        """Count values at the end of the dtype's range."""
        candidate, reference = (
            int(np.count_nonzero(np.abs(side) >= self.dtype.largest))
            for side in (part.candidate, part.reference)
        )
        before = self.totals.saturated
        self.totals.saturated = (before[0] + candidate, before[1] + reference)

    def _set_apart(self, part: Operands, block: Block) -> Operands:
        """Count what is not finite, and make a zero of what is so alike on both sides."""
        totals = self.totals
        candidate, reference = _kinds(part.candidate), _kinds(part.reference)
        alike = (candidate == reference) & (candidate != 0)
        totals.alike += int(np.count_nonzero(alike))
        totals.unlike += int(np.count_nonzero(candidate != reference))
        totals.candidate = self._count(totals.candidate, candidate, block)
        totals.reference = self._count(totals.reference, reference, block)
        return part.map(lambda operand: np.where(alike, 0, operand.astype(np.float64)))

    def _count(
        self, before: NonFinite | None, kinds: NDArray[np.int8], block: Block
    ) -> NonFinite | None:
        """Add what is not finite in a block to what was found before it."""
        if not kinds.any():
            return before
        nan, plus, minus = (int(np.count_nonzero(kinds == kind)) for kind in (1, 2, 3))
        if before is None:
            first = self._place(block, int(np.argmax(kinds != 0)))
            return NonFinite(nan, plus, minus, first)
        return NonFinite(
            before.nan + nan, before.plus_inf + plus, before.minus_inf + minus, before.first
        )

    def _place(self, block: Block, index: int) -> tuple[int, int]:
        """Row, of those compared, and column of an element of a block."""
        row, column = divmod(index, block.columns.stop - block.columns.start)
        return block.rows.start + row, block.columns.start + column


def _dot(one: Float, other: Float, pieces: int) -> float:
    """Inner product, in pieces that OpenBLAS does not split."""
    left, right = one.reshape(pieces, 1, -1), other.reshape(pieces, -1, 1)
    return float(np.matmul(left, right).sum())


def _kinds(values: Numbers) -> NDArray[np.int8]:
    """0 where finite, 1 for NaN, 2 for infinity, 3 for minus infinity."""
    kinds = np.isnan(values).astype(np.int8)
    kinds[np.isposinf(values)] = 2
    kinds[np.isneginf(values)] = 3
    return kinds
