"""What one execution of a model left behind: arrays by point and firing."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.generic]


@dataclass(frozen=True)
class Tap:
    """One recorded value, widened to float32 if it was narrower, and its own dtype's name."""

    value: Array
    dtype: str


@dataclass
class Trace:
    """Recorded values, in the order in which they occurred."""

    taps: dict[str, list[Tap]] = field(default_factory=dict)
    arrivals: dict[tuple[str, int], Tap] = field(default_factory=dict)
    """In a forced run: what reached a point's module before it was replaced, by (point, firing).
    What was handed on unchanged is not in it."""
    arguments: dict[tuple[str, int], dict[str, Array]] = field(default_factory=dict)
    """Where it was asked for: what each module was given, by (module, firing) and argument."""
    untapped: dict[str, str] = field(default_factory=dict)
    """Modules that could not be looked at, and why: their hooks were attached and not called."""
    stopped: str | None = None
    """Why the execution ended early, if it did."""
    fed: dict[str, list[str]] = field(default_factory=dict)
    """What the model was given: the hash of every input's bits, a call each, by the processor's
    name for it."""
    results: list[str] = field(default_factory=list)
    """What the model gave back: the hash of every call's result, in order."""

    def record(self, point: str, value: Array, dtype: str) -> None:
        """Append the next firing of ``point``."""
        self.taps.setdefault(point, []).append(Tap(value, dtype))

    def extend(self, other: Trace) -> None:
        """Append what a further free run left: its firings come after those there are."""
        for point, taps in other.taps.items():
            self.taps.setdefault(point, []).extend(taps)
        before = Counter(module for module, _ in self.arguments)
        for (module, index), given in other.arguments.items():
            self.arguments[(module, before[module] + index)] = given
        for name, hashes in other.fed.items():
            self.fed.setdefault(name, []).extend(hashes)
        self.results += other.results
        self.untapped |= other.untapped
        self.stopped = other.stopped

    def fired(self, point: str) -> int:
        """How many times ``point`` occurred."""
        return len(self.taps.get(point, ()))

    def get(self, point: str, index: int) -> Tap | None:
        """The ``index``-th firing of ``point``, or ``None`` if it did not occur."""
        taps = self.taps.get(point, [])
        return taps[index] if index < len(taps) else None
