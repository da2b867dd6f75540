"""Ways in which products and attention may be computed: exactly in float64, but for one thing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from parity.core.rounding import rounded
from parity.subjects.ops import EXACT, Float, Ops
from parity.subjects.recipe import RIGHT, Heads, Recipe, rotate_half

LOWEST = -60000.0
"""What the mask adds at least: float16 holds it, and no weight is left of it."""
STEP = 16
"""Products that are added before a sum in float16 is rounded."""


@dataclass(frozen=True)
class Way:
    """The primitives and the choices that a module is computed with."""

    ops: Ops = EXACT
    recipe: Recipe = RIGHT


@dataclass(frozen=True)
class Formats:
    """What attention in half precision rounds to."""

    hidden: str
    """Full name of the dtype between modules, in which the decoder rotates."""
    inside: str
    """Of queries, keys and values."""
    vision: bool
    """Whether it is the vision tower's, which rotates in float32."""


def operands(change: Callable[[Float], Any]) -> Way:
    """Products of changed operands, added up exactly."""

    def product(one: Float, other: Float) -> Float:
        return np.matmul(*(np.asarray(change(x), np.float64) for x in (one, other)))

    return Way(replace(EXACT, matmul=product))


def float16_sums() -> Way:
    """Products whose sums are rounded to float16 every `STEP` products."""

    def product(one: Float, other: Float) -> Float:
        total = np.zeros((*one.shape[:-1], other.shape[-1]))
        for start in range(0, one.shape[-1], STEP):
            part = slice(start, start + STEP)
            total = rounded(total + one[..., part] @ other[part], "float16")
        return total

    return Way(replace(EXACT, matmul=product))


def fused(formats: Formats) -> Way:
    """Attention by a fused kernel: its operands, its weights and its result are rounded, no more.

    The kernel rounds weights before they are divided by their sum, relative to the largest so far;
    here they are relative to the largest of all.
    """
    inside = formats.inside

    def attend(ops: Ops, heads: Heads, mask: Float | None, factor: float) -> Float:
        query, key, value = heads
        scores = _masked(query @ np.swapaxes(key, -1, -2) * factor, mask)
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        mixed = rounded(weights, inside) @ rounded(value, inside)
        return np.asarray(mixed / weights.sum(-1, keepdims=True))

    return Way(recipe=replace(RIGHT, rotate=_rotation(formats), attend=attend))


def stepwise(formats: Formats) -> Way:
    """Attention as the reference computes it, which rounds after every step."""
    step = partial(rounded, dtype=formats.inside)

    def attend(ops: Ops, heads: Heads, mask: Float | None, factor: float) -> Float:
        query, key, value = heads
        scores = step(step(query @ np.swapaxes(key, -1, -2)) * factor)
        weights = step(EXACT.softmax(step(_masked(scores, mask))))
        return weights @ step(value)

    return Way(recipe=replace(RIGHT, rotate=_rotation(formats), attend=attend))


def _masked(scores: Float, mask: Float | None) -> Float:
    """Scores with the mask added, finite in every dtype."""
    return scores if mask is None else scores + np.maximum(mask, LOWEST)


def _rotation(formats: Formats) -> Callable[[Float, Float, Float], Float]:
    """The rotary embedding with its roundings."""
    step = partial(rounded, dtype="float32" if formats.vision else formats.hidden)

    def rotate(x: Float, cos: Float, sin: Float) -> Float:
        turned = step(step(x * cos) + step(rotate_half(x) * sin))
        return rounded(rounded(turned, formats.hidden), formats.inside)

    return rotate
