"""Faults in the integers: position ids, segment boundaries, masks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from parity.faults.fault import Fault

IMAGES = ("single-image", "two-images", "left-padded-batch", "photograph", "decoding")


def _swapped_axes(original: Callable[..., Any]) -> Callable[..., Any]:
    def vision_position_ids(*args: Any) -> Any:
        return original(*args)[:, ::-1]

    return vision_position_ids


def _one_segment(original: Callable[..., Any]) -> Callable[..., Any]:
    def vision_cu_seqlens(grid: Any) -> Any:
        return original(grid)[[0, -1]]

    return vision_cu_seqlens


def _segment_per_video(original: Callable[..., Any]) -> Callable[..., Any]:
    def vision_cu_seqlens(grid: Any) -> Any:
        return np.concatenate([[0], np.cumsum(grid.prod(axis=1))]).astype(np.int32)

    return vision_cu_seqlens


def _plain_positions(original: Callable[..., Any]) -> Callable[..., Any]:
    def rope_index(types: Any, *args: Any) -> Any:
        batch, length = types.shape
        return np.tile(np.arange(length), (3, batch, 1)), original(types, *args)[1]

    return rope_index


def _mask_ignored(original: Callable[..., Any]) -> Callable[..., Any]:
    def rope_index(types: Any, images: Any, videos: Any, mask: Any, merge: int) -> Any:
        return original(types, images, videos, None, merge)

    return rope_index


def _constant_time(original: Callable[..., Any]) -> Callable[..., Any]:
    def _grid_positions(grid: Any, merge: int, start: int) -> Any:
        positions = original(grid, merge, start)
        positions[0] = start
        return positions

    return _grid_positions


def _deltas_lost(original: Callable[..., Any]) -> Callable[..., Any]:
    def continued_position_ids(mask: Any, deltas: Any, *rest: Any) -> Any:
        return original(mask, np.zeros_like(deltas), *rest)

    return continued_position_ids


def _padding_visible(original: Callable[..., Any]) -> Callable[..., Any]:
    def causal_mask(mask: Any, *rest: Any) -> Any:
        return original(None, *rest)

    return causal_mask


FAULTS = (
    Fault("rope-hw-swapped", "height and width swapped in the vision rotary positions",
          "llama.cpp 13282", "visual.position_ids", (*IMAGES, "odd-video"),
          "vision:vision_position_ids", _swapped_axes),
    Fault("vit-no-mask", "images of one batch attend to each other", "sglang 9426",
          "visual.cu_seqlens", ("two-images", "left-padded-batch"),
          "vision:vision_cu_seqlens", _one_segment),
    Fault("vit-cu-seqlens-frame", "one attention segment for a whole video instead of one a frame",
          "general", "visual.cu_seqlens", ("odd-video",),
          "vision:vision_cu_seqlens", _segment_per_video),
    Fault("rope-1d", "1-D positions where images have three", "Liger-Kernel 276",
          "language_model.position_ids", (*IMAGES, "odd-video"),
          "inputs:rope_index", _plain_positions),
    Fault("rope-left-pad", "the attention mask ignored by the position index",
          "Pai-Megatron-Patch 448", "language_model.position_ids", ("left-padded-batch",),
          "inputs:rope_index", _mask_ignored),
    Fault("rope-temporal-const", "temporal positions constant over a video",
          "transformers 45381", "language_model.position_ids", ("odd-video",),
          "positions:_grid_positions", _constant_time),
    Fault("rope-deltas-lost", "rope deltas dropped when decoding", "mlx-vlm 1527",
          "language_model.position_ids", ("decoding",),
          "inputs:continued_position_ids", _deltas_lost),
    Fault("mask-padding-visible", "padding tokens attended to", "general",
          "language_model.attention_mask", ("left-padded-batch",),
          "ops:causal_mask", _padding_visible),
)  # fmt: skip
