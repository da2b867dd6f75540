"""The arithmetic: ratios within rounds, and what is said of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from parity.core.errors import ParityError
from parity.core.trace import Array


@dataclass(frozen=True)
class Spread:
    """A figure that was taken several times: its median and its range."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Of at least one value.

        Raises:
            ParityError: there is none, or one is not a positive finite number.
        """
        if not values:
            raise ParityError("nothing was measured, and a median needs at least one round")
        array = np.asarray(values, dtype=np.float64)
        if not np.all(np.isfinite(array) & (array > 0)):
            raise ParityError(f"a measurement is not a positive number: {list(values)}")
        return cls(float(np.median(array)), float(array.min()), float(array.max()))


def round_ratios(figures: Sequence[float], baseline: Sequence[float]) -> list[float]:
    """Each round's figure over the baseline's of the same round.

    Raises:
        ParityError: the rounds are not the same ones, or a figure is not positive.
    """
    if len(figures) != len(baseline):
        raise ParityError(
            f"{len(figures)} rounds against {len(baseline)} of the baseline: ratios are taken "
            "within a round"
        )
    Spread.of(figures), Spread.of(baseline)
    return [mine / theirs for mine, theirs in zip(figures, baseline, strict=True)]


def met(ratio: Spread, goal: float) -> bool:
    """Whether the median reaches the goal."""
    return ratio.median <= goal


def relative_error(found: Array, reference: Array) -> float:
    """Norm of the difference over the norm of the reference, in float64.

    Raises:
        ParityError: the shapes differ, or the reference is zero or not finite.
    """
    if found.shape != reference.shape:
        raise ParityError(f"its result has shape {found.shape}, the baseline's {reference.shape}")
    exact = reference.astype(np.float64)
    size = float(np.linalg.norm(exact))
    if not size > 0 or not np.isfinite(size):
        raise ParityError(f"the baseline's result has norm {size}: nothing can be compared with it")
    return float(np.linalg.norm(found.astype(np.float64) - exact)) / size


def check_same(error: float, largest: float) -> None:
    """Refuse a result that is not the baseline's.

    Raises:
        ParityError: the relative error is over ``largest``, or not a number.
    """
    if not error <= largest:
        raise ParityError(
            f"its result is off by {error:.1e} of the baseline's, and {largest:.0e} is allowed: it "
            "computes something else, so its time is not shown"
        )
