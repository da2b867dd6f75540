"""What a method may look at: one free run of the candidate beside the reference's record."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from parity.core.compared import padding_of
from parity.core.points import Firing
from parity.core.trace import Array, Tap
from parity.core.verdict import Evidence


@dataclass(frozen=True)
class Hidden:
    """Last hidden states ``[B, S, H]`` of the seven tokens that `mindone` runs."""

    reference: Array
    candidate: Array | None
    """``None`` where the candidate stopped."""


@dataclass(frozen=True)
class Pair:
    """One value on both sides, what is padding left out."""

    name: str
    reference: Array
    reference_dtype: str
    candidate: Array | None
    """``None`` where it did not occur."""
    candidate_dtype: str = ""

    @property
    def floats(self) -> bool:
        """Whether it holds floating-point numbers."""
        return bool(np.issubdtype(self.reference.dtype, np.floating))

    def both(self) -> tuple[Array, Array] | None:
        """Reference and candidate, if they can be subtracted."""
        if self.candidate is None or self.candidate.shape != self.reference.shape:
            return None
        return self.reference, self.candidate


@dataclass(frozen=True)
class Module:
    """One call of a module, as tools that dump modules see it."""

    name: str
    inputs: list[Pair]
    outputs: list[Pair]


@dataclass(frozen=True)
class Seen:
    """One run."""

    evidence: Evidence
    schedule: Sequence[Firing]
    """Every firing, in execution order."""
    hidden: Hidden

    def pairs(self) -> Iterator[Pair]:
        """Every recorded value of the free run, in execution order."""
        return (self._pair(firing) for firing in self.schedule)

    def modules(self) -> Iterator[Module]:
        """Every call of a module whose results are recorded, in the order in which they finish."""
        results = [f for f in self.schedule if f.point.module and not f.point.is_input]
        for (name, _), group in groupby(results, key=lambda f: (f.point.module, f.index)):
            firings = list(group)
            yield Module(str(name), self._given(firings[0]), [self._pair(f) for f in firings])

    def _pair(self, firing: Firing) -> Pair:
        recorded = self.evidence.bundle.points[firing.point.name][firing.index]
        tap = self.evidence.free.get(firing.point.name, firing.index)
        reference = self.evidence.bundle.tensor(recorded.value)
        keep = padding_of(firing, self.evidence)
        return _pair(firing.point.name, reference, recorded.dtype, tap, keep)

    def _given(self, firing: Firing) -> list[Pair]:
        """What a module was given, on both sides.

        But for the mask: it is additive, and its lowest number is each framework's own.
        """
        recorded = self.evidence.bundle.points[firing.point.name][firing.index]
        key = (firing.point.module or "", firing.index)
        own = self.evidence.free.arguments.get(key, {})
        found = []
        for name in recorded.inputs.keys() - {"attention_mask"}:
            reference = self.evidence.bundle.tensor(recorded.inputs[name])
            tap = Tap(own[name], str(reference.dtype)) if name in own else None
            found.append(_pair(name, reference, str(reference.dtype), tap, None))
        return found


def _pair(
    name: str, reference: Array, dtype: str, tap: Tap | None, keep: NDArray[np.bool_] | None
) -> Pair:
    """Both sides, padding left out of each that has the reference's tokens."""
    if tap is None:
        return Pair(name, reference, dtype, None)
    candidate = tap.value
    if keep is not None and candidate.shape == reference.shape:
        reference, candidate = reference[keep], candidate[keep]
    return Pair(name, reference, dtype, candidate, tap.dtype)
