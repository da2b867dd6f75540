"""Position ids, segment boundaries, masks and token ids that are not the reference's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import groupby
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from parity.core.trace import Array
from parity.hypotheses.failure import Failure
from parity.hypotheses.hypothesis import Answer, Hypothesis
from parity.subjects.modules import call_firings

Ints: TypeAlias = NDArray[np.int64]
POSITIONS, PATCHES = "language_model.position_ids", "visual.position_ids"
SEGMENTS, MASK = "visual.cu_seqlens", "language_model.attention_mask"
IMAGE, VIDEO = 1, 2
"""What ``mm_token_type_ids`` calls them; 0 is text."""


def _ints(array: Array | None) -> Ints:
    return np.asarray(array, dtype=np.int64)


def _reference(change: Callable[[Failure, Ints], Answer]) -> Callable[[Failure], Answer]:
    """An answer that starts from the reference's own value."""

    def answer(failure: Failure) -> Answer:
        return None if failure.wrong is None else change(failure, _ints(failure.wrong.reference))

    return answer


def _prompt(change: Callable[[Failure, Ints], Answer]) -> Callable[[Failure], Answer]:
    """The same, for the prompt alone, or the first part of it."""

    def answer(failure: Failure, own: Ints) -> Answer:
        first = failure.index == call_firings(failure.bundle, failure.index).start
        return change(failure, own) if first else None

    return _reference(answer)


def _mask(failure: Failure) -> Ints:
    """The prompt's attention mask ``[B, S]``."""
    return _ints(failure.value("processor.attention_mask", failure.call))


def _types(failure: Failure) -> Ints:
    """What each token of the prompt is ``[B, S]``."""
    found = failure.value("processor.mm_token_type_ids", failure.call)
    return np.zeros_like(_mask(failure)) if found is None else _ints(found)


def _plain(failure: Failure, own: Ints) -> Answer:
    return np.broadcast_to(np.arange(own.shape[2]), own.shape)


def _plain_masked(failure: Failure, own: Ints) -> Answer:
    mask = _mask(failure)
    positions = np.cumsum(mask != 0, axis=1) - 1
    return np.broadcast_to(np.where(mask == 0, 1, positions), own.shape)


def _ordered(order: list[int]) -> Callable[[Failure, Ints], Answer]:
    return lambda failure, own: own[order]


def _by_run(change: Callable[[Ints, int], Ints]) -> Callable[[Failure, Ints], Answer]:
    """Change the positions ``[3, n]`` of each run of image or video tokens."""

    def answer(failure: Failure, own: Ints) -> Answer:
        changed, types, mask = own.copy(), _types(failure), _mask(failure)
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
    first = np.argmax(_mask(failure) != 0, axis=1)  # [B]
    changed = own + first[None, :, None]
    return np.where(_mask(failure) != 0, changed, np.arange(own.shape[2]))


def _after_tokens(failure: Failure, own: Ints) -> Answer:
    """Each run of text or picture tokens starts at its index."""
    changed, types, mask = own.copy(), _types(failure), _mask(failure)
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
    return np.where(_mask(failure) == 1, own, 0)


def _not_cut(failure: Failure, own: Ints) -> Answer:
    """Of a later part of a prompt: the positions that the prompt begins with."""
    start = call_firings(failure.bundle, failure.index).start
    first = failure.value(POSITIONS, start)
    if failure.step or failure.index == start or first is None:
        return None
    return _ints(first)[..., : own.shape[2]]


def _stale_deltas(failure: Failure, own: Ints) -> Answer:
    """Of a decoding step of a later call: with the rope deltas of the call before."""
    if not failure.step or not failure.call:
        return None
    before, now = (failure.value("rope_deltas", failure.call - back) for back in (1, 0))
    return None if before is None or now is None else own + (_ints(before) - _ints(now))[None]


def _cache_length(failure: Failure, own: Ints) -> Answer:
    """Of a decoding step: the number of tokens before it."""
    if not failure.step:
        return None
    return np.full_like(own, _mask(failure).shape[1] + failure.step - 1)


def _no_deltas(failure: Failure, own: Ints) -> Answer:
    """Of a decoding step: the real tokens before it, pictures counted by their tokens."""
    if not failure.step:
        return None
    count = np.count_nonzero(_mask(failure), axis=1) + failure.step - 1
    return np.broadcast_to(count[None, :, None], own.shape)


def _prompt_twice(failure: Failure, own: Ints) -> Answer:
    return own + _mask(failure).shape[1] if failure.step else None


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
        "not-cut", "the prompt's first positions for a later part of it", _reference(_not_cut)
    )
    yield one("deltas-stale", "rope deltas of an earlier prompt", _reference(_stale_deltas))
    yield one("after-tokens", "text goes on after as many positions as a picture has tokens",
              _prompt(_after_tokens))  # fmt: skip
    yield one("rows-rotated", "rows of the batch exchanged", _prompt(_rows_rotated))
    yield one("cache-length", "decoding positions from the cache's length alone",
              _reference(_cache_length))  # fmt: skip
    yield one("deltas-lost", "rope deltas lost: tokens counted, pictures by their tokens",
              _reference(_no_deltas))  # fmt: skip
    yield one("prompt-twice", "the prompt's length added twice", _reference(_prompt_twice))
    yield one("frozen", "positions that do not advance from step to step", _reference(_frozen))


def grids(failure: Failure) -> Ints:
    """Grids ``[n, 3]`` of the call the failing firing belongs to: images first, then videos."""
    kinds = failure.case.modalities
    kind = kinds[failure.index % len(kinds)]
    return _ints(failure.value(f"processor.{kind}_grid_thw", failure.call))


def _merge(failure: Failure) -> int:
    return failure.run.config.merge


def _raster(failure: Failure, own: Ints) -> Answer:
    frames = [(h, w) for t, h, w in grids(failure).tolist() for _ in range(t)]
    return np.concatenate([np.argwhere(np.ones(frame)) for frame in frames])


def _merged(failure: Failure, own: Ints) -> Answer:
    return own // _merge(failure)


def _of_patches() -> Iterator[Hypothesis]:
    def one(name: str, sentence: str, change: Callable[[Failure, Ints], Answer]) -> Hypothesis:
        return Hypothesis(f"patches-{name}", sentence, (PATCHES,), _reference(change))

    yield one("hw-swapped", "height and width of patches swapped", lambda f, own: own[:, ::-1])
    yield one("raster", "patches counted row by row, not merge-block by merge-block", _raster)
    yield one("merged", "positions of merged tokens instead of patches", _merged)
    yield one("one-axis-height", "height used for both axes", lambda f, own: own[:, [0, 0]])
    yield one("one-axis-width", "width used for both axes", lambda f, own: own[:, [1, 1]])


def _one_per_grid(failure: Failure, own: Ints) -> Answer:
    return np.concatenate(([0], np.cumsum(grids(failure).prod(axis=1))))


def _of_tokens(failure: Failure, own: Ints) -> Answer:
    return own // _merge(failure) ** 2


def _of_segments() -> Iterator[Hypothesis]:
    def one(name: str, sentence: str, change: Callable[[Failure, Ints], Answer]) -> Hypothesis:
        return Hypothesis(f"segments-{name}", sentence, (SEGMENTS,), _reference(change))

    yield one("per-video", "one segment for a whole video instead of one a frame", _one_per_grid)
    yield one("one", "one segment over all pictures", lambda f, own: own[[0, -1]])
    yield one("no-zero", "the leading 0 left out", lambda f, own: own[1:])
    yield one("merged", "boundaries counted in merged tokens", _of_tokens)
    yield one("lengths", "lengths instead of boundaries", lambda f, own: np.diff(own))


def _causal(failure: Failure, own: Ints) -> Ints:
    """True where a token comes no later, ``[1, 1, S, L]``."""
    return _triangle(own, own.shape[-1] - own.shape[-2])[None, None]


def _of_time(failure: Failure, own: Ints) -> Ints:
    """Samples told apart by the temporal positions: where those do not go on, one begins."""
    positions = failure.value(POSITIONS, failure.index)
    if positions is None or failure.step:
        return own
    time = _ints(positions)[0]  # [B, S]
    sample = np.cumsum(np.diff(time, axis=1, prepend=time[:, :1] - 1) != 1, axis=1)
    together = sample[:, None, :, None] == sample[:, None, None, :]
    return np.where(together, own, 0)


def _triangle(own: Ints, diagonal: int) -> Ints:
    """1 on and below a diagonal, ``[S, L]``."""
    return np.tri(own.shape[-2], own.shape[-1], diagonal, dtype=np.int64)


def _transposed(failure: Failure, own: Ints) -> Ints:
    return own.swapaxes(-1, -2) if own.shape[-1] == own.shape[-2] else own


def _padding(failure: Failure, own: Ints) -> Ints:
    """True where a key is a real token, ``[B, 1, 1, L]``."""
    mask = _mask(failure) != 0
    rest = own.shape[-1] - mask.shape[1]
    return np.pad(mask, ((0, 0), (0, rest)), constant_values=True)[:, None, None].astype(np.int64)


def _of_masks() -> Iterator[Hypothesis]:
    def one(name: str, sentence: str, change: Callable[[Failure, Ints], Ints]) -> Hypothesis:
        def answer(failure: Failure, own: Ints) -> Answer:
            return np.broadcast_to(change(failure, own) != 0, own.shape)

        return Hypothesis(f"mask-{name}", sentence, (MASK,), _reference(answer))

    yield one("padding-seen", "padding ignored: the mask is causal and nothing else", _causal)
    yield one("not-causal", "padding masked, the future not", _padding)
    yield one("everything-seen", "nothing masked", lambda f, own: np.ones_like(own))
    yield one("inverted", "the mask inverted: 1 = discard read as 1 = keep",
              lambda f, own: 1 - own)  # fmt: skip
    yield one("padding-inverted", "the padding mask inverted: real tokens masked",
              lambda f, own: _causal(f, own) * (1 - _padding(f, own)))  # fmt: skip
    yield one("top-left", "the causal mask aligned top-left instead of bottom-right",
              lambda f, own: _triangle(own, 0) * _padding(f, own))  # fmt: skip
    yield one("strict", "a token does not see itself: the causal mask off by one",
              lambda f, own: own * _triangle(own, own.shape[-1] - own.shape[-2] - 1))  # fmt: skip
    yield one("transposed", "the mask transposed: the future seen, the past not",
              _transposed)  # fmt: skip
    yield one("rows-rotated", "rows of the batch exchanged", lambda f, own: np.roll(own, 1, axis=0))
    yield one("of-time", "packed samples looked for in position_ids[0], which are not text's but "
              "temporal", _of_time)  # fmt: skip


def _padded_right(failure: Failure, own: Ints) -> Answer:
    """Padding moved behind the tokens."""
    mask = _mask(failure)
    order = np.argsort(mask == 0, axis=1, kind="stable")
    return np.take_along_axis(own, order, axis=1)


def _image_for_video(failure: Failure, own: Ints) -> Answer:
    ids = failure.run.config.ids
    return np.where(own == ids["video"], ids["image"], own)


def _per_patch(failure: Failure, own: Ints) -> Answer:
    """A token for each patch, not for each merged block, in a prompt of one row."""
    ids = failure.run.config.ids
    seen = np.isin(own, (ids["image"], ids["video"]))
    return np.repeat(own[0], np.where(seen[0], _merge(failure) ** 2, 1))[None]


def _of_tokens_ids() -> Iterator[Hypothesis]:
    where = ("processor.input_ids", "processor.attention_mask", "processor.mm_token_type_ids")
    yield Hypothesis("tokens-padded-right", "rows padded on the right instead of the left", where,
                     _reference(_padded_right))  # fmt: skip
    yield Hypothesis("tokens-per-patch", "a token for each patch, not for each merged block",
                     where[:1], _reference(_per_patch))  # fmt: skip
    yield Hypothesis("tokens-image-for-video", "a video's places filled with the image token",
                     where[:1], _reference(_image_for_video))  # fmt: skip
    yield Hypothesis("types-image-for-video", "a video's tokens called an image's", where[2:],
                     _reference(lambda f, own: np.where(own == VIDEO, IMAGE, own)))  # fmt: skip


HYPOTHESES = (
    *_of_positions(),
    *_of_patches(),
    *_of_segments(),
    *_of_masks(),
    *_of_tokens_ids(),
)
