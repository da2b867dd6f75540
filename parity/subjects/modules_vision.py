"""The vision tower's modules: patch embedding, attention, MLP, block, merger.

N patches, E tower width, H the text model's width, m merge size.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from parity.core.trace import Array
from parity.subjects.ops import Float, wide

if TYPE_CHECKING:
    from parity.subjects.modules import Formula, Run


def patch_embed(run: Run, name: str, inputs: Mapping[str, Array]) -> Float:
    """``[N, 1176]`` to ``[N, E]``: the Conv3d's kernel is its stride, so it is a matrix."""
    kernel = run.weights(f"{name}.proj")
    patches = run.recipe.flatten(wide(inputs["*"]), run.config.patch)
    return run.recipe.linear(run.ops, patches, kernel.reshape(len(kernel), -1), None)


def attention(run: Run, name: str, inputs: Mapping[str, Array]) -> Float:
    """``[N, E]`` to ``[N, E]``."""
    recipe, config = run.recipe, run.config
    fused = run.inner(f"{name}.qkv", wide(inputs["hidden_states"]))  # [N, 3 E]
    cos, sin = (wide(inputs[f"position_embeddings.{i}"])[None] for i in range(2))  # [1, N, hs]
    heads = recipe.split_qkv(fused, config.vision_heads)
    heads = recipe.rope(heads, cos, sin, recipe.rotate)
    ends = recipe.segments(np.asarray(inputs["cu_seqlens"], dtype=np.int64))
    factor = recipe.scale(config.vision_head_dim)
    mixed = recipe.attend_segments(run.ops, heads, ends, factor, recipe.attend)  # [n, N, hs]
    return run.inner(f"{name}.proj", recipe.join_heads(mixed))


def mlp(run: Run, name: str, inputs: Mapping[str, Array]) -> Float:
    """``[N, E]`` to ``[N, E]``."""
    inner = run.inner(f"{name}.fc1", wide(inputs["*"]))
    return run.inner(f"{name}.fc2", run.recipe.vision_activation(run.ops, inner))


def block(run: Run, name: str, inputs: Mapping[str, Array]) -> Float:
    """``[N, E]`` to ``[N, E]``."""
    x, recipe = wide(inputs["hidden_states"]), run.recipe
    shared = {key: value for key, value in inputs.items() if key != "hidden_states"}
    normed = run.inner(f"{name}.norm1", x)
    x = recipe.add_attention(x, normed, run.inner(f"{name}.attn", normed, **shared))
    normed = run.inner(f"{name}.norm2", x)
    return recipe.add_mlp(x, normed, run.inner(f"{name}.mlp", normed))


def merger(run: Run, name: str, inputs: Mapping[str, Array]) -> Float:
    """``[N, E]`` to ``[N / m / m, H]``."""
    recipe = run.recipe
    joined = recipe.merge(
        wide(inputs["*"]),
        lambda x: run.inner(f"{name}.ln_q", x),
        lambda x: recipe.group(x, run.config),
    )
    inner = run.inner(f"{name}.mlp.0", joined)
    return run.inner(f"{name}.mlp.2", recipe.merger_activation(run.ops, inner))


FORMULAS: dict[str, Formula] = {
    "patch_embed": patch_embed,
    "vision_attention": attention,
    "vision_mlp": mlp,
    "vision_block": block,
    "merger": merger,
}
