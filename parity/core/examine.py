"""One recorded value against its reference: attributes first, then numbers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from parity.core.nonfinite import NonFinite
from parity.core.numerics import FORMATS, Precision
from parity.core.points import Point
from parity.core.rows import Comparison, Kind, Verdict
from parity.core.stats import Gate, Truth, compare
from parity.core.store import ReferenceFiring
from parity.core.trace import Array, Tap, Trace


@dataclass(frozen=True)
class Finding:
    """What one execution shows about one value."""

    verdict: Verdict
    message: str = ""
    comparison: Comparison | None = None
    mismatches: int | None = None
    stopped: bool = False
    """Nothing to see, because the execution ended before."""

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return self.verdict is Verdict.PASS

    def worse(self, other: Finding) -> Finding:
        """The one that fails; of two that do alike, the one that uses more of its gate."""
        if self.ok != other.ok:
            return other if self.ok else self
        if self.comparison is None or other.comparison is None:
            return self if other.comparison is None else other
        return max(self, other, key=_used)


def examine(
    point: Point,
    recorded: ReferenceFiring,
    truth: Truth,
    tap: Tap,
    precision: Precision,
    gate: Gate,
    *,
    candidate_base: Array | None = None,
    keep: NDArray[np.bool_] | None = None,
) -> Finding:
    """Compare ``tap`` with what was ``recorded``.

    Args:
        point: what the value is; its kind decides between equality and ratios.
        recorded: the reference's firing.
        truth: the reference's value and the truth beside it.
        tap: the candidate's value.
        precision: of the run.
        gate: largest passing ratios.
        candidate_base: for a residual block, what its update is counted from.
        keep: the tokens to compare; ``None`` for all.
    """
    reference = truth.reference
    if tap.value.shape != reference.shape:
        shapes = (
            f"shape {brackets(tap.value.shape)}, the reference's is {brackets(reference.shape)}"
        )
        return Finding(Verdict.SHAPE, shapes)
    if reference.size == 0 or (keep is not None and not keep.any()):
        return Finding(Verdict.EMPTY, "there is nothing in it to compare")
    # Position ids and masks inside the model may have any integer type that a device likes.
    exact = point.kind in (Kind.DISCRETE, Kind.EXACT)
    if tap.dtype != recorded.dtype and not (exact and point.module is not None):
        return Finding(Verdict.DTYPE, f"dtype {tap.dtype}, the reference's is {recorded.dtype}")
    if exact:
        return _equal(tap, reference)
    # A table that stays float32 in a run in bfloat16 is held to float32.
    dtype = FORMATS.get(recorded.dtype, precision.format)
    comparison = compare(tap.value, truth, dtype, gate, candidate_base=candidate_base, keep=keep)
    if comparison.nonfinite:
        count = f"{comparison.nonfinite} elements are NaN or infinite, and not so on both sides"
        message = f"{count} ({_held(comparison)}). {describe(comparison)}"
        return Finding(Verdict.NONFINITE, message, comparison)
    if not comparison.compared:
        message = f"there is no number in it to compare ({_held(comparison)})"
        return Finding(Verdict.EMPTY, message, comparison)
    if not comparison.ok:
        return Finding(Verdict.GUILTY, describe(comparison), comparison)
    return Finding(Verdict.PASS, "", comparison)


def describe(comparison: Comparison) -> str:
    """The worst figure and the largest difference, for a person."""
    name, worst = comparison.worst
    kind = {"row": "token", "column": "channel"}.get(name)
    label = f"{kind} {worst.index}" if kind else {"whole": "the tensor"}.get(name, f"the {name}")
    return (
        f"the relative error of {label} is {worst.error:.2g}, {worst.ratio:.3g} times the floor "
        f"of {worst.floor:.2g} (gate {worst.gate:g}); the largest difference is "
        f"{comparison.max_abs:.3g} at {brackets(comparison.max_index)}: "
        f"reference {comparison.reference_value:.6g}, candidate {comparison.candidate_value:.6g}"
    )


def missing(trace: Trace, point: Point, declared: int) -> Finding:
    """A value that is not there, and why: ``declared`` times it should have been."""
    if (reason := trace.untapped.get(point.module or "")) is not None:
        return Finding(Verdict.MISSING, reason)
    stopped, fired = trace.stopped, trace.fired(point.name)
    if stopped:
        reason = f"not reached, the candidate stopped with {stopped}"
        return Finding(Verdict.MISSING, reason, stopped=True)
    often = f"it occurred {fired} times, the reference's {declared} times"
    return Finding(Verdict.MISSING, often)


def brackets(values: Iterable[int]) -> str:
    """A shape or an index, as ``[2, 3]``."""
    return "[" + ", ".join(str(value) for value in values) + "]"


def _held(comparison: Comparison) -> str:
    """What each side holds that is not finite."""
    reference = _kinds(comparison.reference_nonfinite)
    return f"reference: {reference}; candidate: {_kinds(comparison.candidate_nonfinite)}"


def _kinds(found: NonFinite | None) -> str:
    """Counts by kind, and where the first one is."""
    if found is None:
        return "none"
    counts = {"NaN": found.nan, "+inf": found.plus_inf, "-inf": found.minus_inf}
    named = ", ".join(f"{count} {kind}" for kind, count in counts.items() if count)
    return f"{named}, first at {brackets(found.first)}"


def _equal(tap: Tap, reference: Array) -> Finding:
    """Compare for equality; where they differ, say how much and where first."""
    different = np.asarray(tap.value != reference)
    count = int(np.count_nonzero(different))
    if not count:
        return Finding(Verdict.PASS, mismatches=0)
    first = tuple(int(i) for i in np.argwhere(different)[0])
    values = f"reference {reference[first]:g}, candidate {tap.value[first]:g}"
    share = f"{count} of {different.size} values differ ({100 * count / different.size:.3g} %)"
    return Finding(
        Verdict.GUILTY, f"{share}; first at {brackets(first)}: {values}", mismatches=count
    )


def _used(finding: Finding) -> float:
    """How much of its gate a finding's worst figure uses."""
    return finding.comparison.worst[1].used if finding.comparison else 0.0
