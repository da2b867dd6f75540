"""What a wrong value looks like, where no known mistake makes it: moved, scaled, flipped."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from parity.hypotheses.failure import Failure, Wrong
from parity.hypotheses.hypothesis import Alternative, Answer, Hypothesis
from parity.subjects.ops import Float, wide

Order: TypeAlias = NDArray[np.int64]
FLOATS = ("patch_embed", "layer_norm", "rms_norm", "linear", "vision_attention", "vision_mlp",
          "vision_block", "merger", "embedding", "text_attention", "text_mlp", "text_block", "head",
          "rotary")  # fmt: skip
MOST_ROWS = 4096
"""Rows that are searched for in each other."""
FAR_OFF = 1e-2
"""Relative error over which a row is another one, not the same rounded."""


def _of(change: Callable[[Wrong], Answer]) -> Callable[[Failure], Answer]:
    return lambda failure: None if failure.wrong is None else change(failure.wrong)


def _rows(array: Float) -> Float:
    return array.reshape(-1, array.shape[-1])


def _nearest(candidate: Float, truth: Float) -> Order:
    """For each row of ``candidate`` the row of ``truth`` closest to it: ``[R]``."""
    squares = np.sum(truth**2, axis=1)
    return np.asarray(np.argmin(squares - 2 * candidate @ truth.T, axis=1))


def _moved(candidate: Float, truth: Float) -> Order:
    """The rows that are not what they should be."""
    off = np.linalg.norm(candidate - truth, axis=1)
    return np.flatnonzero(off > FAR_OFF * np.linalg.norm(truth, axis=1))


def _taken(wrong: Wrong) -> tuple[Order, Order] | None:
    """Which rows are wrong, and of all rows which one of the truth is there instead."""
    truth, candidate = _rows(wrong.truth), _rows(wide(wrong.candidate))
    if truth.shape != candidate.shape or len(truth) > MOST_ROWS:
        return None
    moved = _moved(candidate, truth)
    if len(moved) < 2 or not np.all(np.isfinite(candidate)):
        return None
    order = np.arange(len(truth))
    among = moved[_nearest(candidate[moved], truth[moved])]
    if len(np.unique(among)) != len(moved):  # some are there twice: then they may be any
        among = _nearest(candidate[moved], truth)
    order[moved] = among
    return moved, order


def _permuted(wrong: Wrong) -> Answer:
    """The rows of the truth in the order in which the candidate has them."""
    taken = _taken(wrong)
    if taken is None or len(np.unique(taken[1])) != len(taken[1]):
        return None
    moved, order = taken
    value = _rows(wrong.truth)[order].reshape(wrong.truth.shape)
    return Alternative(value, _described(moved, order[moved]))


def _repeated(wrong: Wrong) -> Answer:
    """Rows of the truth, some in several places and others in none."""
    taken = _taken(wrong)
    if taken is None or len(np.unique(taken[1])) == len(taken[1]):
        return None
    moved, order = taken
    detail = f"{len(moved)} rows, the first of them token {order[moved[0]]} as token {moved[0]}"
    return Alternative(_rows(wrong.truth)[order].reshape(wrong.truth.shape), detail)


def _described(moved: Order, order: Order) -> str:
    """A permutation in words."""
    where = f"tokens {moved[0]} to {moved[-1]}"
    places = np.searchsorted(moved, order)  # by rank among the moved ones
    count = len(moved)
    shift = int((places[0]) % count)
    if np.array_equal(places, (np.arange(count) + shift) % count):
        return f"{where} rotated by {shift}"
    if np.array_equal(places, np.arange(count)[::-1]):
        return f"{where} in reverse"
    return f"{count} of {where} exchanged"


def _rolled(wrong: Wrong) -> Answer:
    """Channels shifted in a circle by a few."""
    truth, candidate = wrong.truth, wide(wrong.candidate)
    shifts = [s for s in (1, -1, 2, -2) if truth.shape[-1] > 2]
    tried = [(float(np.linalg.norm(candidate - np.roll(truth, s, -1))), s) for s in shifts]
    if not tried:
        return None
    _, shift = min(tried)
    return Alternative(np.roll(truth, shift, axis=-1), f"by {shift:+d}")


def _scaled(wrong: Wrong) -> Answer:
    """The factor that fits best."""
    truth, candidate = wrong.truth, wide(wrong.candidate)
    factor = float(np.vdot(candidate, truth) / np.vdot(truth, truth))
    return Alternative(factor * truth, f"by {factor:.6g}")


def _offset(wrong: Wrong) -> Answer:
    by = float(np.mean(wide(wrong.candidate) - wrong.truth))
    return Alternative(wrong.truth + by, f"{by:+.6g}")


def _shifted_rows(wrong: Wrong) -> Answer:
    """Each row holding the row before or after it, the end repeated or zero."""
    truth, candidate = _rows(wrong.truth), _rows(wide(wrong.candidate))
    if len(truth) < 3:
        return None
    for shift in (1, -1):
        moved = np.roll(truth, shift, axis=0)
        end = 0 if shift == 1 else -1
        moved[end] = candidate[end]
        if np.linalg.norm(moved - candidate) < 1e-2 * np.linalg.norm(truth):
            return Alternative(moved.reshape(wrong.truth.shape), f"by {shift:+d}")
    return None


def _transposed(wrong: Wrong) -> Answer:
    """The last two axes exchanged, and read in the shape they should have."""
    truth = wrong.truth
    return truth.swapaxes(-1, -2).reshape(truth.shape) if truth.ndim > 1 else None


def _first_axes(wrong: Wrong) -> Answer:
    truth = wrong.truth
    return truth.swapaxes(0, 1).reshape(truth.shape) if truth.ndim > 2 else None


def _halves(wrong: Wrong) -> Answer:
    return np.roll(wrong.truth, wrong.truth.shape[-1] // 2, axis=-1)


def _reversed(wrong: Wrong) -> Answer:
    return _rows(wrong.truth)[::-1].reshape(wrong.truth.shape)


def _offset_integers(wrong: Wrong) -> Answer:
    """One number added to every value that is not 0 in a mask or padding."""
    if wrong.candidate.shape != wrong.reference.shape:
        return None
    difference = np.asarray(wrong.candidate, np.int64) - np.asarray(wrong.reference, np.int64)
    by = int(difference.reshape(-1)[-1])
    if wrong.reference.dtype == bool or not by or not np.all(difference == by):
        return None
    return Alternative(np.asarray(wrong.candidate), f"{by:+d}")


def _simple() -> Iterator[tuple[str, str, Callable[[Wrong], Answer]]]:
    yield "sign-flipped", "the sign flipped", lambda w: -w.truth
    yield "zero", "nothing but zeros", lambda w: np.zeros_like(w.truth)
    yield "rows-permuted", "the right rows in another order", _permuted
    yield "rows-repeated", "right rows in places of others, which are missing", _repeated
    yield "rows-shifted", "every row in its neighbour's place", _shifted_rows
    yield "rows-reversed", "the rows in reverse", _reversed
    yield "channels-shifted", "the channels shifted in a circle", _rolled
    yield "channels-reversed", "the channels in reverse", lambda w: w.truth[..., ::-1]
    yield "halves-swapped", "the halves of the channels swapped", _halves
    yield "transposed", "the last two axes transposed", _transposed
    yield "batch-transposed", "batch and sequence transposed", _first_axes
    yield "scaled", "everything multiplied by one factor", _scaled
    yield "offset", "one number added to everything", _offset


HYPOTHESES = (
    *(Hypothesis(name, sentence, FLOATS, _of(change), general=True)
      for name, sentence, change in _simple()),
    Hypothesis("integers-offset", "the same number added to all",
               ("*position_ids", "visual.cu_seqlens", "rope_deltas", "processor.input_ids"),
               _of(_offset_integers), general=True),
)  # fmt: skip
