"""Which patch of which picture a row of a vision tensor is.

The processor gives patches picture by picture and frame by frame; inside a frame they come window
by window, merge x merge patches that become one token, row by row in the window:

    4 x 6 patches, merge 2:

      0  1 |  4  5 |  8  9
      2  3 |  6  7 | 10 11
      -----+-------+------
     12 13 | 16 17 | 20 21
     14 15 | 18 19 | 22 23
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from parity.core.detail import MERGED, PATCHES
from parity.core.inputs_shown import Picture

LARGEST = 1000
"""Patches along a side; more than this no processor gives, and no page can show."""


@dataclass(frozen=True)
class Spot:
    """A cell of a picture, both counted from 0 at the top left."""

    picture: int
    """Which of the pictures that were given."""
    row: int
    column: int


def spots(pictures: Sequence[Picture], merge: int, layout: str) -> list[Spot]:
    """Return the cell of every row of a tensor, in order.

    Args:
        pictures: Those of one firing of the vision tower, a frame each, in the order of patches.
        merge: Patches along each side of a window.
        layout: ``patches``, or ``merged`` where a whole window is one row.

    Returns:
        One spot a row; nothing where a size makes no sense.
    """
    if not 0 < merge <= LARGEST or layout not in (PATCHES, MERGED):
        return []
    for one in pictures:
        if not (0 < one.height <= LARGEST and 0 < one.width <= LARGEST):
            return []
    step = merge if layout == PATCHES else 1
    return [
        Spot(number, row, column)
        for number, one in enumerate(pictures)
        for row, column in _frame(*size(one, merge, layout), step)
    ]


def size(picture: Picture, merge: int, layout: str) -> tuple[int, int]:
    """Return how many cells a picture has from top to bottom and from left to right."""
    share = merge if layout == MERGED else 1
    return picture.height // share, picture.width // share


def _frame(height: int, width: int, step: int) -> Iterator[tuple[int, int]]:
    """Yield row and column of every cell of a frame, window by window."""
    for top in range(0, height, step):
        for left in range(0, width, step):
            for down in range(min(step, height - top)):
                for right in range(min(step, width - left)):
                    yield top + down, left + right
