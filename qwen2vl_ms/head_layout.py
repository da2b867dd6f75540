"""Where the rows of heads go: whole rows are gathered, and not numbers transposed.

The CPU backend copies a transposed or sliced view number by number, 13 times as slowly as it
gathers rows of one head's width. Indices are made on the host; values move bit for bit.

    N patches, nh heads, n patches of a segment, g heads of a group
"""

from __future__ import annotations

from dataclasses import dataclass

import mindspore as ms
import numpy as np
from mindspore import Tensor, ops

Part = tuple[int, int, int]
GROUP_ROWS = 2**17  # rows of one head's width that are worked on at once: 42 MB at a width of 80


@dataclass(frozen=True)
class HeadLayout:
    """How the fused projections [N, 3 * nh * hs] of a tower become parts, and come back.

    A part is some heads of one segment: heads do not see each other, nor do segments, so a part
    is attention of its own, and its size bounds the memory of everything in it.

    Attributes:
        ends: Where each segment ends, without a leading 0.
        parts: For each part, the first patch, the end, and the heads in it.
        rows: For each part, int32 [3 * g * n]: its queries', keys' and values' rows of [N * 3 * nh,
            hs], heads first.
        back: int32 [N * nh]: the row of all parts' results, one after the other, that belongs to
            each patch and head.
    """

    ends: tuple[int, ...]
    parts: tuple[Part, ...]
    rows: tuple[Tensor, ...]
    back: Tensor

    @classmethod
    def of(cls, ends: tuple[int, ...], heads: int) -> HeadLayout:
        """For segments that end at ``ends`` (without a leading 0)."""
        parts: list[Part] = []
        rows, targets = [], []
        for start, end in zip((0, *ends[:-1]), ends, strict=True):
            patches = np.arange(start, end, dtype=np.int32)
            for group in np.array_split(np.arange(heads), _groups(heads, end - start)):
                columns = np.concatenate([group, group + heads, group + 2 * heads])
                parts.append((start, end, len(group)))
                rows.append((patches * (3 * heads) + columns[:, None]).ravel())  # [3*g*n]
                targets.append((patches * heads + group[:, None]).ravel())  # [g*n]
        order = np.concatenate(targets)
        back = np.empty_like(order)
        back[order] = np.arange(len(order), dtype=np.int32)  # the inverse permutation
        tensors = tuple(Tensor(index.astype(np.int32)) for index in rows)
        return cls(ends, tuple(parts), tensors, Tensor(back.astype(np.int32)))


def _groups(heads: int, patches: int) -> int:
    """Into how many groups the heads of a segment are split."""
    most = max(1, GROUP_ROWS // (3 * patches))  # heads in a group
    return -(-heads // most)


def heads_first(x: Tensor, width: int) -> Tensor:
    """[B, S, n * hs] to [B, n, S, hs]."""
    batch, length, _ = x.shape
    rows = x.reshape(-1, width)
    heads = rows.shape[0] // (batch * length)
    if length > 1 and heads > 1:
        rows = ops.gather(rows, _swapped(batch, length, heads), 0)
    return rows.reshape(batch, heads, length, width)


def heads_last(x: Tensor) -> Tensor:
    """[B, n, S, hs] to [B, S, n * hs]."""
    batch, heads, length, width = x.shape
    rows = x.reshape(-1, width)
    if length > 1 and heads > 1:
        rows = ops.gather(rows, _swapped(batch, heads, length), 0)
    return rows.reshape(batch, length, heads * width)


def _swapped(batch: int, rows: int, columns: int) -> Tensor:
    """The order that turns [batch, rows, columns] into [batch, columns, rows], flat."""
    places = ops.arange(batch * rows * columns).reshape(batch, rows, columns)
    return places.transpose(0, 2, 1).reshape(-1).astype(ms.int32)
