"""A value that the candidate recorded, with all that it is judged by."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from parity.core.examine import Finding, examine
from parity.core.numerics import FORMATS, Format, Precision
from parity.core.points import Firing, Point
from parity.core.rows import Kind
from parity.core.sampling import kept_of
from parity.core.stats import Gate, Truth
from parity.core.store import Bundle, ReferenceFiring
from parity.core.trace import Array, Tap

if TYPE_CHECKING:
    from parity.core.verdict import Evidence


@dataclass(frozen=True)
class Compared:
    """One value, what is right, and how far off it may be."""

    point: Point
    """What it is judged as: for what reached a module, that module's point."""
    recorded: ReferenceFiring
    tap: Tap
    truth: Truth
    precision: Precision
    gate: Gate
    candidate_base: Array | None = None
    """For a residual block, what its update is counted from."""
    keep: NDArray[np.bool_] | None = None
    """The tokens to compare; ``None`` for all."""

    @property
    def format(self) -> Format:
        """What the value is rounded to: a table that stays float32 in bfloat16 is held to that."""
        return FORMATS.get(self.recorded.dtype, self.precision.format)

    def examine(self) -> Finding:
        """What is wrong with it."""
        return examine(
            self.point, self.recorded, self.truth, self.tap, self.precision, self.gate,
            candidate_base=self.candidate_base, keep=self.keep,
        )  # fmt: skip


def on_clean_inputs(firing: Firing, evidence: Evidence) -> Compared | None:
    """The forced run's value; ``None`` for what the processor hands on, and what is not there."""
    point, bundle = firing.point, evidence.bundle
    recorded = bundle.get(point.name, firing.index)
    tap = evidence.forced.get(point.name, firing.index)
    if point.module is None or tap is None or recorded is None:
        return None
    truth = Truth(
        bundle.tensor(recorded.value),
        _residual(bundle, recorded.local if evidence.level == "module" else recorded.local_block),
    )
    base = bundle.tensor(recorded.inputs[point.forced[0]]) if point.base else None
    return Compared(
        point, recorded, tap, replace(truth, base=base), evidence.precision,
        evidence.gates.at("local", point), base, kept_rows(firing, truth.reference, evidence),
    )  # fmt: skip


def end_to_end(firing: Firing, evidence: Evidence) -> Compared | None:
    """The free run's value; ``None`` if there is none."""
    point, bundle = firing.point, evidence.bundle
    recorded = bundle.get(point.name, firing.index)
    tap = evidence.free.get(point.name, firing.index)
    if tap is None or recorded is None:
        return None
    truth = Truth(bundle.tensor(recorded.value), _residual(bundle, recorded.end_to_end))
    truth, base = _with_base(firing, evidence, truth)
    return Compared(
        point, recorded, tap, truth, evidence.precision,
        evidence.gates.at("end_to_end", point), base, kept_rows(firing, truth.reference, evidence),
    )  # fmt: skip


def at_input(firing: Firing, evidence: Evidence, blamed: Point) -> Compared | None:
    """What reached a module in the forced run; ``None`` if nothing but what was handed on did.

    Args:
        firing: of the module.
        evidence: both executions.
        blamed: the module around it, whose work this is.
    """
    arrived = evidence.forced.arrivals.get((firing.point.name, firing.index))
    recorded = evidence.bundle.get(firing.point.name, firing.index)
    if arrived is None or recorded is None:
        return None
    reference = evidence.bundle.tensor(recorded.inputs[firing.point.forced[0]])
    # At block level nothing inside a block is replaced, so what arrives at one is exact.
    residual = recorded.arrival if evidence.level == "module" else None
    return Compared(
        firing.point, recorded,
        # Between modules a candidate may compute in another dtype, if its values are right.
        replace(arrived, dtype=recorded.dtype),
        Truth(reference, _residual(evidence.bundle, residual)), evidence.precision,
        # It is the work of the code around, so it is held to that module's gate.
        evidence.gates.at("local", blamed), keep=kept_rows(firing, reference, evidence),
    )  # fmt: skip


def _with_base(firing: Firing, evidence: Evidence, truth: Truth) -> tuple[Truth, Array | None]:
    """What a residual block added its update to, in each of the three executions."""
    name = firing.point.base or ""
    before = evidence.bundle.get(name, firing.index)
    tap = evidence.free.get(name, firing.index)
    if before is None:
        return truth, None
    base = evidence.bundle.tensor(before.value)
    if tap is None and any(f"{name}.".startswith(f"{hole}.") for hole in evidence.holes):
        tap = Tap(base, before.dtype)  # what stood in for it
    if tap is None:
        return truth, None
    residual = _residual(evidence.bundle, before.end_to_end)
    return replace(truth, base=base, base_residual=residual), tap.value


def _residual(bundle: Bundle, name: str | None) -> Array | None:
    """A stored residual; ``None`` where none is stored, which means zeros."""
    return None if name is None else bundle.tensor(name)


def kept_rows(firing: Firing, reference: Array, evidence: Evidence) -> NDArray[np.bool_] | None:
    """Which rows of a value to compare: no padding, and none that there is no truth of.

    Args:
        firing: whose value it is.
        reference: the reference's.
        evidence: its padding, and what a portable bundle has truths of.
    """
    padding = padding_of(firing, evidence)
    # Everything else is compared with the reference itself.
    with_truth = firing.point.kind is Kind.FLOAT
    return both(kept_of(reference.shape, evidence.sampled) if with_truth else None, padding)


def both(
    kept: NDArray[np.bool_] | None, padding: NDArray[np.bool_] | None
) -> NDArray[np.bool_] | None:
    """The rows that are in both, ``None`` being all."""
    if kept is None or padding is None:
        return padding if kept is None else kept
    return kept & padding.reshape(kept.shape)


def padding_of(firing: Firing, evidence: Evidence) -> NDArray[np.bool_] | None:
    """Which tokens to compare: padding is nobody's result."""
    return evidence.padding if firing.point.tokens and firing.index == 0 else None
