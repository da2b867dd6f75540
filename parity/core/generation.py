"""Greedy generation judged token by token against the reference's own uncertainty.

A token is *decided* where the reference's logit of it exceeds the next one's by more than twice
the reference's own error at that step; then any faithful port has to choose it. Where it is
decided by less, rounding chooses among the *contenders*: the tokens whose logits are within twice
the error of the greatest.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parity.core.errors import BundleError
from parity.core.files import temporary_beside
from parity.core.store import json_hash, read_manifest

FORMAT = 1
CANDIDATES = 8
"""Tokens, from the likeliest on, over which the reference's error is measured."""
SAFETY = 2.0
"""Times the error by which a margin has to exceed it: both tokens may be off by it."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ReferenceStep:
    """One token of the reference's greedy generation."""

    token: int
    margin: float
    """Its logit minus the next greatest."""
    noise: float
    """Largest error of a logit among the likeliest tokens, against float64."""
    contenders: tuple[int, ...]
    """Tokens whose logits are within twice the noise of the greatest, this one among them."""

    @property
    def decided(self) -> bool:
        """Whether no rounding of the reference's size could choose another token."""
        return self.margin > SAFETY * self.noise


def measured_step(logits: Floats, truth: Floats) -> ReferenceStep:
    """What the reference's logits of one step [V] and their float64 truth [V] say."""
    order = np.argsort(-logits, kind="stable")[:CANDIDATES]
    noise = float(np.abs(logits - truth)[order].max())
    token, second = order[:2].tolist()
    near = np.flatnonzero(logits >= logits[token] - SAFETY * noise)
    return ReferenceStep(
        token=int(token),
        margin=float(logits[token] - logits[second]),
        noise=noise,
        contenders=tuple(near.tolist()),
    )


@dataclass
class Generation:
    """The reference's greedy generation on one case in one dtype: steps of each row."""

    key: dict[str, object]
    rows: list[list[ReferenceStep]]
    provenance: dict[str, object] = field(default_factory=dict)

    @property
    def tokens(self) -> list[list[int]]:
        """The tokens of each row."""
        return [[step.token for step in row] for row in self.rows]

    def write(self, path: Path) -> None:
        """Write it as one JSON file, all or nothing.

        Raises:
            ParityError: the place cannot be written.
        """
        data: dict[str, Any] = {"format": FORMAT, **asdict(self)}
        data = json.loads(json.dumps(data))  # tuples become the lists they are when read
        data["sha256"] = json_hash(data)
        with temporary_beside(path) as temporary:
            temporary.write_text(json.dumps(data), encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Generation:
        """Read what :meth:`write` wrote.

        Raises:
            BundleError: it is missing, damaged, or of another format.
        """
        data = read_manifest(path)
        claimed = data.pop("sha256", None)
        if claimed != json_hash(data) or data.get("format") != FORMAT:
            raise BundleError(
                f"{path} is damaged or of another version; it is not used. Delete it and run again"
            )
        try:
            rows = [[_step(step) for step in row] for row in data["rows"]]
            return cls(dict(data["key"]), rows, dict(data["provenance"]))
        except (KeyError, TypeError, ValueError) as error:
            raise BundleError(
                f"{path} is damaged: unexpected structure ({error}). Delete it and run again"
            ) from error


def _step(data: Mapping[str, Any]) -> ReferenceStep:
    step = ReferenceStep(**{**data, "contenders": tuple(data["contenders"])})
    numbers = (step.margin, step.noise)
    if any(type(one) is not int for one in (step.token, *step.contenders)):
        raise TypeError("a token is no integer")
    if any(type(one) not in (int, float) for one in numbers):
        raise TypeError("a logit is no number")
    return step


class Outcome(Enum):
    """What became of one row."""

    EQUAL = "EQUAL"
    """Token for token the reference's."""
    UNDECIDED = "UNDECIDED"
    """It left the reference where rounding decides, and is right at every step given its tokens."""
    WRONG = "WRONG"
    """Another token where the reference was sure, or one that was no contender."""

    @property
    def passed(self) -> bool:
        """Whether the row is as it should be."""
        return self is not Outcome.WRONG


@dataclass(frozen=True)
class RowResult:
    """One row of one case, judged."""

    outcome: Outcome
    steps: int
    narrow: tuple[int, ...]
    """Steps that the reference itself decided by less than twice its noise."""
    left_at: int | None = None
    """First step at which the free generation chose another token."""
    differing: tuple[int, ...] = ()
    """Steps at which the candidate, given the reference's tokens, chose another contender."""
    wrong_at: int | None = None
    """First step that is wrong."""
    message: str = ""


def first_difference(tokens: Sequence[int], other: Sequence[int]) -> int | None:
    """The first place at which two equally long rows differ."""
    pairs = zip(tokens, other, strict=True)
    return next((place for place, (one, two) in enumerate(pairs) if one != two), None)


def judge_row(
    reference: Sequence[ReferenceStep],
    free: Sequence[int],
    forced: Sequence[int],
    strict: bool,
) -> RowResult:
    """Judge one row.

    Args:
        reference: The reference's steps.
        free: The candidate's own greedy tokens, as many.
        forced: The candidate's choice at each step given the reference's tokens before it; used
            only where ``free`` left the reference at a step that was not decided.
        strict: Whether every token has to be the reference's, decided or not.
    """
    narrow = tuple(place for place, step in enumerate(reference) if not step.decided)
    left_at = first_difference([step.token for step in reference], free)
    if left_at is None:
        return RowResult(Outcome.EQUAL, len(reference), narrow)
    found: dict[str, Any] = {"steps": len(reference), "narrow": narrow, "left_at": left_at}
    if message := _complaint(reference[left_at], left_at, free[left_at], strict):
        return RowResult(Outcome.WRONG, **found, wrong_at=left_at, message=message)
    differing = []
    for place, (step, token) in enumerate(zip(reference, forced, strict=True)):
        if token == step.token:
            continue
        differing.append(place)
        if message := _complaint(step, place, token, strict):
            found |= {"differing": tuple(differing), "wrong_at": place, "message": message}
            return RowResult(Outcome.WRONG, **found)
    return RowResult(Outcome.UNDECIDED, **found, differing=tuple(differing))


def _complaint(step: ReferenceStep, place: int, token: int, strict: bool) -> str:
    """Why ``token`` is wrong at a step, or nothing."""
    if token == step.token or (token in step.contenders and not strict):
        return ""
    why = "is no contender" if not strict and not step.decided else "is another token"
    return (
        f"token {token} at step {place} {why}: the reference chose {step.token} by a margin of "
        f"{step.margin:.3g}, and its own error there is {step.noise:.3g}"
    )
