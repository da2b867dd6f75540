"""Faults in the attention of both towers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from parity.faults.fault import Fault, in_layer, swapped
from parity.faults.inputs import EVERY, VISUAL

PADDED_HEAD = 128


def _scaled(scale: float, prefix: str) -> Callable[..., Any]:
    """Another factor of the scores, in one layer."""

    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        def faulty(self: Any, *args: Any, **kwargs: Any) -> Any:
            with swapped(self, "scaling", scale):
                return original(self, *args, **kwargs)

        return in_layer(prefix, faulty)(original)

    return make


def _split_per_head(original: Callable[..., Any]) -> Callable[..., Any]:
    def faulty(self: Any, qkv: Any) -> Any:
        from mindspore import ops

        patches, heads = qkv.shape[0], self.num_heads
        each = qkv.reshape(patches, heads, 3, -1)
        thirds = ops.concat((each[:, :, 0], each[:, :, 1], each[:, :, 2]), axis=1)
        return thirds.reshape(-1, each.shape[-1])

    return in_layer(".blocks.3.", faulty)(original)


def _ones_added(original: Callable[..., Any]) -> Callable[..., Any]:
    """Every patch sees every other one; 1 is added to scores that should be hidden."""

    def faulty(self: Any, hidden_states: Any, cu_seqlens: Any, position_embeddings: Any) -> Any:
        from mindspore import Tensor

        from qwen2vl_ms import vision
        from qwen2vl_ms.attention import attend

        segment = np.repeat(np.arange(len(cu_seqlens) - 1), np.diff(cu_seqlens))
        ones = (segment[:, None] != segment).astype(np.float32)[None, None]  # [1, 1, N, N]

        def masked(kind: Any, query: Any, key: Any, value: Any, _: Any, *rest: Any) -> Any:
            return attend(kind, query, key, value, Tensor(ones), *rest)

        with swapped(vision, "attend", masked):
            return original(self, hidden_states, cu_seqlens[[0, -1]], position_embeddings)

    return in_layer(".blocks.2.", faulty)(original)


def _rotated_in_pairs(original: Callable[..., Any]) -> Callable[..., Any]:
    """Even and odd numbers are rotated together, not the two halves."""

    def faulty(self: Any, *args: Any, **kwargs: Any) -> Any:
        import mindspore as ms
        from mindspore import Tensor
        from mindspore import ops as mint

        from qwen2vl_ms import ops

        def rotate(x: Any, cos: Any, sin: Any, dtype: Any = ms.float32) -> Any:
            pairs = x.reshape(*x.shape[:-1], -1, 2)
            crossed = mint.gather(pairs, Tensor([1, 0], ms.int32), pairs.ndim - 1)
            rotated = (crossed * Tensor([-1, 1], x.dtype)).reshape(x.shape)
            cos, sin = cos.expand_dims(1), sin.expand_dims(1)
            return ops.rounded(
                ops.rounded(x * cos, dtype) + ops.rounded(rotated * sin, dtype), dtype
            )

        with swapped(ops, "rotate", rotate):
            return original(self, *args, **kwargs)

    return in_layer(".layers.0.", faulty)(original)


def _keys_tiled(original: Callable[..., Any]) -> Callable[..., Any]:
    def faulty(self: Any, query: Any, key: Any) -> Any:
        import mindspore as ms

        from qwen2vl_ms import ops

        # In float32, since the CPU backend gathers no bfloat16.
        heads = ops.cast(query, ms.float32).reshape(*query.shape[:2], -1, self.head_dim)
        # Queries regrouped as if key head i served queries i, i + n, ...
        groups = key.shape[-1] // self.head_dim
        order = np.arange(heads.shape[2]).reshape(-1, groups).T.reshape(-1)
        tiled = heads[:, :, order.tolist()].reshape(query.shape)
        return original(self, ops.cast(tiled, query.dtype), key)

    return in_layer(".layers.1.", faulty)(original)


def _mask_inverted(original: Callable[..., Any]) -> Callable[..., Any]:
    def faulty(self: Any, query: Any, key: Any, value: Any, mask: Any) -> Any:
        import mindspore as ms
        from mindspore import Tensor

        from qwen2vl_ms import ops

        kept = ops.cast(mask, ms.float32).asnumpy() == 0
        lowest = np.where(kept, np.float32(ops.LOWEST[str(mask.dtype)]), np.float32(0))
        return original(self, query, key, value, Tensor(lowest).astype(mask.dtype))

    return in_layer(".layers.2.", faulty)(original)


def _bias_dropped(original: Callable[..., Any]) -> Callable[..., Any]:
    def faulty(self: Any, x: Any) -> Any:
        from qwen2vl_ms import ops

        return ops.linear(x, self.weight, None)

    return in_layer(".layers.2.self_attn.k_proj.", faulty)(original)


def _not_transposed(original: Callable[..., Any]) -> Callable[..., Any]:
    def faulty(self: Any, x: Any) -> Any:
        from qwen2vl_ms import ops

        return ops.linear(x, self.weight.swapaxes(0, 1), self.bias)

    return in_layer(".layers.1.self_attn.o_proj.", faulty)(original)


FAULTS = (
    Fault("scale-padded-head", "attention scaled by the padded head size, in one block",
          "vllm-ascend", "visual.blocks.1.attn", VISUAL,
          "vision:VisionAttention.construct", _scaled(PADDED_HEAD**-0.5, ".blocks.1.")),
    Fault("vit-mask-additive", "a mask of 1 and 0 added for one of -inf and 0, in one block",
          "mlx-vlm 704", "visual.blocks.2.attn", ("two-images", "left-padded-batch", "odd-video"),
          "vision:VisionAttention.construct", _ones_added),
    Fault("qkv-order", "fused q, k, v split per head instead of per third, in one block",
          "general", "visual.blocks.3.attn", VISUAL,
          "vision:VisionAttention._heads", _split_per_head),
    Fault("rotate-interleaved", "even and odd numbers rotated, not halves, in one layer",
          "general", "language_model.layers.0.self_attn", EVERY,
          "text:Qwen2VLAttention.project", _rotated_in_pairs),
    Fault("scale-missing", "the fused kernel's default factor of 1 for the scores, in one layer",
          "MindSpore default", "language_model.layers.0.self_attn", EVERY,
          "text:Qwen2VLAttention.construct", _scaled(1.0, ".layers.0.")),
    Fault("gqa-tile", "key and value heads tiled instead of repeated, in one layer", "general",
          "language_model.layers.1.self_attn", EVERY, "text:Qwen2VLAttention._joined", _keys_tiled),
    Fault("mask-polarity", "1 for discard read as 1 for keep, in one layer",
          "MindSpore flash attention", "language_model.layers.2.self_attn", EVERY,
          "text:Qwen2VLAttention.mix", _mask_inverted),
    Fault("attn-bias-dropped", "the key projection's bias not loaded, in one layer", "general",
          "language_model.layers.2.self_attn.k_proj", EVERY,
          "layers:Linear.construct", _bias_dropped),
    Fault("weight-untransposed", "a square weight multiplied without being transposed",
          "vllm 44113", "language_model.layers.1.self_attn.o_proj", EVERY,
          "layers:Linear.construct", _not_transposed),
)  # fmt: skip
