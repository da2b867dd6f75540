"""Faults in what goes from one pass to the next: positions of new tokens, cached keys."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from parity.faults.fault import Fault, hidden, in_layer, swapped
from parity.faults.inputs import DECODING

POSITIONS = "language_model.position_ids"


def _from_cache_length(original: Callable[..., Any]) -> Callable[..., Any]:
    def continued_position_ids(mask: Any, deltas: Any, batch: int, length: int, past: int) -> Any:
        return np.tile(np.arange(past, past + length), (3, batch, 1))

    return continued_position_ids


def _lost_after_a_step(original: Callable[..., Any]) -> Callable[..., Any]:
    def positions(self: Any) -> Any:
        found, deltas = original(self)
        grids = self.image_grid_thw is not None or self.video_grid_thw is not None
        return found, deltas if grids else np.zeros_like(deltas)

    return positions


def _of_the_first_prompt(original: Callable[..., Any]) -> Callable[..., Any]:
    """The port keeps no deltas: here the first ones that come by are kept, and used ever after."""
    kept: list[Any] = []

    def continued_position_ids(mask: Any, deltas: Any, *rest: Any) -> Any:
        kept.append(deltas)
        return original(mask, kept[0], *rest)

    return continued_position_ids


def _ids_not_cut(original: Callable[..., Any]) -> Callable[..., Any]:
    """Each part of a prompt takes the first positions of the whole prompt's."""
    prompt: list[Any] = []

    def construct(
        self: Any, inputs_embeds: Any, position_ids: Any, attention_mask: Any, cache: Any
    ) -> Any:
        if cache is None or not cache.length:
            prompt[:] = [position_ids]
        elif inputs_embeds.shape[1] > 1:
            position_ids = prompt[0][:, :, : inputs_embeds.shape[1]]
        return original(self, inputs_embeds, position_ids, attention_mask, cache)

    return construct


def _prompt_counted_twice(original: Callable[..., Any]) -> Callable[..., Any]:
    prompt: list[int] = []

    def continued_position_ids(mask: Any, deltas: Any, batch: int, length: int, past: int) -> Any:
        prompt.append(past)
        again = prompt[0] if past > prompt[0] else 0
        return original(mask, deltas, batch, length, past) + again

    return continued_position_ids


def _cache_in_bfloat16(original: Callable[..., Any]) -> Callable[..., Any]:
    def faulty(self: Any, *args: Any, **kwargs: Any) -> Any:
        import mindspore as ms

        from qwen2vl_ms import ops
        from qwen2vl_ms.cache import LayerCache

        append = LayerCache.append

        def narrow(cache: Any, key: Any, value: Any) -> Any:
            start = cache.length
            rounded = (ops.rounded(x, ms.bfloat16) for x in (key, value))
            kept = append(cache, *rounded)
            return kept if start else (key, value)

        with swapped(LayerCache, "append", narrow):
            return original(self, *args, **kwargs)

    return in_layer(".layers.1.", faulty)(original)


def _last_slot_overwritten(original: Callable[..., Any]) -> Callable[..., Any]:
    def faulty(self: Any, *args: Any, **kwargs: Any) -> Any:
        from qwen2vl_ms.cache import LayerCache

        append = LayerCache.append

        def too_early(cache: Any, key: Any, value: Any) -> Any:
            start = cache.length
            if not start:
                return append(cache, key, value)
            cache.length = start - 1
            kept = append(cache, key, value)
            cache.length = start + key.shape[2]
            return kept

        with swapped(LayerCache, "append", too_early):
            return original(self, *args, **kwargs)

    return in_layer(".layers.1.", faulty)(original)


def _unwritten_visible(original: Callable[..., Any]) -> Callable[..., Any]:
    def faulty(self: Any, *args: Any, **kwargs: Any) -> Any:
        from mindspore import ops

        from qwen2vl_ms.cache import LayerCache

        def widened(cache: Any, mask: Any, keys: int) -> Any:
            missing = (*mask.shape[:3], keys - mask.shape[3])
            return ops.concat((mask, ops.zeros(missing, mask.dtype)), axis=-1)

        with swapped(LayerCache, "widened", widened):
            return original(self, *args, **kwargs)

    return in_layer(".layers.0.", faulty)(original)


FAULTS = (
    Fault("rope-cache-offset", "decoding positions from the cache's length alone", "mlx-vlm 319",
          POSITIONS, DECODING, "inputs:continued_position_ids", _from_cache_length),
    Fault("rope-deltas-lost", "rope deltas dropped after the first decoding step",
          "mlx-vlm 1527", POSITIONS, DECODING, "inputs:IntegerInputs.positions",
          _lost_after_a_step),
    Fault("rope-deltas-stale", "the rope deltas of an earlier prompt used for a later one",
          "transformers 43952", POSITIONS, ("second-prompt",),
          "inputs:continued_position_ids", _of_the_first_prompt),
    Fault("rope-chunk-prefill", "a whole prompt's positions not cut to the part at hand",
          "mlx-vlm 1741", POSITIONS, ("chunked-prefill",),
          "text:Qwen2VLTextModel.construct", _ids_not_cut),
    Fault("rope-offset-twice", "the prompt's length added again after the first decoding step",
          "tiny-llm 46", POSITIONS, ("decoding",), "inputs:continued_position_ids",
          _prompt_counted_twice),
    Fault("kv-cache-dtype", "one layer's cache kept in bfloat16", "general",
          "language_model.layers.1.self_attn", DECODING, "text:Qwen2VLAttention.construct",
          _cache_in_bfloat16,
          hidden("keys and values are rounded to bfloat16 before they are cached", "bf16",
                 "ascend-mixed")),
    Fault("cache-slot-overwritten", "a new token written over the one before it, in one layer",
          "general", "language_model.layers.1.self_attn", DECODING,
          "text:Qwen2VLAttention.construct", _last_slot_overwritten),
    Fault("cache-unwritten-visible", "slots of the cache that are not written yet attended to",
          "general", "language_model.layers.0.self_attn", DECODING,
          "text:Qwen2VLAttention.construct", _unwritten_visible),
)  # fmt: skip
