"""The numerics seam: every operation whose rounding can differ from the reference's.

The rest of the port only arranges shapes and calls these, so another device or precision is a
change in this file and in qwen2vl_ms.attention alone.

Dtypes: ``x.dtype`` is what the values are rounded to. Kernels compute in the dtype of the weights,
or in one that is passed as ``kernel``: the same on a device with native kernels, else float32 (see
qwen2vl_ms.precision). Each place where the reference rounds is a cast here.

The choices were measured on MindSpore 2.10's CPU backend (``python -m
qwen2vl_ms.tests.measure_ops``; [1024, 1280] values of standard deviation 3; the error is a multiple
of PyTorch's own in float32):

    softmax      Softmax 4.1 (1.0 ms), Exp and a division 4.1 (20 ms), float64 0.15 (9 ms)
    quick gelu   Sigmoid 1.2 (1.2 ms), by Tanh 476 (2 ms), float64 0.7 (8 ms)
    silu         SiLU 1.9 (1.0 ms), by Expm1 1.2 (18 ms), float64 0.7 (12 ms)
    gelu         by Erf 0.6 (14 ms), GeLU 0.6 (24 ms)
    rms norm     factors tiled 1.1 (3 ms), broadcast 1.1 (19 ms)

SiLU, Sigmoid and Softmax inherit the backend's exponential, a polynomial that is off by up to 60
ULP (``python -m parity kernels``). On captured gates SiLU is 3 to 6 times as far off as half an
ULP, and the same by Expm1 and Reciprocal 0.7 to 0.8 times; but that takes five times as long, which
adds 7 % to the MLP's three products at the 2B size, and half precision does not show the gain.

Softmax in float64 would bring a whole attention module from 1.3 to 1.6 times PyTorch's error to
1.0, for a quarter to a half more of its time. Broadcasting is ten times as slow as the same
arithmetic on operands that were tiled to one shape first.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import Tensor, ops

from qwen2vl_ms.positions import Ints

LARGE = 2**24  # numbers: 64 MiB in float32
BLOCK = 2**23

_matmul_bt = ops.MatMul(transpose_b=True)
_bias_add = ops.BiasAdd()
_mean = ops.ReduceMean(keep_dims=True)
_rsqrt = ops.Rsqrt()
_square = ops.Square()
_sigmoid = ops.Sigmoid()
_erf = ops.Erf()


def cast(x: Tensor, dtype: Any) -> Tensor:
    """Convert; the very tensor where there is nothing to convert."""
    return x if x.dtype == dtype else x.astype(dtype)


def rounded(x: Tensor, dtype: Any) -> Tensor:
    """Round the values to ``dtype`` and keep them in their own."""
    return x if x.dtype == dtype else x.astype(dtype).astype(x.dtype)


def settled(x: Tensor, kernel: Any, *dtypes: Any) -> Tensor:
    """Round the values to one dtype after the other, and keep them in the kernels'."""
    for dtype in dtypes:
        x = cast(x, dtype)
    return cast(x, kernel)


def by_blocks(function: Callable[[Tensor], Tensor], rows: Tensor, width: int) -> Tensor:
    """Apply a function of rows to blocks of them where the result is large.

    What the function needs in between is then small beside its result, which is written in place.

    Args:
        function: [r, in] to [r, width], each row by itself, dtype unchanged.
        rows: [R, in].
        width: Of the result.

    Returns:
        [R, width].
    """
    count = rows.shape[0]
    if count * width <= LARGE:
        return function(rows)
    result = ops.zeros((count, width), rows.dtype)
    step = max(1, BLOCK // width)
    for start in range(0, count, step):
        end = min(start + step, count)
        result[start:end] = function(rows[start:end])
    return result


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``x @ weight.T + bias``, rounded once: [..., in] and [out, in] to [..., out]."""

    def product(rows: Tensor) -> Tensor:
        rows = _matmul_bt(rows, weight)
        return rows if bias is None else _bias_add(rows, bias)

    outputs = weight.shape[0]
    rows = by_blocks(product, cast(x, weight.dtype).reshape(-1, x.shape[-1]), outputs)
    return cast(rows.reshape(*x.shape[:-1], outputs), x.dtype)


def residual(x: Tensor, update: Tensor) -> Tensor:
    """Add to the residual stream, in its dtype."""
    return x + update


def embedding(ids: Tensor, weight: Tensor) -> Tensor:
    """Rows of the table: int [B, S] and [V, H] to [B, S, H]."""
    return ops.gather(weight, ids, 0)


def gelu(x: Tensor, kernel: Any = ms.float32) -> Tensor:
    """The exact (erf) GELU, ``nn.GELU()`` of the reference's merger, rounded once."""
    wide = cast(x, kernel)
    return cast(wide * 0.5 * (_erf(wide * math.sqrt(0.5)) + 1.0), x.dtype)


def quick_gelu(x: Tensor, kernel: Any = ms.float32) -> Tensor:
    """``x * sigmoid(1.702 x)``, the vision MLP's activation, rounded at each of its three steps."""
    dtype = x.dtype

    def activated(rows: Tensor) -> Tensor:
        return rows * rounded(_sigmoid(rounded(rows * 1.702, dtype)), dtype)

    rows = by_blocks(activated, cast(x, kernel).reshape(-1, x.shape[-1]), x.shape[-1])
    return cast(rows.reshape(x.shape), dtype)


def silu(x: Tensor, kernel: Any = ms.float32) -> Tensor:
    """``x * sigmoid(x)``, the text MLP's activation, rounded once."""
    return ops.silu(cast(x, kernel)).astype(x.dtype)


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """LayerNorm over the last axis, in float32, the result rounded once."""
    norm = ops.LayerNorm(begin_norm_axis=-1, begin_params_axis=-1, epsilon=eps)
    return cast(norm(cast(x, ms.float32), weight, bias)[0], x.dtype)


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """``weight * x / rms(x)`` over the last axis (reference: ``Qwen2VLRMSNorm``).

    In float32; ``x / rms(x)`` is rounded before it is multiplied.
    """
    rows = cast(x, ms.float32).reshape(-1, x.shape[-1])  # [rows, H]
    scale = _rsqrt(_mean(_square(rows), -1) + eps)  # [rows, 1]
    if rows.shape[0] > 1:
        # Factors are tiled and not broadcast, which the CPU backend does six times as slowly.
        scale = ops.tile(scale, (1, rows.shape[1]))  # [rows, H]
        weight = ops.tile(weight, (rows.shape[0], 1))  # [rows, H]
    rows = weight * rounded(rows * scale, x.dtype)  # [rows, H]
    return cast(rows.reshape(x.shape), x.dtype)


def rotate(x: Tensor, cos: Tensor, sin: Tensor, dtype: Any = ms.float32) -> Tensor:
    """Rotary embedding: ``x * cos + rotate_half(x) * sin``.

    ``rotate_half`` turns halves (a, b) into (-b, a). Here the halves are swapped and the sign goes
    to the sine, which gives the same bits: (-b) * s == b * (-s).

    Args:
        x: [B, n, S, hs], in the kernels' dtype, as the tables.
        cos: [B, S, hs].
        sin: [B, S, hs].
        dtype: What each of the three steps is rounded to: float32 in the vision tower, the hidden
            dtype in the text model (reference: ``apply_rotary_pos_emb_vision``,
            ``apply_multimodal_rotary_pos_emb``).

    Returns:
        [B, n, S, hs], of x's dtype.
    """
    batch, heads, length, width = x.shape
    half = width // 2
    halves = x.reshape(batch, heads, length, 2, half)
    swapped = ops.gather(halves, Tensor([1, 0], ms.int32), 3).reshape(x.shape)
    sin = ops.concat((-sin[..., :half], sin[..., half:]), -1)  # [B, S, hs]
    cos, sin = (ops.tile(table.expand_dims(1), (1, heads, 1, 1)) for table in (cos, sin))
    return rounded(rounded(x * cos, dtype) + rounded(swapped * sin, dtype), dtype)


def causal_mask(
    attention_mask: Ints | None, batch: int, length: int, past: int, dtype: Any = ms.float32
) -> Tensor:
    """The additive mask of the text model (reference: ``eager_mask``, transformers 5.23).

    Args:
        attention_mask: int [batch, past + length], 0 at padding, or None.
        batch: Rows.
        length: New tokens in each row.
        past: Cached tokens in each row.
        dtype: Of the result.

    Returns:
        [batch, 1, length, past + length]: 0 where a token may look, else the most negative finite
        number of ``dtype``. Rows of padding tokens, which may look nowhere, hold that number
        throughout.
    """
    columns = np.arange(past + length)
    allowed = columns <= np.arange(past, past + length)[:, None]  # [S, L]
    allowed = np.tile(allowed, (batch, 1, 1, 1))  # [B, 1, S, L]
    if attention_mask is not None:
        allowed &= (attention_mask != 0)[:, None, None, :]
    mask = np.where(allowed, np.float32(0), np.float32(LOWEST[str(dtype)]))
    return Tensor(mask).astype(dtype)


# The most negative finite number of each dtype.
LOWEST = {
    "Float32": -3.4028234663852886e38,
    "Float16": -65504.0,
    "BFloat16": -3.3895313892515355e38,
}
