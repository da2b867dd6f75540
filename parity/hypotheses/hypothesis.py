"""What a hypothesis is, and when it fits: judged against it, the candidate would be right."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any, TypeAlias

import numpy as np

from parity.core.rounding import rounded
from parity.core.rows import Kind
from parity.core.trace import Array
from parity.hypotheses.failure import Failure, Wrong
from parity.subjects.modules import RIGHT
from parity.subjects.ops import Float, wide
from parity.subjects.roles import role

FAR = 4.0
"""How many times more of its gate the candidate has to use against the truth."""
NOISIER, FARTHER = 4.0, 1000.0
"""A wrong formula may magnify rounding more than the right one, as attention without its scale
does: so many gates are allowed to one that explains all but a thousandth of the error."""
NEARLY_ALL = 0.98
"""Share of values that rounding hypotheses have to hit."""
FEW = 0.5
"""Share of values by which the truth has to hit fewer."""
EXACT_NOISE = 2e-6
"""Relative error of float32 arithmetic done in another order, for values compared exactly."""


@dataclass(frozen=True)
class Alternative:
    """What a hypothesis says the value would be, and what it found out on the way."""

    value: Array
    detail: str = ""


Answer: TypeAlias = "Array | Alternative | list[Array | Alternative] | None"
"""What a hypothesis gives: one value, several to choose from, or none."""
LEAVES = ("layer_norm", "rms_norm", "linear")
"""Roles of which a block has several, which are choices of a recipe by the same names."""


@dataclass(frozen=True)
class Hypothesis:
    """A known mistake, and what would come out of it."""

    name: str
    sentence: str
    where: tuple[str, ...]
    """Roles of the points it can be about, or patterns of their names."""
    answer: Callable[[Failure], Answer]
    """What follows from it; ``None`` where it does not apply."""
    general: bool = False
    """Whether it tells what the value looks like rather than what was done."""
    rounds: bool = False
    """Whether it rounds: then a few values fall on the other side of a tie, by chance."""

    def applies(self, failure: Failure) -> bool:
        """Whether the failing point is of its kind."""
        point = failure.point
        return any(point.role == w or fnmatchcase(point.name, w) for w in self.where)


@dataclass(frozen=True)
class Match:
    """A hypothesis that explains a failure."""

    hypothesis: Hypothesis
    error: float
    """Relative error of the candidate against what the hypothesis says."""
    without: float
    """The same against the truth."""
    used: float
    """How much of its gate the candidate uses against the hypothesis."""
    detail: str = ""

    @property
    def text(self) -> str:
        """One sentence for a person."""
        detail = f" ({self.detail})" if self.detail else ""
        if not self.error:
            return f"{self.hypothesis.sentence}{detail}: this gives the candidate's values exactly"
        return (
            f"{self.hypothesis.sentence}{detail}: matches the candidate to {self.error:.1g}, "
            f"where what is right is {self.without:.1g} away"
        )


@dataclass(frozen=True)
class Trial:
    """A hypothesis that was tried on a failure."""

    hypothesis: Hypothesis
    match: Match | None
    """``None``: it does not fit."""


def fit(hypothesis: Hypothesis, failure: Failure) -> Match | None:
    """The match of a hypothesis, or ``None`` where it does not explain the failure."""
    if failure.wrong is None:
        return None
    answer = hypothesis.answer(failure)
    answers = answer if isinstance(answer, list) else [answer]
    fits = [_match(hypothesis, one, failure.wrong, failure) for one in answers if one is not None]
    return min((match for match in fits if match), key=lambda match: match.used, default=None)


def _match(
    hypothesis: Hypothesis, answer: Array | Alternative, wrong: Wrong, failure: Failure
) -> Match | None:
    """The match of one of a hypothesis's answers."""
    found = answer if isinstance(answer, Alternative) else Alternative(answer)
    value = np.asarray(found.value)
    if value.shape != wrong.candidate.shape or not np.all(np.isfinite(wide(value))):
        return None
    if failure.point.kind in (Kind.DISCRETE, Kind.EXACT):
        used, error, without = _exact(value, wrong, failure.point.kind)
    else:
        used, error, without = _judged(wide(value), wrong, failure, hypothesis.rounds)
    return Match(hypothesis, error, without, used, found.detail) if np.isfinite(used) else None


def _exact(value: Array, wrong: Wrong, kind: Kind) -> tuple[float, float, float]:
    """For values that have to be equal: so has the hypothesis; pixels but for their rounding."""
    error, without = _distance(wrong.candidate, value), _distance(wrong.candidate, wrong.reference)
    allowed = 0.0 if kind is Kind.DISCRETE else EXACT_NOISE
    fits = error <= allowed and without > FAR * max(error, allowed)
    return (error if fits else np.inf), error, without


def _judged(
    value: Array, wrong: Wrong, failure: Failure, rounds: bool
) -> tuple[float, float, float]:
    """For floats: within the gates against the hypothesis, and far from that against the truth."""
    if rounds and _nearly_all_equal(wide(value), wrong, failure.dtype.name):
        return 0.0, _distance(wrong.candidate, value), _distance(wrong.candidate, wrong.truth)
    right = wrong.against(wrong.truth, failure.dtype, failure)
    found = wrong.against(wide(value), failure.dtype, failure)
    used, before = found.worst[1].used, right.worst[1].used
    fits = (used <= 1 and used * FAR <= before) or (used <= NOISIER and used * FARTHER <= before)
    return (used if fits else np.inf), found.whole.error, right.whole.error


def _nearly_all_equal(value: Float, wrong: Wrong, dtype: str) -> bool:
    """Whether nearly all values are the hypothesis's, of which few are the truth's.

    Both rounded to the value's own ``dtype``, which every right value is rounded to as well.
    """
    candidate = wide(wrong.candidate)
    same, right = (
        float(np.mean(np.abs(candidate - wanted) <= EXACT_NOISE * np.abs(wanted)))
        for wanted in (rounded(value, dtype), rounded(wrong.truth, dtype))
    )
    return same >= NEARLY_ALL and right <= same - FEW


def _distance(candidate: Array, value: Array) -> float:
    """Relative distance of two arrays; of integers, 0 or the share that differs."""
    if candidate.shape != value.shape:
        return np.inf
    if not np.issubdtype(value.dtype, np.floating):
        return float(np.mean(candidate != value))
    wanted = wide(value)
    size = float(np.linalg.norm(wanted)) or 1.0
    return float(np.linalg.norm(wide(candidate) - wanted)) / size


def recipe(**changes: Callable[..., Any]) -> Callable[[Failure], Answer]:
    """The module computed with some of its choices replaced.

    Where a block is looked at as a whole, a norm or a projection may be wrong alone among several.
    """
    other = replace(RIGHT, **changes)

    def answer(failure: Failure) -> Answer:
        everywhere = failure.computed(other)
        alone = [part for part in failure.parts if role(part) in LEAVES and role(part) in changes]
        if not alone or everywhere is None:
            return everywhere
        found = [(failure.computed(other, part=part), f"in {part}") for part in alone]
        return [everywhere, *(Alternative(value, at) for value, at in found if value is not None)]

    return answer
