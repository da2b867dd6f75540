"""Attention that is not the reference's: scales, heads, rotations, masks, segments."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import permutations
from typing import Any

import numpy as np

from parity.hypotheses.failure import Failure
from parity.hypotheses.hypothesis import Answer, Hypothesis, recipe
from parity.subjects.ops import Float, Ops
from parity.subjects.recipe import Heads, Ints, attend, rotate, split_qkv

VISION = ("vision_attention", "vision_block")
TEXT = ("text_attention", "text_block")
BOTH = (*VISION, *TEXT)
PADDED_HEADS = (64, 96, 128, 256)
"""Head sizes that fused kernels pad to."""


def _constant(factor: float) -> Callable[[int], float]:
    return lambda width: factor


def _of_width(heads: int) -> Callable[[int], float]:
    return lambda width: 1 / math.sqrt(width * heads)


def _scales() -> Iterator[Hypothesis]:
    def one(name: str, sentence: str, scale: Callable[[int], float]) -> Hypothesis:
        return Hypothesis(name, sentence, BOTH, recipe(scale=scale))

    yield one("scale-missing", "attention scores not scaled", lambda width: 1.0)
    for padded in PADDED_HEADS:
        yield one(f"scale-padded-{padded}", f"attention scaled by a head padded to {padded}",
                  _constant(padded**-0.5))  # fmt: skip
    yield one("scale-linear", "attention scaled by 1/d, not 1/sqrt(d)", lambda width: 1 / width)
    yield one("scale-twice", "attention scaled twice, by 1/sqrt(d) on queries and again on keys "
              "or scores", lambda width: 1 / width)  # fmt: skip
    yield one("scale-inverted", "attention scores multiplied by sqrt(d)", lambda width: width**0.5)
    for heads in (2, 4):
        yield one(f"scale-of-{heads}-heads", f"attention scaled by a width of {heads} heads",
                  _of_width(heads))  # fmt: skip


def _per_head(fused: Float, heads: int) -> Heads:
    each = fused.reshape(len(fused), heads, 3, -1).transpose(2, 1, 0, 3)
    return each[0], each[1], each[2]


def _heads_last(fused: Float, heads: int) -> Heads:
    each = fused.reshape(len(fused), 3, -1, heads).transpose(1, 3, 0, 2)
    return each[0], each[1], each[2]


def _orders() -> Iterator[Hypothesis]:
    """Queries, keys and values taken for one another."""
    for order in permutations(range(3)):
        if order != (0, 1, 2):
            letters = "".join("qkv"[i] for i in order)
            sentence = f"the fused product split as {', '.join(letters)}"
            yield Hypothesis(f"qkv-as-{letters}", sentence, VISION, recipe(split_qkv=_taken(order)))


def _taken(order: tuple[int, ...]) -> Callable[[Float, int], Heads]:
    def split(fused: Float, heads: int) -> Heads:
        thirds = split_qkv(fused, heads)
        return thirds[order[0]], thirds[order[1]], thirds[order[2]]

    return split


def _interleaved(x: Float, cos: Float, sin: Float) -> Float:
    turned: Float = np.stack((-x[..., 1::2], x[..., ::2]), axis=-1).reshape(x.shape)
    return x * cos + turned * sin


def _pairs(x: Float, cos: Float, sin: Float) -> Float:
    half = cos.shape[-1] // 2
    cos, sin = (np.repeat(table[..., :half], 2, axis=-1) for table in (cos, sin))
    return _interleaved(x, cos, sin)


def _partial(x: Float, cos: Float, sin: Float) -> Float:
    half = x.shape[-1] // 2
    turned = rotate(x[..., :half], cos[..., :half], sin[..., :half])
    return np.concatenate((turned, x[..., half:]), axis=-1)


def _rotations() -> Iterator[Hypothesis]:
    def one(name: str, sentence: str, turn: Callable[..., Float]) -> Hypothesis:
        return Hypothesis(name, sentence, BOTH, recipe(rotate=turn))

    yield one("rotate-interleaved", "rotation of even and odd pairs, with tables made for halves",
              _interleaved)  # fmt: skip
    yield one("rotate-pairs", "rotation of even and odd pairs instead of halves", _pairs)
    yield one("rotate-missing", "rotary embedding not applied", lambda x, cos, sin: x)
    yield one("rotate-sign", "rotation in the other sense: sine's sign flipped",
              lambda x, cos, sin: rotate(x, cos, -sin))  # fmt: skip
    yield one("rotate-cos-sin-swapped", "cosine and sine swapped",
              lambda x, cos, sin: rotate(x, sin, cos))  # fmt: skip
    yield one("rotate-twice", "rotary embedding applied twice",
              lambda x, cos, sin: rotate(rotate(x, cos, sin), cos, sin))  # fmt: skip
    yield one("rotate-partial", "only half of each head rotated", _partial)
    yield one("rotate-no-sign", "the minus of rotate-half left out",
              lambda x, c, s: x * c + np.roll(x, x.shape[-1] // 2, -1) * s)  # fmt: skip


def _roped(which: str) -> Callable[..., Heads]:
    def change(heads: Heads, cos: Float, sin: Float, turn: Callable[..., Float]) -> Heads:
        query, key, value = heads
        turned = {"q": query, "k": key, "v": value}
        turned |= {name: turn(turned[name], cos, sin) for name in which}
        return turned["q"], turned["k"], turned["v"]

    return change


def _ropes() -> Iterator[Hypothesis]:
    for which, sentence in (
        ("q", "rotary embedding on queries only"), ("k", "rotary embedding on keys only"),
        ("qkv", "rotary embedding applied to the values too"),
    ):  # fmt: skip
        yield Hypothesis(f"rope-on-{which}", sentence, BOTH, recipe(rope=_roped(which)))


def _joined(ends: Ints) -> Ints:
    return ends[[0, -1]]


def _additive(to_own: bool) -> Callable[..., Float]:
    """Every patch sees every other; 1 is added to scores in its own segment, or in others."""

    def joined(
        ops: Ops, heads: Heads, ends: Ints, factor: float, attend: Callable[..., Float]
    ) -> Float:
        segment = np.searchsorted(ends, np.arange(ends[-1]), side="right")
        own = segment[:, None] == segment[None]
        return attend(ops, heads, (own == to_own).astype(np.float64), factor)

    return joined


def _causal_segments(
    ops: Ops, heads: Heads, ends: Ints, factor: float, attend: Callable[..., Float]
) -> Float:
    segment = np.searchsorted(ends, np.arange(ends[-1]), side="right")
    seen = (segment[:, None] == segment[None]) & np.tri(len(segment), dtype=bool)
    return attend(ops, heads, np.where(seen, 0, -np.inf), factor)


def _segments() -> Iterator[Hypothesis]:
    yield Hypothesis("segments-joined", "images and frames attend to each other: no segments",
                     VISION, recipe(segments=_joined))  # fmt: skip
    yield Hypothesis("segments-additive", "the block mask added as 1 and 0, not as 0 and -inf",
                     VISION, recipe(attend_segments=_additive(True)))  # fmt: skip
    yield Hypothesis("segments-additive-others", "1 added to the scores of other segments instead "
                     "of -inf", VISION, recipe(attend_segments=_additive(False)))  # fmt: skip
    yield Hypothesis("segments-causal", "a causal mask in the vision tower", VISION,
                     recipe(attend_segments=_causal_segments))  # fmt: skip


def _top_left(mask: Float | None) -> Float | None:
    if mask is None:
        return None
    seen = np.tri(mask.shape[-2], mask.shape[-1], dtype=bool)
    return np.where(seen, 0.0, mask.min())


def _inverted(mask: Float | None) -> Float | None:
    return None if mask is None else np.where(mask == 0, mask.min(), 0.0)


def _strict(mask: Float | None) -> Float | None:
    if mask is None:
        return None
    rows, columns = mask.shape[-2:]
    past = np.tri(rows, columns, columns - rows - 1, dtype=bool)
    return np.where(past | ~np.any(past, axis=-1, keepdims=True), mask, mask.min())


def _of_padding(mask: Float | None) -> Float | None:
    return None if mask is None else np.broadcast_to(mask[..., -1:, :], mask.shape)


def _as_factor(ops: Ops, heads: Heads, mask: Float | None, factor: float) -> Float:
    """A mask of 1 where a token may look multiplied with the scores."""
    query, key, value = heads
    seen = 1.0 if mask is None else (mask == 0).astype(np.float64)
    scores = ops.matmul(query, np.swapaxes(key, -1, -2)) * factor * seen
    return ops.matmul(ops.softmax(scores), value)


def _reset(ops: Ops, heads: Heads, mask: Float | None, factor: float) -> Float:
    """Scores under a mask of -inf, set to 0 because they are not finite."""
    query, key, value = heads
    scores = ops.matmul(query, np.swapaxes(key, -1, -2)) * factor
    seen = scores if mask is None else np.where(mask == 0, scores, 0.0)
    return ops.matmul(ops.softmax(seen), value)


def _masks() -> Iterator[Hypothesis]:
    def one(name: str, sentence: str, mask: Callable[..., Any]) -> Hypothesis:
        return Hypothesis(name, sentence, TEXT, recipe(mask=mask))

    yield one("mask-missing", "no mask at all", lambda mask: None)
    yield one("mask-not-causal", "padding masked, the future not", _of_padding)
    yield one("mask-inverted", "the mask inverted: 1 = discard read as 1 = keep", _inverted)
    yield one("mask-top-left", "the causal mask aligned top-left instead of bottom-right",
              _top_left)  # fmt: skip
    yield one("mask-strict", "a token does not see itself: the causal mask off by one", _strict)
    yield one("mask-additive", "a mask of 1 (keep) and 0 added to the scores",
              lambda mask: None if mask is None else (mask == 0).astype(float))  # fmt: skip
    yield Hypothesis("mask-reset", "masked scores set to 0, as -inf that is reset to be finite",
                     TEXT, recipe(attend=_reset))  # fmt: skip
    yield Hypothesis("mask-multiplied", "the mask multiplied with the scores, not added", TEXT,
                     recipe(attend=_as_factor))  # fmt: skip


def _softmax_over_queries(ops: Ops, heads: Heads, mask: Float | None, factor: float) -> Float:
    query, key, value = heads
    scores = ops.matmul(query, np.swapaxes(key, -1, -2)) * factor
    scores = np.swapaxes(scores if mask is None else scores + mask, -1, -2)
    return ops.matmul(np.swapaxes(ops.softmax(scores), -1, -2), value)


def _unshifted(ops: Ops, heads: Heads, mask: Float | None, factor: float) -> Float:
    """A slot that holds zeros beside the keys: one is added to the softmax's denominator."""
    query, key, value = heads
    width = ((0, 0),) * (key.ndim - 2) + ((1, 0), (0, 0))
    wider = None if mask is None else np.pad(mask, ((0, 0),) * (mask.ndim - 1) + ((1, 0),))
    return attend(ops, (query, np.pad(key, width), np.pad(value, width)), wider, factor)


def _regrouped(failure: Failure) -> Answer:
    """Query heads in the order [kv heads, groups] transposed; outputs stay in that order."""
    config = failure.run.config
    order = np.arange(config.heads).reshape(-1, config.kv_heads).T.reshape(-1)

    def regrouped(ops: Ops, heads: Heads, mask: Float | None, factor: float) -> Float:
        query, key, value = heads
        return attend(ops, (query[:, order], key, value), mask, factor)

    return recipe(attend=regrouped)(failure)


def _unnormalised(ops: Ops, heads: Heads, mask: Float | None, factor: float) -> Float:
    query, key, value = heads
    return ops.matmul(ops.matmul(query, np.swapaxes(key, -1, -2)) * factor, value)


def _first_head(x: Float, count: int) -> Float:
    return np.repeat(x[:, :1], x.shape[1] * count, axis=1)


def _by_element(x: Float) -> Float:
    """``[..., n, S, hs]`` to ``[..., S, hs * n]``."""
    moved = np.moveaxis(x, -3, -1)
    return moved.reshape(*moved.shape[:-2], -1)


def _not_joined(x: Float) -> Float:
    return x.reshape(*x.shape[:-3], x.shape[-2], -1)


def _heads() -> Iterator[Hypothesis]:
    yield Hypothesis("qkv-per-head", "the fused product split per head instead of per third",
                     VISION, recipe(split_qkv=_per_head))  # fmt: skip
    yield Hypothesis("qkv-heads-last", "the fused product cut into [width, heads], not "
                     "[heads, width]", VISION, recipe(split_qkv=_heads_last))  # fmt: skip
    yield Hypothesis("gqa-tiled", "key and value heads tiled instead of repeated", TEXT,
                     recipe(repeat_heads=lambda x, n: np.concatenate([x] * n, axis=1)))  # fmt: skip
    yield Hypothesis("gqa-regrouped", "query heads grouped by every n-th, as for tiled key heads, "
                     "and joined in that order", TEXT, _regrouped)  # fmt: skip
    yield Hypothesis("gqa-first-head", "the first key and value head used for all queries", TEXT,
                     recipe(repeat_heads=_first_head))  # fmt: skip
    yield Hypothesis("heads-not-transposed", "heads joined without moving them behind the tokens",
                     BOTH, recipe(join_heads=_not_joined))  # fmt: skip
    yield Hypothesis("heads-interleaved", "a token's heads joined element by element", BOTH,
                     recipe(join_heads=_by_element))  # fmt: skip
    yield Hypothesis("softmax-over-queries", "softmax over the queries instead of the keys", BOTH,
                     recipe(attend=_softmax_over_queries))  # fmt: skip
    yield Hypothesis("softmax-plus-one", "one more in the softmax's denominator: a slot of zeros "
                     "attended to", BOTH, recipe(attend=_unshifted))  # fmt: skip
    yield Hypothesis("softmax-missing", "scores not normalised by a softmax", BOTH,
                     recipe(attend=_unnormalised))  # fmt: skip


HYPOTHESES = (
    *_scales(),
    *_heads(),
    *_orders(),
    *_rotations(),
    *_ropes(),
    *_segments(),
    *_masks(),
)
