"""The documented meaning of ``mindspore.ops.flash_attention_score`` (MindSpore 2.10), in NumPy.

Written from its docstring alone, defaults included, so that what the port passes can be checked
without the hardware. Only what the port uses is here; anything else is refused.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

ALL_MASK = 1


def flash_attention_score(
    query: np.ndarray,
    key: np.ndarray,
    value: np.ndarray,
    head_num: int,
    attn_mask: np.ndarray | None = None,
    actual_seq_qlen: Sequence[int] | None = None,
    actual_seq_kvlen: Sequence[int] | None = None,
    scalar_value: float = 1.0,
    input_layout: str = "BSH",
    sparse_mode: int = 0,
) -> np.ndarray:
    """In float64. BNSD: [B, N1, S1, D] and [B, N2, S2, D]; TND: [T, N, D]."""
    assert type(scalar_value) is float
    if input_layout == "TND":
        assert attn_mask is None
        assert query.shape[1] == head_num
        ends = checked_ends(actual_seq_qlen, len(query)), checked_ends(actual_seq_kvlen, len(key))
        parts = zip(*(np.split(np.arange(e[-1]), e[:-1]) for e in ends), strict=True)
        mixed = [
            mix(*(x.swapaxes(0, 1) for x in (query[q], key[k], value[k])), scalar_value, None)
            for q, k in parts
        ]
        return np.concatenate([part.swapaxes(0, 1) for part in mixed])
    assert input_layout == "BNSD"
    assert actual_seq_qlen is None
    assert actual_seq_kvlen is None
    assert query.shape[1] == head_num
    assert head_num % key.shape[1] == 0
    if attn_mask is not None:
        assert sparse_mode == ALL_MASK
        assert attn_mask.dtype in (np.uint8, np.bool_)
        assert attn_mask.shape == (len(query), 1, query.shape[2], key.shape[2])
    shared = head_num // key.shape[1]  # each key head serves that many neighbouring query heads
    key, value = key.repeat(shared, axis=1), value.repeat(shared, axis=1)
    return mix(query, key, value, scalar_value, attn_mask)


def checked_ends(ends: Sequence[int] | None, total: int) -> list[int]:
    """Cumulative sums: one for each sequence, never falling, the last the number of rows."""
    assert ends is not None
    assert list(ends) == sorted(ends)
    assert ends[-1] == total
    assert len(ends) <= 1024
    assert ends[0] > 0, "a sequence of no keys"
    return list(ends)


def mix(
    query: np.ndarray, key: np.ndarray, value: np.ndarray, scale: float, mask: np.ndarray | None
) -> np.ndarray:
    """Softmax(mask(scale * q k')) v over the last two axes; 1 in the mask discards."""
    scores = scale * (query.astype(np.float64) @ key.astype(np.float64).swapaxes(-1, -2))
    if mask is not None:
        scores = np.where(mask == 1, -np.inf, scores)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True) @ value.astype(np.float64)
