"""The fused attention ``flash_attention_score``: blocks of keys, statistics in float32.

The port calls it as on Ascend, with the arguments that it passes there, so that what runs is the
code that will run there. Inside, as in FlashAttention-2 and in CANN's kernel: operands in half
precision, scores and the running maximum and sum in float32, weights rounded to half precision
before they are multiplied with the values, and the result rounded once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from parity.core.arithmetic import FUSED
from parity.core.rounding import rounded
from parity.numerics_models.model import (
    ATTENTION,
    HALF,
    INSIDE_ATTENTION,
    NumericsModel,
    in_place,
    original,
    together,
)

Single: TypeAlias = NDArray[np.float32]
BLOCK = 128
"""Keys in a block. CANN chooses it by shape; it moves which maximum weights are relative to."""


def online(
    query: Single,
    key: Single,
    value: Single,
    hidden: NDArray[np.bool_] | None,
    scale: float,
    dtype: str,
) -> Single:
    """Softmax attention over blocks of keys.

    Args:
        query: [..., S, hs], values of ``dtype`` held as float32, as keys and values.
        key: [..., L, hs].
        value: [..., L, hs].
        hidden: true where a query must not look, [..., S, L], or ``None``.
        scale: of the scores.
        dtype: what the operands of both products and the result are numbers of.

    Returns:
        [..., S, hs], float32.
    """
    highest = np.full((*query.shape[:-1], 1), np.finfo(np.float32).min, np.float32)
    total = np.zeros_like(highest)
    mixed = np.zeros((*query.shape[:-1], value.shape[-1]), np.float32)
    for start in range(0, key.shape[-2], BLOCK):
        part = slice(start, start + BLOCK)
        scores = (query @ key[..., part, :].swapaxes(-1, -2)) * np.float32(scale)
        if hidden is not None:
            scores = np.where(hidden[..., part], np.finfo(np.float32).min, scores)
        above = np.maximum(highest, scores.max(-1, keepdims=True))
        weights = np.exp(scores - above)
        kept = np.exp(highest - above)
        total = total * kept + weights.sum(-1, keepdims=True)
        narrow = rounded(weights, dtype).astype(np.float32)
        mixed = mixed * kept + narrow @ value[..., part, :]
        highest = above
    return rounded(mixed / total, dtype).astype(np.float32)


def flash_attention_score(dtype: str) -> Any:
    """A stand-in for ``mindspore.ops.flash_attention_score``, for what the port passes to it."""

    def fused(
        query: Any,
        key: Any,
        value: Any,
        head_num: int,
        attn_mask: Any = None,
        scalar_value: float = 1.0,
        input_layout: str = "BSH",
        sparse_mode: int = 0,
        actual_seq_qlen: Sequence[int] = (),
        actual_seq_kvlen: Sequence[int] = (),
    ) -> Any:
        from mindspore import Tensor

        # Values of half precision, which NumPy multiplies fastest as float32.
        like = query.dtype
        query, key, value = (x.astype("float32").asnumpy() for x in (query, key, value))
        if input_layout == "TND":
            starts = [0, *actual_seq_qlen[:-1]]
            by_head = [x.swapaxes(0, 1) for x in (query, key, value)]  # [N, T, D]
            parts = []
            for one, end in zip(starts, actual_seq_qlen, strict=True):
                q, k, v = (x[:, one:end] for x in by_head)
                parts.append(online(q, k, v, None, scalar_value, dtype))
            return Tensor(np.concatenate(parts, axis=1).swapaxes(0, 1)).astype(like)
        shared = head_num // key.shape[1]  # each key head serves that many neighbours
        key, value = key.repeat(shared, axis=1), value.repeat(shared, axis=1)
        hidden = None if attn_mask is None else attn_mask.asnumpy() != 0
        return Tensor(online(query, key, value, hidden, scalar_value, dtype)).astype(like)

    return fused


@contextmanager
def fused_attention(dtype: str) -> Iterator[None]:
    """Let the port choose its fused attention, as it does on Ascend, and imitate the kernel."""
    choose = original("qwen2vl_ms.model:choose")

    def chosen(implementation: str | None, policy: Any) -> str:
        return "flash" if implementation is None else str(choose(implementation, policy))

    with together(
        in_place("qwen2vl_ms.model:choose", chosen),
        in_place("mindspore.ops:flash_attention_score",
                 flash_attention_score(INSIDE_ATTENTION[dtype])),
    ):  # fmt: skip
        yield


MODELS = (
    NumericsModel(
        "flash-attention",
        "the fused attention: online softmax in float32, weights rounded before the values",
        "ops.flash_attention_score; FlashAttention-2 (Dao 2023), algorithm 1",
        HALF,
        fused_attention,
        FUSED,
        ATTENTION,
    ),
)
