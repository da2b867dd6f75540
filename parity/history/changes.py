"""Where a series of ratios changes its level, found by ruptures (PELT with a least-squares cost).

Ratios are compared as logarithms, so that twice is twice anywhere. A cost is in units of the
noise, and each further level has to explain more of it than chance would in any of the series
looked at: the penalty is the chi-squared quantile of ``FALSE_ALARMS`` shared out among all places
where a change could be. A level is two runs or more; one odd night is a spike, and told as nothing.

On a deterministic device the noise is zero, and ``LEAST_NOISE`` stands in its place: equal values
never alarm, and any step of a tenth is found.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

FALSE_ALARMS = 1e-3
"""Expected number of changes that chance alone makes, over all series and places together."""
LEAST_NOISE = 0.02
"""Of the logarithm of a ratio: 2 %."""
LEAST_HISTORY = 4
"""Runs that a level needs before a change from it means anything."""
HELD = 2
"""Runs that a new level has to hold."""
FLOOR, CEILING = 1e-3, 1e6
"""In units of a gate. What is less is as good as nothing; what is more, and what is not a number,
is as bad as can be."""
NOISE_QUANTILE = 0.9
"""No series is taken to be quieter than a tenth of all are louder than: a few runs say little about
the noise of one series."""
_NORMAL = 1.4826
"""Standard deviation of normal noise over its median absolute deviation."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Change:
    """A series leaves one level for another."""

    at: int
    """The first run of the new level."""
    before: float
    """Level until then, in units of the gate."""
    after: float

    @property
    def times(self) -> float:
        """How many times the level before the new one is."""
        return self.after / self.before

    @property
    def worse(self) -> bool:
        """Whether errors grew."""
        return self.after > self.before


def changes(used: npt.NDArray[np.float32] | Floats) -> list[list[Change]]:
    """The changes of every series, in order.

    Args:
        used: [S, R] ratios in units of their gates; NaN where a run has no such row.
    """
    levels = logarithms(used)
    noise = noise_of(levels)
    penalty = penalty_of(int(np.isfinite(levels).sum()))
    moved = _may_have_changed(levels, noise, penalty)
    return [
        _changes(line, float(scale), penalty) if may else []
        for line, scale, may in zip(levels, noise, moved, strict=True)
    ]


def logarithms(used: npt.NDArray[np.float32] | Floats) -> Floats:
    """Natural logarithms of ratios between ``FLOOR`` and ``CEILING``; NaN stays."""
    return np.log(np.clip(used.astype(np.float64), FLOOR, CEILING))


def noise_of(levels: Floats) -> Floats:
    """The noise of every series [S], from its differences between neighbours, robustly.

    A step is one large difference among many, and does not count.
    """
    steps = np.abs(np.diff(levels, axis=1))
    known = np.isfinite(steps).sum(axis=1) >= LEAST_HISTORY - 1
    found = np.zeros(len(levels))
    found[known] = _NORMAL * np.nanmedian(steps[known], axis=1) / np.sqrt(2)
    usual = float(np.quantile(found, NOISE_QUANTILE)) if found.size else 0.0
    return np.maximum(found, max(usual, LEAST_NOISE))


def penalty_of(places: int) -> float:
    """What a change has to save, in squared units of the noise, to be no chance."""
    # Chi-squared with one degree of freedom is a normal number squared.
    return NormalDist().inv_cdf(FALSE_ALARMS / max(places, 1) / 2) ** 2


def _may_have_changed(levels: Floats, noise: Floats, penalty: float) -> npt.NDArray[np.bool_]:
    """Whether a series has anything to explain [S]: no change saves more than a single level costs.

    This is exact, and spares nearly every series the search.
    """
    there = np.isfinite(levels)
    count = np.maximum(there.sum(axis=1), 1)
    filled = np.where(there, levels, 0.0)
    middle = filled.sum(axis=1) / count
    cost = np.where(there, (levels - middle[:, None]) ** 2, 0.0).sum(axis=1)
    return np.asarray(cost / noise**2 >= penalty)


def _changes(line: Floats, noise: float, penalty: float) -> list[Change]:
    """The changes of one series."""
    there = np.flatnonzero(np.isfinite(line))
    values = line[there]
    if values.size < LEAST_HISTORY + HELD:
        return []
    bounds = [0, *_search(values / noise, penalty)]
    parts = [(a, b) for a, b in pairwise(bounds) if b - a >= HELD]
    found = []
    for (start, stop), (after, end) in pairwise(parts):
        old, new = np.median(values[start:stop]), np.median(values[after:end])
        # Two levels around a spike may be the same one.
        if after >= LEAST_HISTORY and abs(new - old) >= _least(noise, stop - start, end - after):
            found.append(Change(int(there[after]), float(np.exp(old)), float(np.exp(new))))
    return found


def _search(values: Floats, penalty: float) -> list[int]:
    """Where the levels of a series end, by ruptures."""
    import ruptures

    search = ruptures.KernelCPD(kernel="linear", min_size=1)
    return list(search.fit(values[:, None]).predict(pen=penalty))


def _least(noise: float, before: int, after: int) -> float:
    """What levels of so many runs have to differ by: four times the noise of their difference."""
    return float(4 * noise * np.sqrt(1 / before + 1 / after))
