"""One pass over a candidate and its reference that adds up all that a comparison says.

The tensors are matrices ``[R, C]`` (legend in :mod:`parity.core.stats`), read block by block.
What is made of a block stays in the processor's caches, and no temporary has the size of a
tensor. A block with something that is not finite, or whose figures overflow, is measured a second
time, in float64 and without what is not finite alike on both sides.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from parity.core import blocks
from parity.core.blocks import Block, Operands
from parity.core.meter import Figures, Float, Meter
from parity.core.nonfinite import Census
from parity.core.numerics import Format

ATOL = 1e-5
"""Absolute tolerance of ``torch.testing.assert_close``, in each of the three dtypes."""
SLACK = 1e-6
"""More than float32 can be off by, where it decides what is looked at in float64."""
HUGE = 1e38
"""Still a number in float32."""


@dataclass
class Totals:
    """What a pass adds up; names that :class:`parity.core.meter.Figures` has mean the same."""

    rows: Float
    columns: Float
    update: Float = field(default_factory=lambda: np.zeros(3))
    products: Float = field(default_factory=lambda: np.zeros(2))
    sums: Float = field(default_factory=lambda: np.zeros(3))
    most: Float = field(default_factory=lambda: np.zeros(3))
    max_abs: float = -1.0
    """Largest ``|candidate - reference|``; NaN where there is one."""
    max_at: tuple[int, int] = (0, 0)
    """Its row, of those compared, and its column."""
    rtol: float = 0.0
    """Smallest relative tolerance with which ``assert_close`` accepts all finite pairs."""
    saturated: dict[str, int] = field(default_factory=lambda: {"candidate": 0, "reference": 0})
    """Values of each side at or beyond the dtype's largest number."""
    census: Census = field(default_factory=Census)

    def add(self, figures: Figures, block: Block) -> None:
        """Add one block."""
        self.rows[:, block.rows] += figures.rows
        self.columns[:, block.columns] += figures.columns
        self.update += figures.update
        self.products += figures.products
        self.sums += figures.sums
        np.maximum(self.most, figures.most, out=self.most)


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
        for block in blocks.blocks(count, columns):
            rows = block.rows if kept is None else kept[block.rows]
            one_pass.take(operands.cut(rows, block.columns), block)
    return totals


class _Pass:
    """The pass on its way."""

    def __init__(self, dtype: Format, totals: Totals) -> None:
        self.dtype, self.totals = dtype, totals
        size = min(blocks.PIECE * blocks.PIECES, totals.rows[0].size * totals.columns[0].size)
        self.meter = Meter(dtype, size, np.float32)

    def take(self, found: Operands, block: Block) -> None:
        """Measure one block and add it."""
        part, figures = found, None
        if part.candidate.dtype == part.reference.dtype == np.float32:
            figures = self.meter.measure(part, block)
        if figures is None or not figures.finite:
            part = self.totals.census.set_apart(found, block)
            figures = Meter(self.dtype, part.reference.size, np.float64).measure(part, block)
        self.totals.add(figures, block)
        largest = float(figures.sizes.max())
        self._locate(part, block, figures, largest)
        self._tolerate(part, figures, largest)
        if part is not found or not self._moderate(figures):
            self._saturate(found)

    def _locate(self, part: Operands, block: Block, figures: Figures, largest: float) -> None:
        """Note the largest difference, exactly, if it is in this block; NaN counts as largest."""
        totals, sizes = self.totals, figures.sizes
        if not math.isfinite(totals.max_abs) or largest < sizes.dtype.type(totals.max_abs):
            return
        near = np.flatnonzero(~(sizes < largest))  # rounding keeps the order
        exact = np.abs(part.candidate[near].astype(np.float64) - part.reference[near])
        first = int(np.argmax(np.where(np.isnan(exact), np.inf, exact)))
        if not exact[first] <= totals.max_abs:
            totals.max_abs = float(exact[first])
            totals.max_at = block.place(int(near[first]))

    def _tolerate(self, part: Operands, figures: Figures, largest: float) -> None:
        """Raise the relative tolerance until this block is within it, too."""
        least = ATOL * (1 - SLACK)
        if largest <= least:
            return
        sizes, excess = figures.sizes, figures.spare
        np.abs(part.reference, out=excess)
        np.multiply(
            excess, excess.dtype.type(min(self.totals.rtol * (1 - SLACK), HUGE)), out=excess
        )
        np.subtract(sizes, excess, out=excess)
        if excess.max() <= least:
            return
        over = np.flatnonzero(excess > least)
        reference = part.reference[over].astype(np.float64)
        needed = (np.abs(part.candidate[over] - reference) - ATOL) / np.abs(reference)
        needed = needed[needed > 0]
        self.totals.rtol = max(self.totals.rtol, float(needed.max(initial=0.0)))

    def _moderate(self, figures: Figures) -> bool:
        """Whether the norms of a block rule out values at the end of the dtype's range."""
        error, true, own = (math.sqrt(square) for square in figures.whole)
        return true + max(error, own) < self.dtype.largest

    def _saturate(self, part: Operands) -> None:
        """Count values at the end of the dtype's range."""
        for name in self.totals.saturated:
            beyond = np.abs(getattr(part, name)) >= self.dtype.largest
            self.totals.saturated[name] += int(np.count_nonzero(beyond))
