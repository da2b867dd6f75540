"""Numbers in another order: patches, merge groups, tables of tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import permutations

import numpy as np

from parity.hypotheses.failure import Failure
from parity.hypotheses.hypothesis import Answer, Hypothesis, recipe
from parity.hypotheses.integers import grids
from parity.subjects.config import LAYER_NORM_EPS, Config
from parity.subjects.ops import EXACT, Float, Ops
from parity.subjects.recipe import Ints, rms_norm

AXES = ("channel", "frame", "row", "column")


def flattened(order: tuple[int, ...]) -> Callable[[Float, tuple[int, int, int]], Float]:
    """A patch's numbers flattened with its axes (channel, frame, row, column) in another order."""

    def change(patches: Float, patch: tuple[int, int, int]) -> Float:
        channels, frames, side = patch
        split = patches.reshape(len(patches), channels, frames, side, side)
        moved = split.transpose(0, *(axis + 1 for axis in order))
        return moved.reshape(patches.shape)

    return change


def _patches() -> Iterator[Hypothesis]:
    for order in permutations(range(4)):
        if order != (0, 1, 2, 3):
            named = ", ".join(AXES[axis] for axis in order)
            yield Hypothesis(
                "patch-axes-" + "".join(AXES[axis][0] if axis < 3 else "w" for axis in order),
                f"the patches' axes in the order {named} instead of {', '.join(AXES)}",
                ("patch_embed",), recipe(flatten=flattened(order)),
            )  # fmt: skip
    for frame in (0, 1):
        yield Hypothesis(f"patch-frame-{frame}", f"the kernel of frame {frame} alone, as if the "
                         "convolution had two axes", ("patch_embed",),
                         recipe(flatten=_of_frames(frame)))  # fmt: skip


def _of_frames(*kept: int) -> Callable[[Float, tuple[int, int, int]], Float]:
    """Other frames of each patch set to 0."""

    def change(patches: Float, patch: tuple[int, int, int]) -> Float:
        channels, frames, _ = patch
        split = patches.reshape(len(patches), channels, frames, -1)
        seen = np.isin(np.arange(frames), kept)[:, None]
        return np.where(seen, split, 0).reshape(patches.shape)

    return change


def _by_column(x: Float, config: Config) -> Float:
    side = config.merge
    groups = x.reshape(-1, side, side, config.vision_width).swapaxes(1, 2)
    return groups.reshape(-1, config.vision_width * side**2)


def _channels_first(x: Float, config: Config) -> Float:
    groups = x.reshape(-1, config.merge**2, config.vision_width).swapaxes(1, 2)
    return groups.reshape(len(groups), -1)


def _far_apart(x: Float, config: Config) -> Float:
    """Patches that are a quarter of the sequence apart side by side."""
    groups = x.reshape(config.merge**2, -1, config.vision_width).swapaxes(0, 1)
    return groups.reshape(len(groups), -1)


def _norm_after(failure: Failure) -> Answer:
    """One LayerNorm over all patches of a token, the weights repeated."""
    name, weights = failure.point.name, failure.run.weights
    times = failure.run.config.merge**2
    gain, bias = (np.tile(weights(f"{name}.ln_q", part), times) for part in ("weight", "bias"))

    def merge(x: Float, norm: Callable[..., Float], join: Callable[..., Float]) -> Float:
        norm(x)  # what reaches the norm is seen all the same
        return EXACT.layer_norm(join(x), gain, bias, LAYER_NORM_EPS)

    return recipe(merge=merge)(failure)


def _of_grid_rows(failure: Failure) -> Answer:
    """As many neighbours of one row of the grid as a merged token has patches."""
    places, start = [], 0
    side = failure.run.config.merge
    for t, h, w in grids(failure).tolist():
        blocks = np.arange(t * h * w).reshape(t, h // side, w // side, side, side)
        places.append(start + blocks.transpose(0, 1, 3, 2, 4).reshape(-1))
        start += t * h * w
    order = np.concatenate(places)  # raster order, of patches that are stored by block

    def group(x: Float, config: Config) -> Float:
        return np.reshape(x[order], (-1, config.vision_width * config.merge**2))

    return recipe(group=group)(failure)


def _joint_norm(failure: Failure) -> Answer:
    """The merger's LayerNorm over all patches of a token."""
    times = failure.run.config.merge**2

    def norm(ops: Ops, x: Float, weight: Float, bias: Float) -> Float:
        gain, offset = (np.tile(part, times) for part in (weight, bias))
        joined = ops.layer_norm(x.reshape(len(x) // times, -1), gain, offset, LAYER_NORM_EPS)
        return joined.reshape(x.shape)

    return recipe(layer_norm=norm)(failure)


def _merging() -> Iterator[Hypothesis]:
    def one(name: str, sentence: str, group: Callable[[Float, Config], Float]) -> Hypothesis:
        return Hypothesis(name, sentence, ("merger",), recipe(group=group))

    yield one("merge-by-column", "the 2x2 patches of a token taken column by column", _by_column)
    yield one("merge-channels-first", "the patches of a token interleaved channel by channel",
              _channels_first)  # fmt: skip
    yield one("merge-far-apart", "tokens merged from patches a quarter of the sequence apart",
              _far_apart)  # fmt: skip
    yield Hypothesis("merge-rows", "four patches of a row of the grid merged, not 2x2 of them",
                     ("merger",), _of_grid_rows)  # fmt: skip
    yield Hypothesis("merge-norm-joint", "the merger's norm over the four patches of a token at "
                     "once, not over each", ("visual.merger.ln_q",), _joint_norm)  # fmt: skip
    yield Hypothesis("merge-norm-after", "the merger's norm applied after patches are joined",
                     ("merger",), _norm_after)  # fmt: skip
    yield Hypothesis("merge-norm-missing", "the merger's norm left out", ("merger",),
                     recipe(merge=lambda x, norm, join: join(x)))  # fmt: skip


def _rms_instead(ops: Ops, x: Float, weight: Float, bias: Float) -> Float:
    return rms_norm(ops, x, weight, LAYER_NORM_EPS)


def _looked_up(shift: int) -> Callable[[Ints, Float], Float]:
    return lambda ids, table: table[(ids + shift) % len(table)]


def _scaled_up(ids: Ints, table: Float) -> Float:
    return np.multiply(table[ids], np.sqrt(table.shape[1]))


def _embeddings() -> Iterator[Hypothesis]:
    where = ("language_model.embed_tokens",)
    for shift in (-1, 1):
        yield Hypothesis(f"embedding-shifted-{shift}", f"token ids off by {shift:+d}", where,
                         recipe(look_up=_looked_up(shift)))  # fmt: skip
    yield Hypothesis("embedding-scaled", "embeddings scaled by the root of their width", where,
                     recipe(look_up=_scaled_up))  # fmt: skip


HYPOTHESES = (
    *_patches(),
    *_merging(),
    *_embeddings(),
    Hypothesis("layer-norm-rms-no-bias", "RMSNorm without a bias instead of LayerNorm",
               ("layer_norm", "vision_block", "merger"), recipe(layer_norm=_rms_instead)),
)  # fmt: skip
