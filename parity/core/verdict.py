"""From recorded values to verdicts: which point is guilty, which only suffers from it.

Two executions of the candidate are judged against the reference's record. In the forced run
every module got the reference's own inputs (and handed on the reference's own output), so what
is wrong there is wrong inside that module. In the free run errors add up as a user sees them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from parity.core.numerics import Precision
from parity.core.points import Firing, Point
from parity.core.rows import Comparison, Kind, Row, Verdict
from parity.core.stats import Gate, Truth, compare
from parity.core.store import Bundle, ReferenceFiring
from parity.core.tolerance import Gates
from parity.core.trace import Array, Tap, Trace


@dataclass(frozen=True)
class Finding:
    """What one execution shows about one firing."""

    verdict: Verdict
    message: str = ""
    comparison: Comparison | None = None
    mismatches: int | None = None


OK = Finding(Verdict.PASS)


@dataclass(frozen=True)
class Evidence:
    """The two executions and the record they are judged against."""

    case: str
    precision: Precision
    gates: Gates
    bundle: Bundle
    free: Trace
    forced: Trace
    padding: NDArray[np.bool_] | None = None
    """True where a token of the prompt is real, ``[B, S]``; ``None`` where all are."""


def judge(schedule: Sequence[Firing], evidence: Evidence) -> list[Row]:
    """One row for each firing of ``schedule``, which is in execution order."""
    rows: list[Row] = []
    blamed: dict[str, Row] = {}
    for order, firing in enumerate(schedule):
        row = _judge_one(order, firing, evidence, blamed)
        rows.append(row)
        if row.verdict not in (Verdict.PASS, Verdict.VICTIM):
            blamed.setdefault(firing.point.name, row)
    return rows


def _judge_one(
    order: int, firing: Firing, evidence: Evidence, blamed: Mapping[str, Row]
) -> Row:
    """The row of one firing, given the rows already blamed before it."""
    point = firing.point
    recorded = evidence.bundle.get(point.name, firing.index)
    free = evidence.free.get(point.name, firing.index)
    forced = evidence.forced.get(point.name, firing.index)
    row = Row(
        case=evidence.case,
        dtype=evidence.precision.name,
        order=order,
        point=point.name,
        stage=firing.stage,
        kind=point.kind,
        firing=firing.index,
        verdict=Verdict.PASS,
        message="",
    )
    if recorded is None:
        return replace(row, verdict=Verdict.MISSING, message="the reference did not produce it")
    reference = evidence.bundle.tensor(recorded.value)
    row = replace(
        row,
        shape=reference.shape,
        reference_dtype=recorded.dtype,
        candidate_dtype=free.dtype if free else "",
        candidate_shape=free.value.shape if free else None,
        excluded_rows=_excluded(point, firing, evidence),
    )
    local = _local(firing, evidence, recorded, reference, forced, bool(blamed))
    end = _end_to_end(firing, evidence, recorded, reference, free)
    row = replace(
        row,
        local=local.comparison,
        end_to_end=end.comparison,
        mismatches=local.mismatches if local.mismatches is not None else end.mismatches,
    )
    return _attribute(row, point, local, end, blamed)


def _attribute(
    row: Row, point: Point, local: Finding, end: Finding, blamed: Mapping[str, Row]
) -> Row:
    """Decide who is at fault, given what each execution shows."""
    no_clean_inputs = point.module is None
    if not no_clean_inputs and local.verdict is not Verdict.PASS:
        return replace(row, verdict=local.verdict, message=local.message)
    if end.verdict is Verdict.PASS:
        return replace(row, message=end.message or local.message)
    suspects = [blamed[name] for name in point.depends if name in blamed]
    causes = suspects if no_clean_inputs else list(blamed.values())
    # A drift explains the drifts after it, but not the other way round.
    cause = next((c for c in causes if c.verdict is not Verdict.DRIFT), next(iter(causes), None))
    if cause is not None:
        return replace(
            row,
            verdict=Verdict.VICTIM,
            cause=cause.point,
            message=f"{'' if no_clean_inputs else 'right on clean inputs; '}"
            f"explained by {cause.point} ({cause.verdict.value}). {end.message}",
        )
    if no_clean_inputs:
        return replace(row, verdict=end.verdict, message=end.message)
    drift = end.verdict is Verdict.GUILTY
    return replace(
        row, verdict=Verdict.DRIFT if drift else end.verdict,
        message=("right on clean inputs and nothing before it is guilty, yet end to end: "
                 if drift else "") + end.message,
    )  # fmt: skip


def _local(
    firing: Firing,
    evidence: Evidence,
    recorded: ReferenceFiring,
    reference: Array,
    tap: Tap | None,
    already_blamed: bool,
) -> Finding:
    """What the forced run shows."""
    point = firing.point
    if point.module is None:
        return OK
    fired = evidence.forced.fired(point.name)
    declared = len(evidence.bundle.points[point.name])
    if fired > declared and firing.index == declared - 1:
        return Finding(
            Verdict.EXTRA, f"it occurred {fired} times, the reference's {declared} times"
        )
    if tap is None:
        stop = evidence.forced.stopped
        if stop and already_blamed:
            return Finding(Verdict.PASS, f"not reached: the candidate stopped with: {stop}")
        return Finding(Verdict.MISSING, f"the candidate stopped before it with: {stop}" if stop else
                       f"it occurred {fired} times, the reference's {declared} times")  # fmt: skip
    bundle = evidence.bundle
    truth = Truth(reference, _residual(bundle, recorded.local, reference))
    base = None
    if point.base:
        base = bundle.tensor(recorded.inputs[point.forced[0]])
        truth = replace(truth, base=base)
    gate = evidence.gates.table if point.kind is Kind.TABLE else evidence.gates.local
    return _examine(firing, evidence, recorded, truth, tap, gate, base)


def _end_to_end(
    firing: Firing,
    evidence: Evidence,
    recorded: ReferenceFiring,
    reference: Array,
    tap: Tap | None,
) -> Finding:
    """What the free run shows."""
    point = firing.point
    if tap is None:
        stop = evidence.free.stopped
        return Finding(Verdict.MISSING, f"not reached end to end: the candidate stopped with: {stop}"
                       if stop else "it did not occur end to end")  # fmt: skip
    truth = Truth(reference, _residual(evidence.bundle, recorded.end_to_end, reference))
    base = None
    if point.base:
        truth, base = _end_to_end_base(firing, evidence, truth)
    gate = evidence.gates.table if point.kind is Kind.TABLE else evidence.gates.end_to_end
    return _examine(firing, evidence, recorded, truth, tap, gate, base)


def _end_to_end_base(
    firing: Firing, evidence: Evidence, truth: Truth
) -> tuple[Truth, Array | None]:
    """What a residual block added its update to, in each of the three executions."""
    name = firing.point.base or ""
    before = evidence.bundle.get(name, firing.index)
    tap = evidence.free.get(name, firing.index)
    if before is None or tap is None:
        return truth, None
    base = evidence.bundle.tensor(before.value)
    residual = _residual(evidence.bundle, before.end_to_end, base)
    return replace(truth, base=base, base_residual=residual), tap.value


def _examine(
    firing: Firing,
    evidence: Evidence,
    recorded: ReferenceFiring,
    truth: Truth,
    tap: Tap,
    gate: Gate,
    base: Array | None,
) -> Finding:
    """Compare one value: attributes first, then numbers."""
    point, reference = firing.point, truth.reference
    if tap.value.shape != reference.shape:
        return Finding(
            Verdict.SHAPE,
            f"shape {_shape(tap.value.shape)}, the reference's is {_shape(reference.shape)}",
        )
    if reference.size == 0:
        return Finding(Verdict.EMPTY, "the tensor has no elements")
    if point.kind in (Kind.DISCRETE, Kind.EXACT):
        return _equal(tap, reference, point, evidence.padding if firing.index == 0 else None)
    if tap.dtype != recorded.dtype:
        return Finding(Verdict.DTYPE, f"dtype {tap.dtype}, the reference's is {recorded.dtype}")
    comparison = compare(
        tap.value,
        truth,
        evidence.precision.noise,
        gate,
        candidate_base=base,
        keep=_keep(point, firing, evidence),
    )
    return _verdict(comparison)


def _verdict(comparison: Comparison) -> Finding:
    """Put a comparison into words."""
    message = describe(comparison)
    if comparison.nonfinite:
        return Finding(Verdict.NONFINITE,
                       f"{comparison.nonfinite} elements are NaN or infinite. {message}",
                       comparison)  # fmt: skip
    verdict = Verdict.PASS if comparison.ok else Verdict.GUILTY
    return Finding(verdict, message if verdict is Verdict.GUILTY else "", comparison)


def describe(comparison: Comparison) -> str:
    """The worst figure and the largest difference, for a person."""
    name, worst = comparison.worst
    where = {"row": "token", "column": "channel"}.get(name)
    label = f"{where} {worst.index}" if where else {"whole": "the tensor"}.get(name, f"the {name}")
    return (
        f"relative error of {label} is {worst.error:.2g}, {worst.ratio:.3g} times the floor of "
        f"{worst.floor:.2g} (gate {worst.gate:g}); largest difference "
        f"{comparison.max_abs:.3g} at {_shape(comparison.max_index)}: "
        f"reference {comparison.reference_value:.6g}, candidate {comparison.candidate_value:.6g}"
    )


def _equal(
    tap: Tap, reference: Array, point: Point, padding: NDArray[np.bool_] | None
) -> Finding:
    """Compare for equality; where they differ, say how much and where first."""
    different = tap.value != reference
    if point.tokens and padding is not None and different.shape[: padding.ndim] == padding.shape:
        different = different & padding.reshape(padding.shape + (1,) * (different.ndim - padding.ndim))
    count = int(np.count_nonzero(different))
    if not count:
        return Finding(Verdict.PASS, mismatches=0)
    first = tuple(int(i) for i in np.argwhere(different)[0])
    return Finding(
        Verdict.GUILTY,
        f"{count} of {different.size} values differ ({100 * count / different.size:.3g} %); first "
        f"at {_shape(first)}: reference {reference[first]:g}, candidate {tap.value[first]:g}",
        mismatches=count,
    )


def _residual(bundle: Bundle, name: str | None, like: Array) -> Array:
    """A stored residual; zeros (one element, broadcast) where none is stored."""
    return np.broadcast_to(np.float32(0), like.shape) if name is None else bundle.tensor(name)


def _keep(
    point: Point, firing: Firing, evidence: Evidence
) -> NDArray[np.bool_] | None:
    """Which tokens to compare: padding is nobody's result."""
    return evidence.padding if point.tokens and firing.index == 0 else None


def _excluded(point: Point, firing: Firing, evidence: Evidence) -> int:
    keep = _keep(point, firing, evidence)
    return 0 if keep is None else int(np.count_nonzero(~keep))


def _shape(values: Iterable[int]) -> str:
    return "[" + ", ".join(str(v) for v in values) + "]"
