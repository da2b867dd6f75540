"""What to try: known mistakes, tried on a failing point's own inputs until one fits."""

from __future__ import annotations

import time
from collections.abc import Iterable
from functools import cache

import numpy as np

from parity.core.errors import ParityError
from parity.hypotheses.failure import Failure
from parity.hypotheses.hypothesis import Hypothesis, Match, Trial, fit

SECONDS = 10.0
"""Processor time for one point, after which no further hypothesis is tried."""
SHOWN = 3
MOST_SCORES = 2**26
"""Attention scores that are computed at once, half a gigabyte."""


@cache
def catalogue() -> tuple[Hypothesis, ...]:
    """Every hypothesis, those that say what was done before those that say what it looks like."""
    from parity.hypotheses import (
        attention,
        caches,
        general,
        grids,
        integers,
        layers,
        layout,
        pixels,
        positions,
        rounding,
        tables,
    )

    parts = (
        layers,
        attention,
        caches,
        layout,
        tables,
        positions,
        integers,
        grids,
        pixels,
        rounding,
        general,
    )
    return tuple(hypothesis for part in parts for hypothesis in part.HYPOTHESES)


def matches(failure: Failure, seconds: float = SECONDS) -> list[Match]:
    """The hypotheses that explain a failure, the best first.

    One whose outcome is the truth's explains nothing and is never among them.
    """
    return best(trials(failure, seconds))


def trials(failure: Failure, seconds: float = SECONDS) -> list[Trial]:
    """Every hypothesis about such a point that there was time for, and whether it fits."""
    end = time.process_time() + seconds
    found = []
    with np.errstate(all="ignore"):  # wrong arithmetic may overflow
        for hypothesis in catalogue() if worth_trying(failure) else ():
            if hypothesis.applies(failure):
                found.append(Trial(hypothesis, tried(hypothesis, failure)))
            if time.process_time() > end:
                break
    return found


def best(found: Iterable[Trial]) -> list[Match]:
    """The matches among trials, the best first."""
    fits = [trial.match for trial in found if trial.match is not None]
    # Fits of one size differ by chance: then the catalogue's order counts.
    return sorted(fits, key=lambda m: (m.hypothesis.general, float(f"{m.used:.0e}")))


def worth_trying(failure: Failure) -> bool:
    """Whether there is a wrong value, and attention on it fits into memory."""
    if failure.wrong is None:
        return False
    recorded = failure.bundle.points[failure.point.name][failure.index]
    if "hidden_states" not in recorded.inputs:
        return True
    tokens = failure.bundle.tensor(recorded.inputs["hidden_states"]).shape[-2]
    config = failure.run.config
    return max(config.heads, config.vision_heads) * tokens**2 <= MOST_SCORES


def tried(hypothesis: Hypothesis, failure: Failure) -> Match | None:
    """The match of a hypothesis; one that cannot be computed from such a value does not fit.

    What the candidate hands on may have any shape and any numbers, and no guess about it may end
    the run that it is made for.
    """
    try:
        return fit(hypothesis, failure)
    except (ArithmeticError, LookupError, OSError, ParityError, TypeError, ValueError):
        return None


def suggest(found: Iterable[Trial]) -> tuple[str, ...]:
    """What to try, at most three sentences, the best first; empty where nothing fits."""
    return tuple(match.text for match in best(found)[:SHOWN])
