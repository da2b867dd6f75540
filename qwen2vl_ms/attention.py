"""The attention seam: one meaning, three implementations.

    eager    mirrors the reference's eager attention, every rounding included; memory grows with the
             square of the sequence
    chunked  blocks of queries against blocks of keys, merged as in online softmax; memory grows
             with the sequence; scores stay in the kernels' dtype, so half precision rounds less
    flash    Ascend's fused kernel; written to its documentation, not run on hardware yet

`choose` picks one for a device and policy: flash on Ascend in half precision, where the chip has
it, elsewhere ``auto``, which is eager up to `EAGER_SCORES` scores and chunked beyond.

    B batch, S queries, L keys, nh query heads, nkv key heads, hs head width
"""

from __future__ import annotations

from typing import Any

import mindspore as ms
from mindspore import Tensor, ops

from qwen2vl_ms.errors import Qwen2VLError
from qwen2vl_ms.flash import decoder_arguments, has_kernel, soc_in_use, vision_arguments
from qwen2vl_ms.head_layout import heads_last
from qwen2vl_ms.ops import LOWEST, cast, rounded
from qwen2vl_ms.precision import Policy

IMPLEMENTATIONS = ("auto", "eager", "chunked", "flash")
ALIASES = {"flash_attention_2": "flash"}  # as Hugging Face and MindONE call it
EAGER_SCORES = 2**24  # 64 MiB in float32
BLOCK_SCORES = 2**23  # scores of a block of queries against a block of keys
KEY_BLOCK = 2**14

Block = tuple[Tensor, Tensor, Tensor]

_batch_matmul = ops.BatchMatMul()
_batch_matmul_bt = ops.BatchMatMul(transpose_b=True)
_softmax = ops.Softmax(axis=-1)
_max = ops.ReduceMax(keep_dims=True)


def choose(implementation: str | None, policy: Policy) -> str:
    """The implementation to use.

    Args:
        implementation: One of `IMPLEMENTATIONS`, or None for the best one here.
        policy: The model's.

    Raises:
        Qwen2VLError: There is no such implementation, or it cannot be used here.
    """
    half = policy.attention in (ms.float16, ms.bfloat16)
    ascend = ms.get_context("device_target") == "Ascend"
    if implementation is None:
        return "flash" if ascend and half and has_kernel(soc_in_use()) else "auto"
    implementation = ALIASES.get(implementation, implementation)
    if implementation not in IMPLEMENTATIONS:
        raise Qwen2VLError(
            f"attn_implementation is {implementation!r}: pass one of {', '.join(IMPLEMENTATIONS)}"
        )
    if implementation == "flash" and not (ascend and half):
        raise Qwen2VLError(
            "attn_implementation 'flash' is Ascend's fused kernel, for float16 and bfloat16; here "
            f"the device is {ms.get_context('device_target')} and the policy {policy.name}: pass "
            "'chunked', which needs as little memory"
        )
    return implementation


def attention(
    implementation: str,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    scale: float,
    dtype: Any = ms.float32,
) -> Tensor:
    """Attention of the decoder, or within one segment of the vision tower.

    Args:
        implementation: As `choose` returns it.
        query: [B, nh, S, hs], in the kernels' dtype, as keys and values.
        key: [B, nkv, L, hs], nh a multiple of nkv.
        value: [B, nkv, L, hs].
        mask: Added to the scaled scores, [B, 1, S, L], or None.
        scale: Factor of the scores.
        dtype: What the values of queries, keys and values are rounded to.

    Returns:
        [B, S, nh * hs], of ``dtype``.
    """
    return cast(heads_last(attend(implementation, query, key, value, mask, scale, dtype)), dtype)


def attend(
    implementation: str,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    scale: float,
    dtype: Any = ms.float32,
) -> Tensor:
    """The same with heads first and in the kernels' dtype: [B, nh, S, hs]."""
    if implementation == "flash":
        return ops.flash_attention_score(
            query, key, value, **decoder_arguments(mask, query.shape[1], scale)
        )
    batch, heads, length, width = query.shape
    scores = batch * heads * length * key.shape[2]
    eager = implementation == "eager" or (implementation == "auto" and scores <= EAGER_SCORES)
    # Query heads that share a key head are rows of one product, which is what repeating the keys
    # gives, without the copies.
    grouped = query.reshape(batch, key.shape[1], -1, length, width)  # [B, nkv, nh/nkv, S, hs]
    mixed = (_eager if eager else _chunked)(grouped, key, value, mask, scale, dtype)
    return mixed.reshape(query.shape)


def attend_fused(
    query: Tensor, key: Tensor, value: Tensor, ends: tuple[int, ...], scale: float
) -> Tensor:
    """Attention of the vision tower by Ascend's kernel: each segment sees only itself.

    Args:
        query: [N, nh, hs], as keys and values.
        key: [N, nh, hs].
        value: [N, nh, hs].
        ends: Where each segment ends, increasing; the last is N.
        scale: Factor of the scores.

    Returns:
        [N, nh * hs].
    """
    arguments = vision_arguments(ends, query.shape[1], scale)
    return ops.flash_attention_score(query, key, value, **arguments).reshape(query.shape[0], -1)


def widened_mask(mask: Tensor, keys: int) -> Tensor:
    """Hide the keys that a mask [B, 1, S, L] does not reach: [B, 1, S, keys]."""
    batch, one, length, reached = mask.shape
    if reached == keys:
        return mask
    hidden = ops.full((batch, one, length, keys - reached), float("-inf"), dtype=ms.float32)
    return ops.concat((mask, cast(hidden, mask.dtype)), axis=-1)


def softmax(scores: Tensor) -> Tensor:
    """Softmax over the last axis, in float32."""
    return cast(_softmax(cast(scores, ms.float32)), scores.dtype)


def _additive(mask: Tensor, scores: Tensor, dtype: Any) -> Tensor:
    """The mask [B, 1, S, L] in the scores' shape and dtype, finite in ``dtype`` where it was."""
    _, groups, shared, _, _ = scores.shape
    lowest = LOWEST[str(dtype)]
    if mask.dtype != dtype:  # what is lowest in one dtype is infinite in a narrower one
        wide = cast(mask, ms.float32)
        mask = ops.select(wide < lowest, ops.full_like(wide, lowest), wide)
    mask = cast(mask, scores.dtype)
    return ops.tile(mask.expand_dims(1), (1, groups, shared, 1, 1)).reshape(scores.shape)


def _eager(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float, dtype: Any
) -> Tensor:
    """Mirrors ``eager_attention_forward`` of transformers 5.23, and each of its roundings."""
    batch, groups, shared, length, width = query.shape
    rows = query.reshape(batch, groups, shared * length, width)
    scores = rounded(_batch_matmul_bt(rows, key), dtype)  # [B, nkv, nh/nkv*S, L]
    scores = rounded(scores * scale, dtype)
    if mask is not None:
        scores = scores.reshape(batch, groups, shared, length, -1)
        scores = rounded(scores + _additive(mask, scores, dtype), dtype)
        scores = scores.reshape(batch, groups, shared * length, -1)
    weights = rounded(softmax(scores), dtype)
    return _batch_matmul(weights, value)  # [B, nkv, nh/nkv*S, hs]


def _chunked(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float, dtype: Any
) -> Tensor:
    """Blocks of queries, each against all blocks of keys (online softmax, Milakov 2018)."""
    batch, groups, shared, length, _ = query.shape
    keys = blocks_of(key.shape[2], KEY_BLOCK)
    together = BLOCK_SCORES // (batch * groups * shared * min(key.shape[2], KEY_BLOCK))
    # Cut once: a slice is copied each time it is multiplied.
    sides = [(key[:, :, part].contiguous(), value[:, :, part].contiguous()) for part in keys]
    mixed = []
    for rows in blocks_of(length, max(1, together)):
        visible = [None if mask is None else mask[:, :, rows, part] for part in keys]
        mixed.append(_online(query[:, :, :, rows] * scale, sides, visible, dtype))
    return mixed[0] if len(mixed) == 1 else ops.concat(mixed, axis=3)


def blocks_of(length: int, size: int) -> list[slice]:
    """Cut ``length`` places into blocks, the last one perhaps shorter."""
    return [slice(start, min(start + size, length)) for start in range(0, length, size)]


def _online(
    query: Tensor, sides: list[tuple[Tensor, Tensor]], masks: list[Tensor | None], dtype: Any
) -> Tensor:
    """A block of queries against all keys: [B, nkv, nh/nkv, s, hs] to the same shape."""
    batch, groups, shared, length, width = query.shape
    rows = query.reshape(batch, groups, shared * length, width)
    blocks: list[Block] = []
    for index in range(len(sides)):  # no zip: graph mode knows none that is strict
        key, value = sides[index]
        scores = _batch_matmul_bt(rows, key)  # [B, nkv, nh/nkv*s, l]
        mask = masks[index]
        if mask is not None:
            scores = scores.reshape(batch, groups, shared, length, -1)
            # -inf throughout a block would make its softmax NaN.
            visible = ops.maximum(_additive(mask, scores, dtype), LOWEST["Float32"])
            scores = scores + cast(visible, scores.dtype)
            scores = scores.reshape(batch, groups, shared * length, -1)
        scores = cast(scores, ms.float32)
        if len(sides) == 1:
            mixed = _batch_matmul(cast(_softmax(scores), value.dtype), value)
            return mixed.reshape(query.shape)
        block = _block(scores, value)
        blocks = [_merge(blocks[0], block)] if blocks else [block]
    return blocks[0][0].reshape(query.shape)


def _block(scores: Tensor, value: Tensor) -> Block:
    """The mixed values of one block of keys, its largest score, and the sum of exp(score - it).

    The largest weight of a softmax is 1 / sum, so the sum needs no exponential of its own; the CPU
    backend's is 67 times less accurate than its softmax.
    """
    weights = _softmax(scores)  # [B, nkv, rows, l]
    mixed = _batch_matmul(cast(weights, value.dtype), value)  # [B, nkv, rows, hs]
    return mixed, _max(scores, -1), 1.0 / _max(weights, -1)


def _merge(one: Block, other: Block) -> Block:
    """Join what two blocks of keys gave."""
    highest = ops.maximum(one[1], other[1])
    powers = _softmax(ops.concat((one[1], other[1]), axis=-1))  # exp(highest - each), in proportion
    largest = _max(powers, -1)
    sums = [one[2] * powers[..., :1] / largest, other[2] * powers[..., 1:] / largest]
    total = sums[0] + sums[1]
    width = (1, 1, 1, one[0].shape[-1])
    shares = [ops.tile(cast(part / total, one[0].dtype), width) for part in sums]
    mixed = one[0] * shares[0] + other[0] * shares[1]
    return mixed, highest, total
