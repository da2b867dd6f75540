"""The decoder's modules: embedding, attention, MLP, layer.

B batch, S new tokens, L = past + S tokens in all, H width, hs head width.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from parity.core.trace import Array
from parity.subjects.ops import Float, wide

if TYPE_CHECKING:
    from parity.subjects.modules import Formula, Run


def embedding(run: Run, name: str, inputs: Mapping[str, Array]) -> Float:
    """Token ids ``[B, S]`` to ``[B, S, H]``."""
    return run.recipe.look_up(np.asarray(inputs["*"], dtype=np.int64), run.weights(name))


def attention(run: Run, name: str, inputs: Mapping[str, Array]) -> Float:
    """``[B, L, H]`` to the new tokens' ``[B, S, H]``."""
    recipe, config = run.recipe, run.config
    x = wide(inputs["hidden_states"])
    new = _new_tokens(inputs)
    query, key, value = (
        recipe.cut_heads(run.inner(f"{name}.{which}_proj", x), config.head_dim) for which in "qkv"
    )  # [B, n, L, hs]
    cos, sin = (wide(inputs[f"position_embeddings.{i}"])[:, None] for i in range(2))
    query, key, value = recipe.rope((query, key, value), cos, sin, recipe.rotate)
    count = config.heads // config.kv_heads
    heads = query[:, :, -new:], *(recipe.repeat_heads(x, count) for x in (key, value))
    factor = recipe.scale(config.head_dim)
    mixed = recipe.attend(run.ops, heads, recipe.mask(_mask(inputs)), factor)  # [B, n, S, hs]
    return run.inner(f"{name}.o_proj", recipe.join_heads(mixed))


def mlp(run: Run, name: str, inputs: Mapping[str, Array]) -> Float:
    """``[B, S, H]`` to ``[B, S, H]``."""
    x = wide(inputs["*"])
    gate, up = (run.inner(f"{name}.{which}_proj", x) for which in ("gate", "up"))
    gated = run.recipe.gate(run.ops, gate, up, run.recipe.text_activation)
    return run.inner(f"{name}.down_proj", gated)


def layer(run: Run, name: str, inputs: Mapping[str, Array]) -> Float:
    """``[B, L, H]`` to the new tokens' ``[B, S, H]``."""
    recipe, every = run.recipe, wide(inputs["hidden_states"])
    shared = {key: value for key, value in inputs.items() if key != "hidden_states"}
    new = slice(-_new_tokens(inputs), None)
    normed = run.inner(f"{name}.input_layernorm", every)
    attended = run.inner(f"{name}.self_attn", normed, **shared)
    x = recipe.add_attention(every[:, new], normed[:, new], attended)
    normed = run.inner(f"{name}.post_attention_layernorm", x)
    return recipe.add_mlp(x, normed, run.inner(f"{name}.mlp", normed))


def _mask(inputs: Mapping[str, Array]) -> Float | None:
    """The additive mask ``[B, 1, S, L]``; a lone token without one sees all."""
    return wide(inputs["attention_mask"]) if "attention_mask" in inputs else None


def _new_tokens(inputs: Mapping[str, Array]) -> int:
    """How many of the tokens are new: as many as the mask has rows."""
    mask = inputs.get("attention_mask")
    return int(inputs["hidden_states"].shape[1] if mask is None else mask.shape[2])


FORMULAS: dict[str, Formula] = {
    "embedding": embedding,
    "text_attention": attention,
    "text_mlp": mlp,
    "text_block": layer,
}
