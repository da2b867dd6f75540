"""Faults between the merger and the logits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from parity.faults.fault import Fault, in_layer

VISUAL = ("single-image", "two-images", "left-padded-batch", "odd-video", "photograph", "decoding")
EVERY = (*VISUAL, "text-only", "long-text")


def _last_image_first(original: Callable[..., Any]) -> Callable[..., Any]:
    def scatter_features(embeds: Any, places: Any, features: Any, kind: str) -> Any:
        from mindspore import ops

        half = features.shape[0] // 2
        rolled = ops.concat((features[half:], features[:half]), axis=0)
        return original(embeds, places, rolled, kind)

    return scatter_features


def _interleaved(original: Callable[..., Any]) -> Callable[..., Any]:
    def construct(self: Any, position_ids: Any) -> Any:
        kept = self.row_of_frequency
        self.row_of_frequency = np.arange(len(kept)) % 3
        try:
            return original(self, position_ids)
        finally:
            self.row_of_frequency = kept

    return construct


def _small_epsilon(original: Callable[..., Any]) -> Callable[..., Any]:
    def faulty(self: Any, x: Any) -> Any:
        from qwen2vl_ms import ops

        return ops.rms_norm(x, self.weight, 1e-5)

    return in_layer(".layers.1.input_layernorm.", faulty)(original)


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


def _bias_dropped(original: Callable[..., Any]) -> Callable[..., Any]:
    def faulty(self: Any, x: Any) -> Any:
        from qwen2vl_ms import ops

        return ops.linear(x, self.weight, None)

    return in_layer(".layers.2.self_attn.k_proj.", faulty)(original)


def _vocabulary_shifted(original: Callable[..., Any]) -> Callable[..., Any]:
    def faulty(self: Any, x: Any) -> Any:
        from mindspore import ops

        logits = original(self, x)
        return ops.concat((logits[..., -1:], logits[..., :-1]), axis=-1)

    return in_layer("lm_head.", faulty)(original)


FAULTS = (
    Fault("scatter-order", "features of the images scattered in another order", "mlx-vlm 377",
          "language_model.inputs_embeds", VISUAL, "model:scatter_features", _last_image_first),
    Fault("rope-interleaved", "M-RoPE sections interleaved instead of chunked", "mlx-vlm 576",
          "language_model.rotary_emb.cos", VISUAL,
          "rope:Qwen2VLRotaryEmbedding.construct", _interleaved),
    Fault("rms-eps", "RMSNorm epsilon of 1e-5 for 1e-6, in one layer",
          "class default for a missing key", "language_model.layers.1.input_layernorm", EVERY,
          "layers:RMSNorm.construct", _small_epsilon),
    Fault("gqa-tile", "key and value heads tiled instead of repeated, in one layer", "general",
          "language_model.layers.1.self_attn", EVERY, "text:Qwen2VLAttention._joined", _keys_tiled),
    Fault("attn-bias-dropped", "the key projection's bias not loaded, in one layer", "general",
          "language_model.layers.2.self_attn.k_proj", EVERY,
          "layers:Linear.construct", _bias_dropped),
    Fault("head-vocabulary-shift", "logits shifted by one token of the vocabulary", "general",
          "lm_head", EVERY, "layers:Linear.construct", _vocabulary_shifted),
)  # fmt: skip
