"""Faults in who may attend to whom: segments of the vision tower, the decoder's mask."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from parity.faults.fault import Fault, swapped
from parity.faults.inputs import VISUAL


def _one_segment(original: Callable[..., Any]) -> Callable[..., Any]:
    def vision_cu_seqlens(grid: Any) -> Any:
        return original(grid)[[0, -1]]

    return vision_cu_seqlens


def _segment_per_video(original: Callable[..., Any]) -> Callable[..., Any]:
    def vision_cu_seqlens(grid: Any) -> Any:
        return np.concatenate([[0], np.cumsum(grid.prod(axis=1))]).astype(np.int32)

    return vision_cu_seqlens


def _padding_visible(original: Callable[..., Any]) -> Callable[..., Any]:
    def causal_mask(mask: Any, *rest: Any) -> Any:
        return original(None, *rest)

    return causal_mask


def _top_left(original: Callable[..., Any]) -> Callable[..., Any]:
    """Of the square mask of all tokens the first rows, where the last ones belong."""

    def causal_mask(mask: Any, batch: int, length: int, past: int, dtype: Any) -> Any:
        import mindspore as ms
        from mindspore import Tensor

        from qwen2vl_ms import ops

        if not past or length == 1:
            return original(mask, batch, length, past, dtype)
        square = ops.cast(original(mask, batch, past + length, 0, dtype), ms.float32).asnumpy()
        return Tensor(np.ascontiguousarray(square[:, :, :length])).astype(dtype)

    return causal_mask


def _cut_where_time_stands(original: Callable[..., Any]) -> Callable[..., Any]:
    """Take the temporal positions for those of text: where they do not go on, a sample begins."""

    def construct(
        self: Any, inputs_embeds: Any, position_ids: Any, *args: Any, **kwargs: Any
    ) -> Any:
        import mindspore as ms
        from mindspore import Tensor

        from qwen2vl_ms import ops

        causal = ops.causal_mask

        def causal_mask(mask: Any, batch: int, length: int, past: int, dtype: Any) -> Any:
            built = causal(mask, batch, length, past, dtype)
            steps = np.diff(position_ids[0], axis=1, prepend=position_ids[0][:, :1] - 1)
            sample = np.cumsum(steps != 1, axis=1)  # [B, S]
            other = (sample[:, None, :, None] != sample[:, None, None, :]) & (past == 0)
            lowest = np.where(other, np.float32(ops.LOWEST[str(dtype)]), np.float32(0))
            wide = ops.cast(built, ms.float32).asnumpy()
            return Tensor(np.minimum(wide, lowest)).astype(dtype)

        with swapped(ops, "causal_mask", causal_mask):
            return original(self, inputs_embeds, position_ids, *args, **kwargs)

    return construct


FAULTS = (
    Fault("vit-no-mask", "images of one batch attend to each other", "sglang 9426",
          "visual.cu_seqlens", ("two-images", "left-padded-batch"),
          "vision:vision_cu_seqlens", _one_segment),
    Fault("vit-cu-seqlens-frame", "one attention segment for a whole video instead of one a frame",
          "general", "visual.cu_seqlens", ("odd-video",),
          "vision:vision_cu_seqlens", _segment_per_video),
    Fault("mask-padding-visible", "padding tokens attended to", "general",
          "language_model.attention_mask", ("left-padded-batch",),
          "ops:causal_mask", _padding_visible),
    Fault("mask-causal-topleft", "the causal mask aligned with the first key, not with the last",
          "MindONE 0.5.0 source", "language_model.attention_mask", ("chunked-prefill",),
          "ops:causal_mask", _top_left),
    Fault("rope-text-row", "the mask made from position_ids[0], as if they were text's",
          "transformers 40490", "language_model.attention_mask", VISUAL,
          "text:Qwen2VLTextModel.construct", _cut_where_time_stands),
)  # fmt: skip
