"""The choices that make Qwen2-VL's modules what they are, one function each.

    N patches, B batch, S new tokens, L all tokens, hs head width
    heads are [..., heads, tokens, hs], as in the reference

A port that made another choice computes another function: replace the choice here, and see
whether that is what it computes. Sources: transformers 5.23 ``modeling_qwen2_vl.py``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from parity.subjects.config import LAYER_NORM_EPS, Config
from parity.subjects.ops import Float, Ops

Ints: TypeAlias = NDArray[np.int64]
Heads: TypeAlias = tuple[Float, Float, Float]


def linear(ops: Ops, x: Float, weight: Float, bias: Float | None) -> Float:
    """``x @ weight.T + bias``: ``[..., in]`` and ``[out, in]`` to ``[..., out]``."""
    product = ops.matmul(x, weight.T)
    return product if bias is None else product + bias


def layer_norm(ops: Ops, x: Float, weight: Float, bias: Float) -> Float:
    """``nn.LayerNorm`` of the vision tower."""
    return ops.layer_norm(x, weight, bias, LAYER_NORM_EPS)


def rms_norm(ops: Ops, x: Float, weight: Float, eps: float) -> Float:
    """``Qwen2VLRMSNorm``."""
    return weight * (x * ops.rsqrt(ops.mean(x**2) + eps))


def quick_gelu(ops: Ops, x: Float) -> Float:
    """Activation of the vision MLP."""
    return x * ops.sigmoid(1.702 * x)


def gelu(ops: Ops, x: Float) -> Float:
    """Activation of the merger, the erf form."""
    return 0.5 * x * (1.0 + ops.erf(x * math.sqrt(0.5)))


def silu(ops: Ops, x: Float) -> Float:
    """Activation of the decoder's MLP."""
    return ops.silu(x)


def gate(ops: Ops, gate: Float, up: Float, activate: Callable[[Ops, Float], Float]) -> Float:
    """What the decoder's MLP projects down."""
    return activate(ops, gate) * up


def flatten(patches: Float, patch: tuple[int, int, int]) -> Float:
    """A patch's numbers in the order of the Conv3d kernel's: channel, frame, row, column."""
    return patches


def split_qkv(fused: Float, heads: int) -> Heads:
    """Thirds of ``[N, 3 E]``, each cut into heads: three of ``[heads, N, hs]``."""
    thirds = fused.reshape(len(fused), 3, heads, -1).transpose(1, 2, 0, 3)  # [3, heads, N, hs]
    return thirds[0], thirds[1], thirds[2]


def cut_heads(x: Float, width: int) -> Float:
    """``[B, S, n * hs]`` to ``[B, n, S, hs]``."""
    return x.reshape(*x.shape[:2], -1, width).transpose(0, 2, 1, 3)


def join_heads(x: Float) -> Float:
    """``[..., n, S, hs]`` to ``[..., S, n * hs]``."""
    joined = np.moveaxis(x, -3, -2)
    return joined.reshape(*joined.shape[:-2], -1)


def rotate_half(x: Float) -> Float:
    """Halves (a, b) to (-b, a)."""
    half = x.shape[-1] // 2
    return np.concatenate((-x[..., half:], x[..., :half]), axis=-1)


def rotate(x: Float, cos: Float, sin: Float) -> Float:
    """Rotary embedding of ``[..., n, S, hs]`` by tables ``[..., 1, S, hs]``."""
    return x * cos + rotate_half(x) * sin


def rope(heads: Heads, cos: Float, sin: Float, turn: Callable[..., Float]) -> Heads:
    """Queries and keys rotated, values left alone."""
    query, key, value = heads
    return turn(query, cos, sin), turn(key, cos, sin), value


def scale(head_dim: int) -> float:
    """Factor of the scores."""
    return 1 / math.sqrt(head_dim)


def segments(ends: Ints) -> Ints:
    """Boundaries of the patches that see each other, a leading 0 included."""
    return ends


def mask(mask: Float | None) -> Float | None:
    """What is added to the decoder's scaled scores, ``[B, 1, S, L]``."""
    return mask


def repeat_heads(x: Float, count: int) -> Float:
    """Each key head ``count`` times in a row: ``[B, n, ..]`` to ``[B, n * count, ..]``."""
    return np.repeat(x, count, axis=1)


def attend(ops: Ops, heads: Heads, mask: Float | None, factor: float) -> Float:
    """Softmax attention: queries ``[.., n, S, hs]`` over keys ``[.., n, L, hs]``."""
    query, key, value = heads
    scores = ops.matmul(query, np.swapaxes(key, -1, -2)) * factor
    return ops.matmul(ops.softmax(scores if mask is None else scores + mask), value)


def attend_segments(
    ops: Ops, heads: Heads, ends: Ints, factor: float, attend: Callable[..., Float]
) -> Float:
    """Attention in which each segment sees only itself: ``[n, N, hs]``."""
    parts = [
        attend(ops, tuple(x[:, begin:end] for x in heads), None, factor)
        for begin, end in pairwise(ends)
    ]
    return np.concatenate(parts, axis=1)


def group(x: Float, config: Config) -> Float:
    """Neighbouring patches side by side: ``[N, E]`` to ``[N / m / m, m m E]``."""
    return x.reshape(-1, config.vision_width * config.merge**2)


def merge(x: Float, norm: Callable[[Float], Float], join: Callable[[Float], Float]) -> Float:
    """What the merger projects: patches normed, then joined."""
    return join(norm(x))


def add(x: Float, normed: Float, update: Float) -> Float:
    """A residual connection around a module that was given ``x`` after its norm."""
    return x + update


def look_up(ids: Ints, table: Float) -> Float:
    """Token embeddings: ``[B, S]`` and ``[V, H]`` to ``[B, S, H]``."""
    return table[ids]


@dataclass(frozen=True)
class Recipe:
    """One function for each choice."""

    linear: Callable[[Ops, Float, Float, Float | None], Float] = linear
    layer_norm: Callable[[Ops, Float, Float, Float], Float] = layer_norm
    rms_norm: Callable[[Ops, Float, Float, float], Float] = rms_norm
    vision_activation: Callable[[Ops, Float], Float] = quick_gelu
    merger_activation: Callable[[Ops, Float], Float] = gelu
    text_activation: Callable[[Ops, Float], Float] = silu
    gate: Callable[..., Float] = gate
    flatten: Callable[[Float, tuple[int, int, int]], Float] = flatten
    split_qkv: Callable[[Float, int], Heads] = split_qkv
    cut_heads: Callable[[Float, int], Float] = cut_heads
    join_heads: Callable[[Float], Float] = join_heads
    rotate: Callable[[Float, Float, Float], Float] = rotate
    rope: Callable[..., Heads] = rope
    scale: Callable[[int], float] = scale
    segments: Callable[[Ints], Ints] = segments
    mask: Callable[[Float | None], Float | None] = mask
    repeat_heads: Callable[[Float, int], Float] = repeat_heads
    attend: Callable[..., Float] = attend
    attend_segments: Callable[..., Float] = attend_segments
    group: Callable[[Float, Config], Float] = group
    merge: Callable[..., Float] = merge
    add_attention: Callable[[Float, Float, Float], Float] = add
    add_mlp: Callable[[Float, Float, Float], Float] = add
    look_up: Callable[[Ints, Float], Float] = look_up


RIGHT = Recipe()
"""The reference's choices."""
