"""The figures of one block of a comparison.

Errors, truths and their squares are float64. Figures that no verdict depends on (ULPs, relative
errors) are made from them in float32, which holds seven digits of each in half the time; where
that overflows they are infinite or NaN, and :mod:`parity.core.onepass` asks again for float64.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from parity.core.blocks import Block, Numbers, Operands
from parity.core.numerics import Format
from parity.core.standards import EPSILON

Float: TypeAlias = NDArray[np.float64]
Real: TypeAlias = NDArray[np.floating[Any]]


@dataclass
class Figures:
    """What one block adds to a comparison; triples are in the order of their docstrings."""

    rows: Float
    """Sums of squares of every row's error, truth and reference's own error, ``[3, r]``."""
    whole: list[float]
    """The same of the whole block."""
    columns: Float
    """The same of every column, ``[3, c]``."""
    update: Float
    """The same of what a residual block adds to its input, over everything."""
    products: Float
    """Candidate by candidate, and candidate by truth."""
    sums: Float
    """Of ULPs, in binades, and of the candidate's and the reference's relative errors."""
    most: Float
    """The largest of each of these."""
    sizes: Real
    """``|candidate - reference|`` of every element."""
    spare: Real
    """Memory of the same size, free to use."""

    @property
    def finite(self) -> bool:
        """Whether every number in the block was, and nothing made from them overflowed."""
        return math.isfinite(sum(self.whole) + sum(self.sums.tolist()) + sum(self.most.tolist()))


class Meter:
    """Measures blocks of up to ``size`` numbers, all in the same memory."""

    def __init__(self, dtype: Format, size: int, fast: type[np.floating[Any]]) -> None:
        self._wide = np.empty(4 * size)
        self._fast: Real = np.empty(5 * size, fast)
        self._ones = np.ones(size)
        self._fast_ones: Real = np.ones(size, fast)
        # NumPy finds the maximum of two arrays several times as fast as of one and a scalar.
        self._least: Real = np.full(size, 2.0**dtype.least_exponent, fast)

    def measure(self, part: Operands, block: Block) -> Figures:
        """Make every figure of ``part``, the operands of ``block``, all of them vectors."""
        size = part.reference.size
        wide = self._wide[: 4 * size].reshape(4, size)
        fast = self._fast[: 5 * size].reshape(5, size)
        candidate, error, true, own = wide
        np.copyto(candidate, part.candidate)
        np.copyto(true, part.reference)
        np.subtract(candidate, true, out=error)
        if part.residual is None:
            own[...] = 0
        else:
            np.copyto(own, part.residual)
            np.subtract(error, own, out=error)
            np.add(true, own, out=true)
        pairs = ((candidate, candidate), (candidate, true))
        products = np.array([self._dot(one, other, block.pieces) for one, other in pairs])
        sums, most = self._relate(part, error, fast, block.pieces)
        update = self._update(part, wide[1:], block.pieces)
        rows, columns = self._squares(wide[1:], block)
        whole = np.add.reduce(rows, axis=1).tolist()
        return Figures(rows, whole, columns, update, products, sums, most, fast[0], fast[3])

    def _relate(self, part: Operands, error: Float, fast: Real, pieces: int) -> tuple[Float, Float]:
        """Sums and maxima of ULPs and relative errors; leaves the differences in ``fast[0]``."""
        difference, true, ulps, relative, own = fast
        np.subtract(part.candidate, part.reference, out=difference)
        np.copyto(relative, error, casting="same_kind")
        np.abs(relative, out=relative)
        if part.residual is None:
            np.copyto(true, part.reference, casting="same_kind")
            own[...] = 0
        else:
            np.add(part.reference, part.residual, out=true)
            np.abs(part.residual, out=own)
        np.abs(fast[:2], out=fast[:2])
        np.add(true, fast.dtype.type(EPSILON), out=true)
        np.divide(fast[3:], true, out=fast[3:])
        self._binades(part.reference, ulps)
        np.divide(difference, ulps, out=ulps)
        stacked = fast[2:].reshape(3, pieces, 1, -1)
        sums = np.matmul(stacked, self._fast_ones[: stacked.shape[3], None])
        most = np.maximum.reduce(fast[2:], axis=1)
        return sums.reshape(3, -1).sum(axis=1, dtype=np.float64), most.astype(np.float64)

    def _binades(self, reference: Numbers, out: Real) -> None:
        """The power of two at or below each reference, or the dtype's least normal one."""
        if out.dtype == np.float32:
            exponents = out.view(np.int32)
            np.bitwise_and(reference.view(np.int32), np.int32(0x7F800000), out=exponents)
        else:
            np.ldexp(1.0, np.frexp(reference)[1] - 1, out=out)
        np.maximum(out, self._least[: out.size], out=out)

    def _update(self, part: Operands, wide: Float, pieces: int) -> Float:
        """Sums of squares of what a residual block adds to its input."""
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
        return np.array([self._dot(vector, vector, pieces) for vector in (error, true, own)])

    def _squares(self, wide: Float, block: Block) -> tuple[Float, Float]:
        """Sums of squares by row and by column; ``wide`` is lost."""
        np.square(wide, out=wide)
        stacked = wide.reshape(3, block.pieces, -1, block.width)
        by_row = np.matmul(stacked, self._ones[: block.width, None])
        return by_row.reshape(3, -1), np.einsum("tprc->tc", stacked)

    @staticmethod
    def _dot(one: Float, other: Float, pieces: int) -> float:
        """Inner product, in pieces that OpenBLAS does not split."""
        left, right = one.reshape(pieces, 1, -1), other.reshape(pieces, -1, 1)
        return float(np.matmul(left, right).sum())
