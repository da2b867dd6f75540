"""The whole model: token ids and pixels to logits.

    B batch, S new tokens, L = past + S tokens in all, H width, V vocabulary
    N patches, P = 1176 numbers in a patch, n images or videos, m merge size (2)

    input_ids -> embed_tokens -> [B, S, H]  <- features [N/m/m, H] <- visual <- pixels [N, P]
      -> language_model -> [B, S, H] -> lm_head -> logits [B, S, V]

Nothing is remembered between calls: the cache and the rope deltas are arguments and results.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops

from qwen2vl_ms import ops as F
from qwen2vl_ms.attention import choose
from qwen2vl_ms.cache import KVCache
from qwen2vl_ms.config import Qwen2VLConfig
from qwen2vl_ms.errors import Qwen2VLError
from qwen2vl_ms.generation_config import GenerationConfig
from qwen2vl_ms.inputs import IntegerInputs
from qwen2vl_ms.layers import Linear
from qwen2vl_ms.positions import Ints
from qwen2vl_ms.precision import Policy, resolve_policy
from qwen2vl_ms.text import Qwen2VLTextModel
from qwen2vl_ms.vision import Qwen2VisionTransformer


@dataclass(frozen=True)
class Qwen2VLOutput:
    """What a forward pass returns.

    Attributes:
        logits: float [B, S, V].
        rope_deltas: int64 [B, 1]: the next token's position is its index among the unpadded
            tokens plus this. Pass it to the next call, with the cache.
        cache: The cache that was passed, now holding the new tokens too, or None.
    """

    logits: Tensor
    rope_deltas: Ints
    cache: KVCache | None


class Qwen2VLModel(nn.Cell):
    """Both towers, up to the last hidden state. Mirrors ``Qwen2VLModel`` of transformers 5.23."""

    def __init__(
        self,
        config: Qwen2VLConfig,
        policy: Policy,
        implementation: str = "auto",
        jit: bool = False,
    ) -> None:
        super().__init__()
        self.token_ids = {"image": config.image_token_id, "video": config.video_token_id}
        self.kernel = policy.kernel(policy.hidden)
        options = policy, implementation, jit
        self.visual = Qwen2VisionTransformer(config.vision_config, *options)
        self.language_model = Qwen2VLTextModel(config.text_config, *options)

    def construct(
        self,
        integers: IntegerInputs,
        pixel_values: Tensor | None,
        pixel_values_videos: Tensor | None,
        cache: KVCache | None,
        chunk_size: int | None = None,
    ) -> tuple[Tensor, Ints]:
        """Return the hidden states [B, S, H] and the rope deltas [B, 1]."""
        position_ids, rope_deltas = integers.positions()  # [3, B, S], [B, 1]
        ids = integers.input_ids  # [B, S]
        embeds = self.language_model.embed_tokens(Tensor(ids, ms.int32))  # [B, S, H]
        embeds = self._place("image", embeds, ids, pixel_values, integers.image_grid_thw)
        embeds = self._place("video", embeds, ids, pixel_values_videos, integers.video_grid_thw)
        past, mask = integers.past, integers.attention_mask
        parts = chunks(ids.shape[1], chunk_size)
        hidden_states = [
            self.language_model(
                inputs_embeds=embeds[:, part] if len(parts) > 1 else embeds,
                position_ids=position_ids[:, :, part],
                attention_mask=None if mask is None else mask[:, : past + part.stop],
                cache=cache,
            )
            for part in parts
        ]
        joined = hidden_states[0] if len(hidden_states) == 1 else ops.concat(hidden_states, axis=1)
        return joined, rope_deltas

    def _place(
        self, kind: str, embeds: Tensor, ids: Ints, pixels: Tensor | None, grid: Ints | None
    ) -> Tensor:
        """Put the features of all images (or videos) where their tokens are: [B, S, H]."""
        if (pixels is None) != (grid is None):
            raise Qwen2VLError(
                f"the {kind} pixels and {kind}_grid_thw go together: pass both, or neither"
            )
        if pixels is None:
            return embeds
        features = self.visual(hidden_states=pixels, grid_thw=grid)  # [N/m/m, H]
        places = ids == self.token_ids[kind]
        # Exact, but for kernels: the CPU backend gathers no bfloat16.
        wide = F.cast(embeds, self.kernel), F.cast(features, self.kernel)
        return F.cast(scatter_features(wide[0], places, wide[1], kind), embeds.dtype)


class Qwen2VLForConditionalGeneration(nn.Cell):
    """Qwen2-VL with its head. Mirrors the class of the same name of transformers 5.23."""

    def __init__(
        self,
        config: Qwen2VLConfig,
        policy: Policy | None = None,
        attn_implementation: str | None = None,
        jit: bool = False,
    ) -> None:
        """Build with zeros for weights; the arguments are those of `from_pretrained`."""
        super().__init__()
        self.config = config
        self.policy = policy = policy or resolve_policy()
        self.generation_config = GenerationConfig()
        text = config.text_config
        self.model = Qwen2VLModel(config, policy, choose(attn_implementation, policy), jit)
        kernel = policy.kernel(policy.hidden)
        self.lm_head = Linear(text.hidden_size, text.vocab_size, kernel, bias=False)
        if config.tie_word_embeddings:
            self.lm_head.weight = self.model.language_model.embed_tokens.weight

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path,
        mindspore_dtype: Any = None,
        attn_implementation: str | None = None,
        jit: bool = False,
        progress: bool = False,
    ) -> Qwen2VLForConditionalGeneration:
        """Load a checkpoint folder in the Hugging Face layout, in inference mode.

        Args:
            folder: Holds ``config.json`` and safetensors, in one file or sharded.
            mindspore_dtype: ``mindspore.float32`` (the default), ``float16`` or ``bfloat16``, or
                the name of a policy of qwen2vl_ms.precision. The stored weights are rounded to it.
            attn_implementation: "eager", "chunked" or "flash" (see qwen2vl_ms.attention); None for
                the best one on this device.
            jit: Compile each block as a graph (see qwen2vl_ms.graph).
            progress: Show a progress bar while weights are read.

        Raises:
            Qwen2VLError: The folder, the configuration or the weights cannot be used, or the
                device cannot compute so.
        """
        from qwen2vl_ms.weights import load_weights

        policy = resolve_policy(mindspore_dtype)
        model = cls(Qwen2VLConfig.from_pretrained(folder), policy, attn_implementation, jit)
        model.generation_config = GenerationConfig.from_pretrained(folder)
        load_weights(model, folder, progress=progress)
        return model.set_train(False)

    def make_cache(self, batch_size: int, max_length: int) -> KVCache:
        """An empty cache for ``batch_size`` rows of ``max_length`` tokens, padding included.

        Raises:
            Qwen2VLError: A size is not positive.
        """
        dtype = self.policy.kernel(self.policy.attention)
        return KVCache(self.config.text_config, batch_size, max_length, dtype)

    def generate(self, *args: Any, **kwargs: Any) -> Tensor:
        """Answer prompts: see `qwen2vl_ms.generate.generate`, of which this is the first argument.

        Returns:
            int32 [B, prompt + new], the prompt included.
        """
        from qwen2vl_ms.generate import generate

        return generate(self, *args, **kwargs)

    def construct(
        self,
        input_ids: Any,
        attention_mask: Any = None,
        mm_token_type_ids: Any = None,
        position_ids: Any = None,
        pixel_values: Any = None,
        image_grid_thw: Any = None,
        pixel_values_videos: Any = None,
        video_grid_thw: Any = None,
        cache: KVCache | None = None,
        rope_deltas: Any = None,
        logits_to_keep: int = 0,
        chunk_size: int | None = None,
    ) -> Qwen2VLOutput:
        """Compute the logits of a prompt, or of the tokens that follow a cached one.

        Integers may be MindSpore tensors or NumPy arrays.

        Args:
            input_ids: int [B, S].
            attention_mask: int [B, L], 0 at padding (on the left); None for no padding.
            mm_token_type_ids: int [B, S], 0 text, 1 image, 2 video; needed with grids.
            position_ids: int [3, B, S], instead of the computed ones.
            pixel_values: Flattened patches of all images, float [N, P].
            image_grid_thw: int [n, 3]: (t, h, w) of each image, in patches.
            pixel_values_videos: The same for videos.
            video_grid_thw: The same for videos.
            cache: Filled in place. Pass `make_cache`'s with the prompt and the result's with each
                new token; None computes without one.
            rope_deltas: int [B, 1], the prompt's result, to be passed with each new token.
            logits_to_keep: Compute the logits of that many last tokens only; 0 for all.
            chunk_size: Run at most that many tokens through the language model at once, which
                bounds the memory of attention; needs a cache. None for all.

        Raises:
            Qwen2VLError: Arguments of wrong shapes or dtypes, or that do not go together, or more
                tokens than the cache can hold.
        """
        integers = IntegerInputs.check(
            past=0 if cache is None else cache.length,
            merge_size=self.config.vision_config.spatial_merge_size,
            vocab_size=self.config.text_config.vocab_size,
            input_ids=input_ids,
            attention_mask=attention_mask,
            mm_token_type_ids=mm_token_type_ids,
            position_ids=position_ids,
            image_grid_thw=image_grid_thw,
            video_grid_thw=video_grid_thw,
            rope_deltas=rope_deltas,
        )
        batch, length = integers.input_ids.shape
        if cache is not None:
            cache.check_room(batch, length)
        elif chunk_size is not None:
            raise Qwen2VLError("chunk_size needs a cache: pass cache=model.make_cache(...)")
        dtype = self.policy.patch_embed
        hidden_states, deltas = self.model(
            integers=integers,
            pixel_values=_pixels(pixel_values, dtype),
            pixel_values_videos=_pixels(pixel_values_videos, dtype),
            cache=cache,
            chunk_size=chunk_size,
        )
        if 0 < logits_to_keep < length:
            hidden_states = hidden_states[:, length - logits_to_keep :]
        return Qwen2VLOutput(self.lm_head(hidden_states), deltas, cache)


def scatter_features(
    embeds: Tensor, places: np.ndarray[Any, np.dtype[np.bool_]], features: Tensor, kind: str
) -> Tensor:
    """Replace the embeddings at some tokens by features, in order.

    Mirrors ``get_placeholder_mask`` and ``masked_scatter`` of the reference, as one gather.

    Args:
        embeds: [B, S, H].
        places: bool [B, S], true at the tokens to replace.
        features: [tokens, H].
        kind: What the features are of, for the error.

    Returns:
        [B, S, H].

    Raises:
        Qwen2VLError: The number of places is not the number of features.
    """
    if places.sum() != features.shape[0]:
        per_row = places.sum(axis=1).tolist()
        raise Qwen2VLError(
            f"input_ids hold {places.sum()} {kind} tokens ({per_row} in the rows), and the {kind}s "
            f"give {features.shape[0]} features: prompt and pixels are out of step"
        )
    index = np.arange(places.size)  # [B*S]
    index[places.ravel()] = places.size + np.arange(features.shape[0])
    rows = ops.concat((embeds.reshape(-1, embeds.shape[-1]), features), axis=0)  # [B*S+tokens, H]
    return ops.gather(rows, Tensor(index, ms.int32), 0).reshape(embeds.shape)  # [B, S, H]


def chunks(length: int, size: int | None) -> list[slice]:
    """Cut ``length`` tokens into parts of ``size``, the last one perhaps shorter.

    Raises:
        Qwen2VLError: The size is not positive.
    """
    if size is not None and size < 1:
        raise Qwen2VLError(f"chunk_size is {size}: it has to be a positive number of tokens")
    step = size or length
    return [slice(start, min(start + step, length)) for start in range(0, length, step)]


def _pixels(value: Any, dtype: Any) -> Tensor | None:
    """Patches in the patch embedding's dtype, as the reference casts them."""
    if value is None:
        return None
    return F.cast(value if isinstance(value, Tensor) else Tensor(value, ms.float32), dtype)
