"""The dtype ledger of a run: which points were computed in another arithmetic than declared.

Each row says for itself what its errors show (`parity.kernels.arithmetic`); here they are counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from parity.core.arithmetic import FLOAT16_SUMS, FUSED, HF32, SATURATING
from parity.core.rows import Row

SWITCHES = {
    HF32: ("hf32 matmul", "hf32 convolution"),
    FUSED: (),
    FLOAT16_SUMS: ("precision mode",),
    SATURATING: ("overflow mode",),
}
"""What of provenance's precision switches explains an arithmetic."""
OTHER = ("precision mode",)
"""The same for all others: products of narrower operands."""
HALF = "float16"


@dataclass(frozen=True)
class Used:
    """An arithmetic that was used where another one was declared, in one dtype and mode."""

    name: str
    ran_in: str
    points: tuple[str, ...]
    """In execution order, each once."""
    firings: int
    cases: tuple[str, ...]
    share: float
    """Of the errors, what it accounts for: the least."""
    error: float
    """Relative to the truth: the median."""
    expected: float
    """What it makes: the median."""

    @property
    def switches(self) -> tuple[str, ...]:
        """The names of what explains it, in provenance."""
        return SWITCHES.get(self.name, OTHER)


@dataclass(frozen=True)
class Saturated:
    """Numbers of float16 at its end, and beyond it, of both sides' results end to end."""

    ran_in: str
    candidate: int
    """Values of 65504 or more, infinite ones included."""
    reference: int
    candidate_nonfinite: int
    """NaN and infinities."""
    reference_nonfinite: int


def used(rows: Sequence[Row]) -> list[Used]:
    """What was used instead of what was declared, in the order in which it is met."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        if row.arithmetic is not None:
            groups.setdefault((row.ran_in, row.arithmetic.name), []).append(row)
    return [_used(name, ran_in, found) for (ran_in, name), found in groups.items()]


def _used(name: str, ran_in: str, rows: Sequence[Row]) -> Used:
    told = [row.arithmetic for row in rows if row.arithmetic is not None]
    return Used(
        name=name,
        ran_in=ran_in,
        points=tuple(dict.fromkeys(row.point for row in rows)),
        firings=len(rows),
        cases=tuple(dict.fromkeys(row.case for row in rows)),
        share=min(one.share for one in told),
        error=median(one.error for one in told),
        expected=median(one.expected for one in told),
    )


def saturated(rows: Sequence[Row]) -> list[Saturated]:
    """The counts for each dtype and mode in which a side holds such numbers of float16."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        if row.reference_dtype == HALF and row.end_to_end is not None:
            groups.setdefault(row.ran_in, []).append(row)
    found = [_saturated(ran_in, members) for ran_in, members in groups.items()]
    return [one for one in found if one.candidate or one.reference
            or one.candidate_nonfinite or one.reference_nonfinite]  # fmt: skip


def _saturated(ran_in: str, rows: Sequence[Row]) -> Saturated:
    ends = [row.end_to_end for row in rows if row.end_to_end is not None]

    def odd(side: str) -> int:
        held = [getattr(end, f"{side}_nonfinite") for end in ends]
        return sum(one.nan + one.plus_inf + one.minus_inf for one in held if one is not None)

    return Saturated(
        ran_in=ran_in,
        candidate=sum(end.saturated for end in ends),
        reference=sum(end.reference_saturated for end in ends),
        candidate_nonfinite=odd("candidate"),
        reference_nonfinite=odd("reference"),
    )
