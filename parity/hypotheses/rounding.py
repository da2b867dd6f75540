"""Arithmetic in a narrower dtype than it should be in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from parity.core.rounding import rounded
from parity.hypotheses.failure import Failure
from parity.hypotheses.hypothesis import Answer, Hypothesis, recipe
from parity.subjects.ops import Float, Ops, wide
from parity.subjects.recipe import (
    Heads,
    layer_norm,
    linear,
    rms_norm,
    rope,
    rotate,
    rotate_half,
)

Round = Callable[[Float], Float]
NARROW = ("float16", "bfloat16")
HF32_DROPPED = 12
"""Bits of float32's mantissa that HF32 lacks."""
NORMED = ("layer_norm", "rms_norm", "vision_block", "text_block", "merger")
PROJECTED = ("linear", "head", "patch_embed")
ATTENDED = ("vision_attention", "text_attention")


def _inputs(narrow: Round) -> Callable[..., Float]:
    def project(ops: Ops, x: Float, weight: Float, bias: Float | None) -> Float:
        return linear(ops, narrow(x), narrow(weight), bias if bias is None else narrow(bias))

    return project


def _hf32_product(ops: Ops, x: Float, weight: Float, bias: Float | None) -> Float:
    return linear(ops, hf32(x), hf32(weight), bias)


def _norms(narrow: Round) -> dict[str, Callable[..., Float]]:
    """Everything inside a norm rounded, step by step."""

    def rms(ops: Ops, x: Float, weight: Float, eps: float) -> Float:
        x = narrow(x)
        scale = narrow(ops.rsqrt(narrow(narrow(ops.mean(narrow(x**2))) + eps)))
        return narrow(narrow(weight) * narrow(x * scale))

    def layer(ops: Ops, x: Float, weight: Float, bias: Float) -> Float:
        return narrow(layer_norm(ops, narrow(x), narrow(weight), narrow(bias)))

    return {"rms_norm": rms, "layer_norm": layer}


def _weighted_first(narrow: Round) -> Callable[..., Float]:
    def rms(ops: Ops, x: Float, weight: Float, eps: float) -> Float:
        return narrow(rms_norm(ops, x, np.ones_like(weight), eps)) * weight

    return rms


def _probabilities(narrow: Round) -> Callable[..., Float]:
    def attend(ops: Ops, heads: Heads, mask: Float | None, factor: float) -> Float:
        query, key, value = heads
        scores = ops.matmul(query, np.swapaxes(key, -1, -2)) * factor
        return ops.matmul(narrow(ops.softmax(scores if mask is None else scores + mask)), value)

    return attend


def _softmax(narrow: Round) -> Callable[..., Float]:
    """Each step of the softmax rounded."""

    def softmax(scores: Float) -> Float:
        powers = narrow(np.exp(narrow(scores - scores.max(axis=-1, keepdims=True))))
        return narrow(powers / narrow(powers.sum(axis=-1, keepdims=True)))

    def attend(ops: Ops, heads: Heads, mask: Float | None, factor: float) -> Float:
        query, key, value = heads
        scores = narrow(narrow(ops.matmul(query, np.swapaxes(key, -1, -2))) * factor)
        scores = scores if mask is None else narrow(scores + mask)
        return ops.matmul(softmax(scores), value)

    return attend


def _scores(narrow: Round) -> Callable[..., Float]:
    def attend(ops: Ops, heads: Heads, mask: Float | None, factor: float) -> Float:
        query, key, value = heads
        scores = narrow(ops.matmul(query, np.swapaxes(key, -1, -2)) * factor)
        return ops.matmul(ops.softmax(scores if mask is None else scores + mask), value)

    return attend


def _turned(narrow: Round, which: str) -> Callable[..., Heads]:
    def change(*arguments: Any) -> Heads:
        named = dict(zip("qkv", rope(*arguments), strict=True))
        named |= {name: narrow(named[name]) for name in which}
        return named["q"], named["k"], named["v"]

    return change


def _tables(narrow: Round) -> Callable[..., Float]:
    return lambda x, cos, sin: rotate(x, narrow(cos), narrow(sin))


def _rotation(narrow: Round) -> Callable[..., Float]:
    """Tables and each step of the rotation rounded."""

    def turn(x: Float, cos: Float, sin: Float) -> Float:
        return narrow(
            narrow(narrow(x) * narrow(cos)) + narrow(rotate_half(narrow(x)) * narrow(sin))
        )

    return turn


def hf32(x: Float) -> Float:
    """Rounded to HF32, in which Ascend multiplies matrices unless told: 11 bits of mantissa."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32).astype(np.uint64)
    half = np.uint64(1 << (HF32_DROPPED - 1))
    dropped = np.uint64((1 << HF32_DROPPED) - 1)
    return wide(((bits + half) & ~dropped).astype(np.uint32).view(np.float32))


def _output(dtype: str) -> Callable[[Failure], Answer]:
    def answer(failure: Failure) -> Answer:
        return None if failure.wrong is None else rounded(failure.wrong.truth, dtype)

    return answer


def _in(dtype: str) -> Iterator[Hypothesis]:
    def narrow(x: Float) -> Float:
        return rounded(x, dtype)

    def one(name: str, sentence: str, where: tuple[str, ...], **changes: Any) -> Hypothesis:
        answer = recipe(**changes)
        return Hypothesis(f"{name}-{dtype}", sentence.format(dtype), where, answer, rounds=True)

    yield one("cache", "keys and values rounded to {}, as in a cache of that dtype", ATTENDED,
              rope=_turned(narrow, "kv"))  # fmt: skip
    yield one("queries-keys-values", "queries, keys and values rounded to {}", ATTENDED,
              rope=_turned(narrow, "qkv"))  # fmt: skip
    yield one("tables", "cosines and sines rounded to {}", ATTENDED, rotate=_tables(narrow))
    yield one("rotation", "the rotation computed in {}, not widened to float32", ATTENDED,
              rotate=_rotation(narrow))  # fmt: skip
    yield one("softmax", "the softmax computed in {}, not widened to float32", ATTENDED,
              attend=_softmax(narrow))  # fmt: skip
    yield one("probabilities", "softmax rounded to {}", ATTENDED, attend=_probabilities(narrow))
    yield one("scores", "attention scores rounded to {}", ATTENDED, attend=_scores(narrow))
    yield one("operands", "operands of the product rounded to {}", PROJECTED,
              linear=_inputs(narrow))  # fmt: skip
    yield one("operands-output", "the product made in {}: operands and result rounded", PROJECTED,
              linear=lambda *a: narrow(_inputs(narrow)(*a)))  # fmt: skip
    yield one("norm", "the norm computed in {}, not widened to float32", NORMED, **_norms(narrow))
    yield one("norm-inner", "the norm rounded to {} before its weight", NORMED,
              rms_norm=_weighted_first(narrow))  # fmt: skip
    yield Hypothesis(f"output-{dtype}", f"the result rounded to {dtype}", ("*",), _output(dtype),
                     rounds=True)  # fmt: skip


HYPOTHESES = (
    *(hypothesis for dtype in NARROW for hypothesis in _in(dtype)),
    Hypothesis("operands-hf32", "operands of the product rounded to HF32, Ascend's default for "
               "matrices and convolutions", PROJECTED, recipe(linear=_hf32_product)),
)  # fmt: skip
