"""Position ids of tokens that are not the reference's: (time, height, width)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import groupby

import numpy as np

from parity.hypotheses.failure import Failure
from parity.hypotheses.hypothesis import Answer, Hypothesis
from parity.hypotheses.integers import POSITIONS, Ints, from_reference, ints, mask_of
from parity.subjects.modules import call_firings


def _prompt(change: Callable[[Failure, Ints], Answer]) -> Callable[[Failure], Answer]:
    """The same, for the prompt alone, or the first part of it."""

    def answer(failure: Failure, own: Ints) -> Answer:
        first = failure.index == call_firings(failure.bundle, failure.index).start
        return change(failure, own) if first else None

    return from_reference(answer)


def _types(failure: Failure) -> Ints:
    """What each token of the prompt is ``[B, S]``."""
    found = failure.value("processor.mm_token_type_ids", failure.call)
    return np.zeros_like(mask_of(failure)) if found is None else ints(found)


def _plain(failure: Failure, own: Ints) -> Answer:
    return np.broadcast_to(np.arange(own.shape[2]), own.shape)


def _plain_masked(failure: Failure, own: Ints) -> Answer:
    mask = mask_of(failure)
    positions = np.cumsum(mask != 0, axis=1) - 1
    return np.broadcast_to(np.where(mask == 0, 1, positions), own.shape)


def _ordered(order: list[int]) -> Callable[[Failure, Ints], Answer]:
    return lambda failure, own: own[order]


def _by_run(change: Callable[[Ints, int], Ints]) -> Callable[[Failure, Ints], Answer]:
    """Change the positions ``[3, n]`` of each run of image or video tokens."""

    def answer(failure: Failure, own: Ints) -> Answer:
        changed, types, mask = own.copy(), _types(failure), mask_of(failure)
        for row, kind in enumerate(types):
            index = 0
            for value, group in groupby(kind.tolist()):
                run = slice(index, index + len(list(group)))
                index = run.stop
                if value and mask[row, run].all():
                    changed[:, row, run] = change(changed[:, row, run], value)
        return changed

    return answer


def _constant_time(run: Ints, kind: int) -> Ints:
    return np.concatenate((np.full_like(run[:1], run.min()), run[1:]))


def _time_scaled(factor: int) -> Callable[[Ints, int], Ints]:
    def change(run: Ints, kind: int) -> Ints:
        start = run.min()
        return np.concatenate(((run[:1] - start) * factor + start, run[1:]))

    return change


def _from_zero(run: Ints, kind: int) -> Ints:
    moved: Ints = run - run.min()
    return moved


def _axes_swapped(run: Ints, kind: int) -> Ints:
    return run[[0, 2, 1]]


def _without_mask(failure: Failure, own: Ints) -> Answer:
    """As if padding were text: every row starts at the first column."""
    first = np.argmax(mask_of(failure) != 0, axis=1)  # [B]
    changed = own + first[None, :, None]
    return np.where(mask_of(failure) != 0, changed, np.arange(own.shape[2]))


def _after_tokens(failure: Failure, own: Ints) -> Answer:
    """Each run of text or picture tokens starts at its index."""
    changed, types, mask = own.copy(), _types(failure), mask_of(failure)
    for row, kind in enumerate(types):
        kept = np.flatnonzero(mask[row])
        index, moved = 0, changed[:, row, kept]
        for _, group in groupby(kind[kept].tolist()):
            run = slice(index, index + len(list(group)))
            moved[:, run] += index - moved[:, run].min()
            index = run.stop
        changed[:, row, kept] = moved
    return changed


def _rows_rotated(failure: Failure, own: Ints) -> Answer:
    return np.roll(own, 1, axis=1)


def _of_ones(failure: Failure, own: Ints) -> Answer:
    """0 where the mask is not 1."""
    return np.where(mask_of(failure) == 1, own, 0)


def _not_cut(failure: Failure, own: Ints) -> Answer:
    """Of a later part of a prompt: the positions that the prompt begins with."""
    start = call_firings(failure.bundle, failure.index).start
    first = failure.value(POSITIONS, start)
    if failure.step or failure.index == start or first is None:
        return None
    return ints(first)[..., : own.shape[2]]


def _stale_deltas(failure: Failure, own: Ints) -> Answer:
    """Of a decoding step of a later call: with the rope deltas of the call before."""
    if not failure.step or not failure.call:
        return None
    before, now = (failure.value("rope_deltas", failure.call - back) for back in (1, 0))
    return None if before is None or now is None else own + (ints(before) - ints(now))[None]


def _cache_length(failure: Failure, own: Ints) -> Answer:
    """Of a decoding step: the number of tokens before it."""
    if not failure.step:
        return None
    return np.full_like(own, mask_of(failure).shape[1] + failure.step - 1)


def _no_deltas(failure: Failure, own: Ints) -> Answer:
    """Of a decoding step: the real tokens before it, pictures counted by their tokens."""
    if not failure.step:
        return None
    count = np.count_nonzero(mask_of(failure), axis=1) + failure.step - 1
    return np.broadcast_to(count[None, :, None], own.shape)


def _prompt_twice(failure: Failure, own: Ints) -> Answer:
    return own + mask_of(failure).shape[1] if failure.step else None


def _frozen(failure: Failure, own: Ints) -> Answer:
    """Of a later decoding step: still the first one's."""
    return own - (failure.step - 1) if failure.step > 1 else None


def _of_positions() -> Iterator[Hypothesis]:
    def one(name: str, sentence: str, answer: Callable[[Failure], Answer]) -> Hypothesis:
        return Hypothesis(f"positions-{name}", sentence, (POSITIONS,), answer)

    yield one("1d", "1-D positions: tokens counted, pictures ignored", _prompt(_plain))
    yield one("1d-masked", "1-D positions from the cumulated mask, pictures ignored",
              _prompt(_plain_masked))  # fmt: skip
    for name, order in (("hw-swapped", [0, 2, 1]), ("th-swapped", [1, 0, 2]),
                        ("tw-swapped", [2, 1, 0]), ("rotated", [1, 2, 0]), ("rolled", [2, 0, 1]),
                        ("time-only", [0, 0, 0])):  # fmt: skip
        named = ", ".join(("time", "height", "width")[i] for i in order)
        sentence = f"the rows (time, height, width) hold {named}"
        yield one(name, sentence, _prompt(_ordered(order)))
    yield one("constant-time", "time constant over a video", _prompt(_by_run(_constant_time)))
    for factor in (2, 4, 25):
        yield one(f"time-times-{factor}", f"time counted {factor} to a frame pair, by the second "
                  "as in Qwen2.5-VL", _prompt(_by_run(_time_scaled(factor))))  # fmt: skip
    yield one("picture-from-zero", "a picture's positions start at 0, not after the text",
              _prompt(_by_run(_from_zero)))  # fmt: skip
    yield one("mask-ignored", "the attention mask ignored: padding counted", _prompt(_without_mask))
    yield one("mask-ones", "only mask values equal to 1 accepted: other tokens get position 0",
              _prompt(_of_ones))  # fmt: skip
    yield one(
        "not-cut", "the prompt's first positions for a later part of it", from_reference(_not_cut)
    )
    yield one("deltas-stale", "rope deltas of an earlier prompt", from_reference(_stale_deltas))
    yield one("after-tokens", "text goes on after as many positions as a picture has tokens",
              _prompt(_after_tokens))  # fmt: skip
    yield one("rows-rotated", "rows of the batch exchanged", _prompt(_rows_rotated))
    yield one("cache-length", "decoding positions from the cache's length alone",
              from_reference(_cache_length))  # fmt: skip
    yield one("deltas-lost", "rope deltas lost: tokens counted, pictures by their tokens",
              from_reference(_no_deltas))  # fmt: skip
    yield one("prompt-twice", "the prompt's length added twice", from_reference(_prompt_twice))
    yield one("frozen", "positions that do not advance from step to step", from_reference(_frozen))


HYPOTHESES = tuple(_of_positions())
