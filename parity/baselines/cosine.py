"""Whole-tensor cosine similarity, the figure most dump-and-compare scripts print.

A value is blamed where ``x . y / (||x|| ||y||)`` is not over 0.99.
"""

from __future__ import annotations

import numpy as np

from parity.baselines.seen import Seen
from parity.core.trace import Array

THRESHOLD = 0.99


def blamed(seen: Seen) -> list[str]:
    """Points whose end-to-end value is not over the threshold, in execution order."""
    found = []
    for pair in seen.pairs():
        both = pair.both()
        if both is None or not cosine(*both) > THRESHOLD:
            found.append(pair.name)
    return found


def cosine(reference: Array, candidate: Array) -> float:
    """Cosine of the angle between two tensors taken as vectors; 1 where both are zero or empty."""
    x, y = (array.reshape(-1).astype(np.float64) for array in (reference, candidate))
    with np.errstate(invalid="ignore", over="ignore"):
        sizes = float(np.linalg.norm(x) * np.linalg.norm(y))
        if sizes == 0:
            return 1.0 if not x.any() and not y.any() else 0.0
        return float(x @ y) / sizes
