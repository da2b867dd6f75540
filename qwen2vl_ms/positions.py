"""Where every token and patch is: pure functions on NumPy integers.

    N patches of the vision tower, n images or videos, F frames (temporal patches) in all
    B batch rows, S tokens, m merge size (2): one image token stands for m x m patches

Grids are rows (t, h, w) in patches. Patches come block by block: the m x m patches that are merged
into one token follow each other.

    4 x 4 patches, m = 2:

      0  1 |  4  5
      2  3 |  6  7
      -----+------
      8  9 | 12 13
     10 11 | 14 15

Integers have to equal the reference's exactly (tests/test_positions.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

import numpy as np
import numpy.typing as npt

from qwen2vl_ms.errors import Qwen2VLError

Ints = npt.NDArray[np.int64]

TEXT, IMAGE, VIDEO = 0, 1, 2  # mm_token_type_ids
_MODALITY = {IMAGE: "image", VIDEO: "video"}


def check_grid(grid_thw: Ints, merge_size: int, name: str = "grid_thw") -> Ints:
    """Return the grid as int64 [n, 3], or say what is wrong with it.

    Raises:
        Qwen2VLError: Not [n, 3] integers, not positive, or h or w not a multiple of the merge size.
    """
    grid = np.asarray(grid_thw)
    if grid.ndim != 2 or grid.shape[1] != 3 or grid.dtype.kind not in "iu" or not len(grid):
        raise Qwen2VLError(
            f"{name} has shape {grid.shape} and dtype {grid.dtype}: it has to be integers [n, 3], "
            "one row (t, h, w) for each image or video"
        )
    bad = np.flatnonzero((grid < 1).any(1) | (grid[:, 1:] % merge_size).any(1))
    if len(bad):
        raise Qwen2VLError(
            f"{name}[{bad[0]}] is {grid[bad[0]].tolist()}: t, h and w have to be positive, h and w "
            f"multiples of the merge size {merge_size}"
        )
    return grid.astype(np.int64)


def vision_position_ids(grid_thw: Ints, merge_size: int) -> Ints:
    """Row and column of every patch, in merge-block order.

    Mirrors ``get_vision_position_ids`` of transformers 5.23 ``vision_utils``.

    Args:
        grid_thw: int64 [n, 3], in patches.
        merge_size: Patches on a side of a merged token.

    Returns:
        int64 [N, 2], columns (h, w).
    """
    return np.concatenate([_frame_ids(h, w, merge_size, t) for t, h, w in grid_thw.tolist()])


def _frame_ids(height: int, width: int, m: int, frames: int) -> Ints:
    """(h, w) of one image's patches, repeated for each frame: [frames * height * width, 2]."""
    ids = np.indices((height, width))  # [2, h, w]
    ids = ids.reshape(2, height // m, m, width // m, m)  # [2, h/m, m, w/m, m]
    ids = ids.transpose(1, 3, 2, 4, 0)  # [h/m, w/m, m, m, 2]
    return np.tile(ids.reshape(-1, 2), (frames, 1))  # [frames*h*w, 2]


def vision_cu_seqlens(grid_thw: Ints) -> npt.NDArray[np.int32]:
    """Boundaries of the attention segments: every image and every frame is one.

    Mirrors ``get_vision_cu_seqlens`` of transformers 5.23 ``vision_utils``.

    Args:
        grid_thw: int64 [n, 3], in patches.

    Returns:
        int32 [F + 1], starting with 0.
    """
    lengths = np.repeat(grid_thw[:, 1] * grid_thw[:, 2], grid_thw[:, 0])  # [F]
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)  # [F+1]


def rope_index(
    mm_token_type_ids: Ints,
    image_grid_thw: Ints | None,
    video_grid_thw: Ints | None,
    attention_mask: Ints | None,
    merge_size: int,
) -> tuple[Ints, Ints]:
    """The 3-D M-RoPE positions of a prompt, and how far they lag behind the token count.

    Mirrors ``Qwen2VLModel.get_rope_index`` of transformers 5.23. Text advances all three rows by
    one a token. A grid spans t, h/m and w/m positions in the three rows, from the same start, and
    text goes on after the larger of h/m and w/m. Padding is skipped and keeps position 0.

    Args:
        mm_token_type_ids: int [B, S]: 0 text, 1 image, 2 video.
        image_grid_thw: int64 [n, 3] in patches, of all rows' images in order, or None.
        video_grid_thw: The same for videos.
        attention_mask: int [B, S], 0 at padding, or None.
        merge_size: Patches on a side of a token.

    Returns:
        Position ids int64 [3, B, S], and deltas int64 [B, 1]: the next token's position is its
        index among the unpadded tokens plus the delta.

    Raises:
        Qwen2VLError: The grids do not match the tokens.
    """
    types = np.asarray(mm_token_type_ids)
    keep = np.ones(types.shape, bool) if attention_mask is None else attention_mask != 0  # [B, S]
    grids = {IMAGE: _grid_rows(image_grid_thw), VIDEO: _grid_rows(video_grid_thw)}
    positions = np.zeros((3, *types.shape), np.int64)  # [3, B, S]
    for row, kept in enumerate(keep):
        if not kept.any():
            raise Qwen2VLError(f"row {row} of attention_mask is all padding: leave the row out")
        positions[:, row, kept] = _row_positions(types[row, kept], grids, merge_size, row)
    _check_used_up(grids)
    return positions, rope_deltas(positions, attention_mask)


def _grid_rows(grid_thw: Ints | None) -> Iterator[list[int]]:
    return iter([] if grid_thw is None else grid_thw.tolist())


def _row_positions(
    types: Ints, grids: dict[int, Iterator[list[int]]], merge_size: int, row: int
) -> Ints:
    """Positions of one row's unpadded tokens: [3, tokens]."""
    parts, start, index = [], 0, 0
    for modality, group in groupby(types.tolist()):
        length = len(list(group))
        if modality == TEXT:
            parts.append(np.tile(np.arange(length) + start, (3, 1)))  # [3, length]
            start += length
        else:
            grid = _next_grid(grids, modality, row)
            part = _grid_positions(grid, merge_size, start)  # [3, t*h*w/m/m]
            _check_length(part.shape[1], length, grid, modality, row, index)
            parts.append(part)
            start += max(grid[1:]) // merge_size
        index += length
    return np.concatenate(parts, axis=1)  # [3, tokens]


def _grid_positions(grid: list[int], m: int, start: int) -> Ints:
    """The three positions of one image's or video's tokens: [3, t * h/m * w/m]."""
    t, h, w = grid
    return np.indices((t, h // m, w // m)).reshape(3, -1) + start  # [3, t*h*w/m/m]


def _next_grid(grids: dict[int, Iterator[list[int]]], modality: int, row: int) -> list[int]:
    if modality not in _MODALITY:
        raise Qwen2VLError(
            f"row {row} of mm_token_type_ids holds {modality}: 0 is text, 1 image, 2 video"
        )
    grid = next(grids[modality], None)
    if grid is None:
        name = _MODALITY[modality]
        raise Qwen2VLError(
            f"row {row} holds one more {name} than {name}_grid_thw has rows: pass the grid of every"
            f" {name} of the batch, in order"
        )
    return grid


def _check_length(
    given: int, tokens: int, grid: list[int], modality: int, row: int, index: int
) -> None:
    if given != tokens:
        raise Qwen2VLError(
            f"row {row} has {tokens} {_MODALITY[modality]} tokens from its unpadded token {index} "
            f"on, but the grid {grid} gives {given}: grids and prompts are out of step"
        )


def _check_used_up(grids: dict[int, Iterator[list[int]]]) -> None:
    for modality, rows in grids.items():
        left = list(rows)
        if left:
            name = _MODALITY[modality]
            raise Qwen2VLError(
                f"{name}_grid_thw has {len(left)} rows more than the prompts have {name}s, "
                f"the first {left[0]}: the prompt lacks their tokens"
            )


def text_position_ids(batch: int, length: int, past: int = 0) -> Ints:
    """Positions of a prompt without images: the column's index, in all three rows.

    This is what the reference's ``forward`` uses for text, padded or not; its ``generate`` counts
    unpadded tokens instead (`continued_position_ids` with deltas of 0 gives those). Only
    differences of positions matter to the model, so the two agree within rounding.

    Returns:
        int64 [3, batch, length].
    """
    return np.tile(np.arange(past, past + length), (3, batch, 1))


def rope_deltas(position_ids: Ints, attention_mask: Ints | None, past: int = 0) -> Ints:
    """How far the next position is from the number of unpadded tokens so far.

    Args:
        position_ids: int64 [3, B, S], of the tokens after the cached ones.
        attention_mask: int [B, past + S], 0 at padding, or None.
        past: Cached tokens in each row.

    Returns:
        int64 [B, 1].
    """
    _, batch, length = position_ids.shape
    keep = np.ones((batch, past + length), bool) if attention_mask is None else attention_mask != 0
    last = np.where(keep[:, past:], position_ids, 0).max(axis=(0, 2))  # [B]
    return (last + 1 - keep.sum(axis=1))[:, None].astype(np.int64)  # [B, 1]


def continued_position_ids(
    attention_mask: Ints | None, rope_deltas: Ints, batch: int, length: int, past: int
) -> Ints:
    """Positions of the tokens that follow a cached prompt.

    Mirrors the decoding branch of ``Qwen2VLModel.compute_3d_position_ids`` of transformers 5.23,
    cut to the new columns as the reference's ``generate`` does.

    Args:
        attention_mask: int [batch, past + length], 0 at padding, or None.
        rope_deltas: int64 [batch, 1], from the prompt.
        batch: Rows.
        length: New tokens in each row.
        past: Cached tokens in each row.

    Returns:
        int64 [3, batch, length]: the index among the unpadded tokens plus the delta.
    """
    if attention_mask is None:
        index = np.tile(np.arange(past, past + length), (batch, 1))  # [B, S]
    else:
        index = np.where(attention_mask == 0, 0, np.cumsum(attention_mask != 0, axis=1) - 1)
        index = index[:, past:]  # [B, S]
    return np.tile(index + rope_deltas, (3, 1, 1)).astype(np.int64)  # [3, B, S]
