"""Segment boundaries, masks, ids of tokens and of patches that are not the reference's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from parity.core.trace import Array
from parity.hypotheses.failure import Failure
from parity.hypotheses.hypothesis import Answer, Hypothesis

Ints: TypeAlias = NDArray[np.int64]
POSITIONS, PATCHES = "language_model.position_ids", "visual.position_ids"
SEGMENTS, MASK = "visual.cu_seqlens", "language_model.attention_mask"
IMAGE, VIDEO = 1, 2
"""What ``mm_token_type_ids`` calls them; 0 is text."""


def ints(array: Array | None) -> Ints:
    """As int64; ``None`` raises TypeError, which no hypothesis ends a run with."""
    return np.asarray(array, dtype=np.int64)


def from_reference(change: Callable[[Failure, Ints], Answer]) -> Callable[[Failure], Answer]:
    """An answer that starts from the reference's own value."""

    def answer(failure: Failure) -> Answer:
        return None if failure.wrong is None else change(failure, ints(failure.wrong.reference))

    return answer


def mask_of(failure: Failure) -> Ints:
    """The prompt's attention mask ``[B, S]``."""
    return ints(failure.value("processor.attention_mask", failure.call))


def grids(failure: Failure) -> Ints:
    """Grids ``[n, 3]`` of the call the failing firing belongs to: images first, then videos."""
    kinds = failure.case.modalities
    kind = kinds[failure.index % len(kinds)]
    return ints(failure.value(f"processor.{kind}_grid_thw", failure.call))


def _merge(failure: Failure) -> int:
    return failure.run.config.merge


def _raster(failure: Failure, own: Ints) -> Answer:
    frames = [(h, w) for t, h, w in grids(failure).tolist() for _ in range(t)]
    return np.concatenate([np.argwhere(np.ones(frame)) for frame in frames])


def _merged(failure: Failure, own: Ints) -> Answer:
    return own // _merge(failure)


def _of_patches() -> Iterator[Hypothesis]:
    def one(name: str, sentence: str, change: Callable[[Failure, Ints], Answer]) -> Hypothesis:
        return Hypothesis(f"patches-{name}", sentence, (PATCHES,), from_reference(change))

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
        return Hypothesis(f"segments-{name}", sentence, (SEGMENTS,), from_reference(change))

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
    time = ints(positions)[0]  # [B, S]
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
    mask = mask_of(failure) != 0
    rest = own.shape[-1] - mask.shape[1]
    return np.pad(mask, ((0, 0), (0, rest)), constant_values=True)[:, None, None].astype(np.int64)


def _of_masks() -> Iterator[Hypothesis]:
    def one(name: str, sentence: str, change: Callable[[Failure, Ints], Ints]) -> Hypothesis:
        def answer(failure: Failure, own: Ints) -> Answer:
            return np.broadcast_to(change(failure, own) != 0, own.shape)

        return Hypothesis(f"mask-{name}", sentence, (MASK,), from_reference(answer))

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
    mask = mask_of(failure)
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
                     from_reference(_padded_right))  # fmt: skip
    yield Hypothesis("tokens-per-patch", "a token for each patch, not for each merged block",
                     where[:1], from_reference(_per_patch))  # fmt: skip
    yield Hypothesis("tokens-image-for-video", "a video's places filled with the image token",
                     where[:1], from_reference(_image_for_video))  # fmt: skip
    yield Hypothesis("types-image-for-video", "a video's tokens called an image's", where[2:],
                     from_reference(lambda f, own: np.where(own == VIDEO, IMAGE, own)))  # fmt: skip


HYPOTHESES = (
    *_of_patches(),
    *_of_segments(),
    *_of_masks(),
    *_of_tokens_ids(),
)
