"""Faults in the positions of tokens and patches."""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby
from typing import Any

import numpy as np

from parity.faults.fault import Fault
from parity.faults.inputs import VISUAL


def _plain_positions(original: Callable[..., Any]) -> Callable[..., Any]:
    def rope_index(types: Any, *args: Any) -> Any:
        batch, length = types.shape
        return np.tile(np.arange(length), (3, batch, 1)), original(types, *args)[1]

    return rope_index


def _mask_ignored(original: Callable[..., Any]) -> Callable[..., Any]:
    def rope_index(types: Any, images: Any, videos: Any, mask: Any, merge: int) -> Any:
        return original(types, images, videos, None, merge)

    return rope_index


def _ones_only(original: Callable[..., Any]) -> Callable[..., Any]:
    def rope_index(types: Any, images: Any, videos: Any, mask: Any, merge: int) -> Any:
        positions, deltas = original(types, images, videos, mask, merge)
        return np.where(mask == 1, positions, 0), deltas

    return rope_index


def _after_every_token(original: Callable[..., Any]) -> Callable[..., Any]:
    """Start each run of text or picture tokens at its index, as if each had one position."""

    def rope_index(types: Any, images: Any, videos: Any, mask: Any, merge: int) -> Any:
        positions, deltas = original(types, images, videos, mask, merge)
        for row, kept in enumerate(np.asarray(mask) != 0):
            index, own = 0, positions[:, row, kept]  # [3, tokens]
            for _, group in groupby(types[row, kept].tolist()):
                run = slice(index, index + len(list(group)))
                own[:, run] += index - own[:, run].min()
                index = run.stop
            positions[:, row, kept] = own
        return positions, deltas

    return rope_index


def _constant_time(original: Callable[..., Any]) -> Callable[..., Any]:
    def _grid_positions(grid: Any, merge: int, start: int) -> Any:
        positions = original(grid, merge, start)
        positions[0] = start
        return positions

    return _grid_positions


def _seconds(original: Callable[..., Any]) -> Callable[..., Any]:
    def _grid_positions(grid: Any, merge: int, start: int) -> Any:
        positions = original(grid, merge, start)
        positions[0] += positions[0] - start  # two positions for each patch of a second
        return positions

    return _grid_positions


def _swapped_axes(original: Callable[..., Any]) -> Callable[..., Any]:
    def vision_position_ids(*args: Any) -> Any:
        return original(*args)[:, ::-1]

    return vision_position_ids


def _raster(original: Callable[..., Any]) -> Callable[..., Any]:
    def vision_position_ids(grid: Any, merge: int) -> Any:
        frames = [(h, w) for t, h, w in grid.tolist() for _ in range(t)]
        return np.concatenate([np.indices(frame).reshape(2, -1).T for frame in frames])

    return vision_position_ids


FAULTS = (
    Fault("vision-positions-swapped", "height and width of patches swapped in their positions",
          "general", "visual.position_ids", VISUAL,
          "vision:vision_position_ids", _swapped_axes),
    Fault("vision-positions-raster", "positions of patches row by row, not merge-block by block",
          "general", "visual.position_ids", VISUAL, "vision:vision_position_ids", _raster),
    Fault("rope-1d", "1-D positions where images have three", "Liger-Kernel 276",
          "language_model.position_ids", VISUAL, "inputs:rope_index", _plain_positions),
    Fault("rope-after-tokens", "text goes on after as many positions as a picture has tokens",
          "llama.cpp 13141", "language_model.position_ids", VISUAL,
          "inputs:rope_index", _after_every_token),
    Fault("rope-left-pad", "the attention mask ignored by the position index",
          "Pai-Megatron-Patch 448", "language_model.position_ids", ("left-padded-batch",),
          "inputs:rope_index", _mask_ignored),
    Fault("rope-mask-eq-1", "only values of 1 in the mask accepted, where packing writes others",
          "LlamaFactory 7754", "language_model.position_ids", ("marked-mask",),
          "inputs:rope_index", _ones_only),
    Fault("rope-temporal-const", "temporal positions constant over a video",
          "transformers 45381", "language_model.position_ids", ("odd-video",),
          "positions:_grid_positions", _constant_time),
    Fault("rope-temporal-seconds", "temporal positions by the second, as in Qwen2.5-VL",
          "transformers 41152", "language_model.position_ids", ("odd-video",),
          "positions:_grid_positions", _seconds),
)  # fmt: skip
