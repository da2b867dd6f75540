"""How the tensors of a comparison are cut into blocks that fit the processor's caches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

Numbers: TypeAlias = NDArray[Any]

PIECE = 9000
"""Numbers in one product by OpenBLAS, which splits those of more than 9216 among threads: for
vectors that stay in the cache, waking a thread takes longer than the product."""
PIECES = 8
"""In one block: enough that calling NumPy costs little beside computing, few enough for a cache."""


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
        """A block of each matrix, as vectors; views wherever they will do."""
        return self.map(lambda matrix: matrix[rows, columns].reshape(-1))


class Block(NamedTuple):
    """A part of a matrix: consecutive rows, or consecutive columns of one row."""

    rows: slice
    columns: slice
    pieces: int
    """Of how many equal parts, of whole rows, the block consists."""

    @property
    def width(self) -> int:
        """How many columns it has."""
        return int(self.columns.stop - self.columns.start)

    def place(self, index: int) -> tuple[int, int]:
        """Row and column in the matrix of the block's ``index``-th element."""
        row, column = divmod(index, self.width)
        return self.rows.start + row, self.columns.start + column


def blocks(rows: int, columns: int) -> Iterator[Block]:
    """Cut ``[rows, columns]`` into blocks, in the order in which a matrix is laid out."""
    width = min(columns, PIECE)
    height = max(1, PIECE // width)
    step = height * PIECES if width == columns else 1
    for top in range(0, rows, step):
        down = slice(top, min(top + step, rows))
        pieces = _equal_parts(down.stop - top, height)
        for left in range(0, columns, width):
            yield Block(down, slice(left, min(left + width, columns)), pieces)


def _equal_parts(rows: int, most: int) -> int:
    """Into how few equal parts of at most ``most`` rows ``rows`` can be cut."""
    return next(
        parts for parts in range(1, rows + 1) if rows % parts == 0 and rows // parts <= most
    )
