"""The numerics seam: every operation whose rounding can differ from the reference's.

The rest of the port only arranges shapes and calls these, so another device or precision is a
change in this file alone.

The choices were measured on MindSpore 2.10's CPU backend (``python -m
qwen2vl_ms.tests.measure_ops``; [1024, 1280] values of standard deviation 3; the error is a multiple
of PyTorch's own in float32):

    softmax      Softmax 4.1 (1.0 ms), Exp and a division 4.1 (20 ms), float64 0.15 (9 ms)
    quick gelu   Sigmoid 1.2 (1.2 ms), by Tanh 476 (2 ms), float64 0.7 (8 ms)
    silu         SiLU 1.9 (1.0 ms), by Expm1 1.2 (18 ms), float64 0.7 (12 ms)
    gelu         by Erf 0.6 (14 ms), GeLU 0.6 (24 ms)
    rms norm     factors tiled 1.1 (3 ms), broadcast 1.1 (19 ms)

Softmax in float64 would bring a whole attention module from 1.3 to 1.6 times PyTorch's error to
1.0, for a quarter to a half more of its time. Broadcasting is ten times as slow as the same
arithmetic on operands that were tiled to one shape first.
"""

from __future__ import annotations

import math

import mindspore as ms
import numpy as np
from mindspore import Tensor, ops

from qwen2vl_ms.positions import Ints

_matmul_bt = ops.MatMul(transpose_b=True)
_batch_matmul = ops.BatchMatMul()
_batch_matmul_bt = ops.BatchMatMul(transpose_b=True)
_bias_add = ops.BiasAdd()
_mean = ops.ReduceMean(keep_dims=True)
_rsqrt = ops.Rsqrt()
_square = ops.Square()
_sigmoid = ops.Sigmoid()
_erf = ops.Erf()
_softmax = ops.Softmax(axis=-1)
_transpose = ops.Transpose()


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``x @ weight.T + bias``: [..., in] and [out, in] to [..., out]."""
    rows = _matmul_bt(x.reshape(-1, x.shape[-1]), weight)  # [rows, out]
    rows = rows if bias is None else _bias_add(rows, bias)
    return rows.reshape(*x.shape[:-1], weight.shape[0])


def embedding(ids: Tensor, weight: Tensor) -> Tensor:
    """Rows of the table: int [B, S] and [V, H] to [B, S, H]."""
    return ops.gather(weight, ids, 0)


def gelu(x: Tensor) -> Tensor:
    """The exact (erf) GELU, ``nn.GELU()`` of the reference's merger."""
    return x * 0.5 * (_erf(x * math.sqrt(0.5)) + 1.0)


def quick_gelu(x: Tensor) -> Tensor:
    """``x * sigmoid(1.702 x)``, the vision MLP's activation."""
    return x * _sigmoid(x * 1.702)


def silu(x: Tensor) -> Tensor:
    """``x * sigmoid(x)``, the text MLP's activation."""
    return ops.silu(x)


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """LayerNorm over the last axis."""
    norm = ops.LayerNorm(begin_norm_axis=-1, begin_params_axis=-1, epsilon=eps)
    return norm(x, weight, bias)[0]


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """``weight * x / rms(x)`` over the last axis (reference: ``Qwen2VLRMSNorm``)."""
    rows = x.reshape(-1, x.shape[-1])  # [rows, H]
    # Factors are tiled and not broadcast, which the CPU backend does six times as slowly.
    scale = _rsqrt(_mean(_square(rows), -1) + eps)  # [rows, 1]
    rows = rows * ops.tile(scale, (1, rows.shape[1]))  # [rows, H]
    rows = ops.tile(weight, (rows.shape[0], 1)) * rows  # [rows, H]
    return rows.reshape(x.shape)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary embedding: ``x * cos + rotate_half(x) * sin``.

    ``rotate_half`` turns halves (a, b) into (-b, a). Here the halves are swapped and the sign goes
    to the sine, which gives the same bits: (-b) * s == b * (-s).

    Args:
        x: [rows, heads, hs].
        cos: [rows, hs].
        sin: [rows, hs].

    Returns:
        [rows, heads, hs].
    """
    rows, heads, width = x.shape
    x = x.contiguous()  # once, and not in each of the operations below
    sign = np.repeat(np.array([-1, 1], np.float32), width // 2)  # [hs]
    sin = sin * ops.tile(Tensor(sign), (rows, 1))  # [rows, hs]
    swapped = ops.gather(x.reshape(rows, heads, 2, -1), Tensor([1, 0]), 2).reshape(x.shape)
    cos, sin = (ops.tile(table, (1, heads)).reshape(x.shape) for table in (cos, sin))
    return x * cos + swapped * sin


def softmax(scores: Tensor) -> Tensor:
    """Softmax over the last axis of float32 scores."""
    return _softmax(scores)


def attention(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float
) -> Tensor:
    """Eager attention (reference: ``eager_attention_forward``).

    Query heads that share a key head are stacked along the rows of one product, which is what
    repeating the keys gives, without the copies.

    Args:
        query: [B, nh, S, hs].
        key: [B, nkv, L, hs], nh a multiple of nkv.
        value: [B, nkv, L, hs].
        mask: Added to the scaled scores, [B, 1, S, L], or None.
        scale: Factor of the scores.

    Returns:
        [B, S, nh * hs].
    """
    batch, heads, length, width = query.shape
    kv_heads, total = key.shape[1], key.shape[2]
    query = query.reshape(batch, kv_heads, -1, width)  # [B, nkv, nh/nkv*S, hs]
    scores = _batch_matmul_bt(query, key) * scale  # [B, nkv, nh/nkv*S, L]
    if mask is not None:
        scores = scores.reshape(batch, heads, length, total)  # [B, nh, S, L]
        scores = scores + ops.tile(mask, (1, heads, 1, 1))
    weights = softmax(scores).reshape(batch, kv_heads, -1, total)  # [B, nkv, nh/nkv*S, L]
    mixed = _batch_matmul(weights, value).reshape(batch, heads, length, width)  # [B, nh, S, hs]
    return _transpose(mixed, (0, 2, 1, 3)).reshape(batch, length, heads * width)  # [B, S, nh*hs]


def causal_mask(attention_mask: Ints | None, batch: int, length: int, past: int) -> Tensor:
    """The additive mask of the text model (reference: ``eager_mask``, transformers 5.23).

    Args:
        attention_mask: int [batch, past + length], 0 at padding, or None.
        batch: Rows.
        length: New tokens in each row.
        past: Cached tokens in each row.

    Returns:
        float32 [batch, 1, length, past + length]: 0 where a token may look, else the most negative
        finite number. Rows of padding tokens, which may look nowhere, hold that number throughout.
    """
    columns = np.arange(past + length)
    allowed = columns <= np.arange(past, past + length)[:, None]  # [S, L]
    allowed = np.tile(allowed, (batch, 1, 1, 1))  # [B, 1, S, L]
    if attention_mask is not None:
        allowed &= (attention_mask != 0)[:, None, None, :]
    return Tensor(np.where(allowed, np.float32(0), np.finfo(np.float32).min), ms.float32)
