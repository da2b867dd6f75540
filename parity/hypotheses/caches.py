"""Keys and values of earlier tokens that are not what they should be."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from parity.hypotheses.attention import TEXT
from parity.hypotheses.failure import Failure
from parity.hypotheses.hypothesis import Answer, Hypothesis, recipe
from parity.subjects.modules import call_firings
from parity.subjects.ops import Float, Ops
from parity.subjects.recipe import Heads, attend, rope


def _cached(change: Callable[[Float, int], Float]) -> Callable[[Failure], Answer]:
    """Keys and values of a decoding step changed, of those before it and the new ones."""

    def answer(failure: Failure) -> Answer:
        if not failure.step:
            return None

        def roped(*arguments: Any) -> Heads:
            query, key, value = rope(*arguments)
            return query, change(key, failure.step), change(value, failure.step)

        return recipe(rope=roped)(failure)

    return answer


def _only_new(x: Float, step: int) -> Float:
    return np.repeat(x[:, :, -1:], x.shape[2], axis=2)


def _overwritten(x: Float, step: int) -> Float:
    """Every new token one slot early, on the prompt's last; the newest's own slot holds zeros."""
    return np.concatenate((x[:, :, : -1 - step], x[:, :, -step:], 0 * x[:, :, -1:]), axis=2)


def _unwritten(failure: Failure) -> Answer:
    """Attention over slots of zeros as well, as many as there are tokens to come."""
    left = call_firings(failure.bundle, failure.index).stop - 1 - failure.index
    if left < 1:
        return None

    def wider(ops: Ops, heads: Heads, mask: Float | None, factor: float) -> Float:
        query, key, value = heads
        key, value = (np.pad(x, ((0, 0), (0, 0), (0, left), (0, 0))) for x in (key, value))
        if mask is not None:
            mask = np.pad(mask, ((0, 0),) * 3 + ((0, left),))
        return attend(ops, (query, key, value), mask, factor)

    return recipe(attend=wider)(failure)


def _caches() -> Iterator[Hypothesis]:
    yield Hypothesis("cache-lost", "a decoding step that sees only itself: the cache lost", TEXT,
                     _cached(_only_new))  # fmt: skip
    yield Hypothesis("cache-overwritten", "a new token's keys and values written over the "
                     "token's before it", TEXT, _cached(_overwritten))  # fmt: skip
    yield Hypothesis("cache-unwritten", "slots of the cache that are not written yet attended to",
                     TEXT, _unwritten)  # fmt: skip


HYPOTHESES = tuple(_caches())
