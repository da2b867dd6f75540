"""Comparisons that pass and prove nothing: of one number throughout, of a thing with itself."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from parity.core.points import Point
from parity.core.rows import Kind
from parity.core.trace import Array, Tap

CONSTANT_BY_NATURE = frozenset({"rotary"})
"""Roles of points that may hold one number throughout: the cosines and sines of a prompt of one
token are those of position 0, which are 1 and 0."""
FLOATS = (Kind.FLOAT, Kind.TABLE)

SHARED = (
    "the candidate's value is the reference's own memory, so it was compared with itself: the "
    "adapter has to record a copy of what the candidate computed"
)


def is_constant(array: Array) -> bool:
    """Whether an array of two or more elements holds one number, or NaN, throughout."""
    flat = array.reshape(-1)
    if flat.size < 2 or not _alike(flat[:16]):
        return False
    return _alike(flat)


def _alike(flat: Array) -> bool:
    """Whether all elements are the first one; NaN is like NaN here."""
    first = flat[0]
    return bool((flat == first).all() if first == first else (flat != flat).all())


def kept(array: Array, keep: NDArray[np.bool_] | None) -> Array:
    """The tokens to compare, ``keep`` being over the leading axes; ``None`` keeps all."""
    return array if keep is None or array.shape[: keep.ndim] != keep.shape else array[keep]


def vacuous(
    point: Point, reference: Array, taps: Sequence[Tap], keep: NDArray[np.bool_] | None
) -> str | None:
    """Why a comparison that passes would prove nothing; ``None`` if it proves something.

    Args:
        point: what the value is.
        reference: the reference's value.
        taps: the candidate's values that are compared with it.
        keep: the tokens to compare; ``None`` for all.
    """
    if any(np.shares_memory(tap.value, reference) for tap in taps):
        return SHARED
    if point.kind not in FLOATS or point.role in CONSTANT_BY_NATURE:
        return None
    compared = kept(reference, keep)
    if not is_constant(compared):
        return None
    return (
        f"all of its {compared.size:,} values are {compared.reshape(-1)[0]:g} in the reference, so "
        "that a pass proves nothing: give the case an input that this point answers to, or look "
        "at the checkpoint's weights"
    )
