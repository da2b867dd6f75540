"""One dump against another, without a float64 truth: who makes a difference larger?

What reaches a module differs a little on both sides, and a right module hands on about as much
as it was given. So a module is judged by its growth: the relative difference of its result, over
that of what it was given (at least the rounding of the dtype). A module that makes something
wrong of what was right is `GUILTY`; one that hands on what was wrong is its `VICTIM`. All figures
are of whole tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from parity.core.examine import Finding, examine
from parity.core.numerics import FORMATS, Format, Precision
from parity.core.points import Point
from parity.core.rows import DUMPED, Kind, Row, Slice, Verdict
from parity.core.stats import Gate, Truth
from parity.core.store import ReferenceFiring
from parity.core.trace import Array, Tap
from parity.msprobe.pairing import Pair, Paired, around
from parity.subjects.ops import wide

MASKED = -1e4
"""What is lower is a masked score, for which every framework has its own number."""


@dataclass(frozen=True)
class GrowthGates:
    """The largest ratios that pass."""

    growth: float
    """Of the difference of a result to that of what the module was given."""
    end: float
    """Of the difference of a result to the rounding of the dtype."""


GATES = {
    "float32": GrowthGates(growth=56.0, end=98.0),
    "float16": GrowthGates(growth=4.5, end=8.8),
    "bfloat16": GrowthGates(growth=7.0, end=14.0),
}
"""Half as much again as the faithful port's largest over nine cases (docs/msprobe.md). In float32
the largest growth, 37.6, is PyTorch's own: its Conv3d is that much less exact than a product."""


@dataclass(frozen=True)
class Side:
    """What is kept of a value once it is compared."""

    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class Grown:
    """One result of a call, compared."""

    pair: Pair
    point: Point
    end: Finding
    given: float = 0.0
    """The largest relative difference among what the module was given."""
    own: Slice | None = None
    """How much larger its result's is; ``None`` for integers, and what is not there."""
    sides: tuple[Side, Side] | None = None
    """Reference and candidate."""


@dataclass
class Blame:
    """Who is guilty, in the order in which modules finished."""

    compared: set[str]
    guilty: dict[int, str] = field(default_factory=dict)
    """By number among the results, why."""
    worst: float = 0.0
    """The largest relative difference of a result so far."""

    def look(self, number: int, grown: Grown, before: Sequence[Grown]) -> None:
        """Find out whether a result is guilty, given those that are so far."""
        own, end = grown.own, grown.end
        part = any(_is_part(before[one], grown) for one in self.guilty)
        nothing = (Verdict.PASS, Verdict.EMPTY, Verdict.MISSING)
        if part:
            pass
        elif own is not None and not own.ok:
            self.guilty[number] = (
                f"its result differs by {own.error:.2g}, {own.ratio:.3g} times as much as rounding "
                f"or what it was given ({grown.given:.2g}; gate {own.gate:g}). {end.message}"
            )
        elif own is not None and self._between(grown, own):
            self.guilty[number] = (
                f"what reaches it differs by {grown.given:.2g}, and nothing before it by so much: "
                f"look at the code before it. {end.message}"
            )
        elif not self.guilty and end.verdict not in nothing and (own is None or not _wrong(end)):
            self.guilty[number] = end.message
        if own is not None:
            self.worst = max(self.worst, own.error)

    def _between(self, grown: Grown, own: Slice) -> bool:
        """Whether what a module was given is worse than all that the modules before it made.

        Inside another module that is that one's work, and shows as its growth.
        """
        rounding = grown.end.comparison.whole.floor if grown.end.comparison else 0.0
        outside = around(grown.pair.module, self.compared) is None
        return outside and grown.given > own.gate * max(self.worst, rounding)


def judge_growth(
    paired: Paired,
    case: str,
    dtype: str,
    gates: Mapping[str, GrowthGates],
    tell: Callable[[str], object] = lambda name: None,
) -> list[Row]:
    """A row for every tensor that the modules of both dumps gave.

    What only the reference has is `MISSING`, unless a module around it is compared.

    Args:
        paired: both dumps.
        case: name for the rows.
        dtype: name for the rows.
        gates: the largest ratios that pass, by the format of the values.
        tell: called with the name of what is compared next.
    """
    every = list(_every(paired, gates, tell))
    blame = Blame(paired.compared)
    for number, grown in enumerate(every):
        blame.look(number, grown, every)
    rows: list[Row] = []
    for number, grown in enumerate(every):
        verdict, message, cause = _verdict(number, every, blame, rows)
        row = _plain(number, grown.point, grown.pair.reference.index, case, dtype)
        row = replace(row, verdict=verdict, message=message, cause=cause)
        rows.append(_filled(row, grown))
    for module, (declared, fired) in paired.extra.items():
        often = f"it was called {fired} times, in the reference {declared} times"
        point = Point(module, _stage(module), Kind.FLOAT, module)
        row = _plain(len(rows), point, declared, case, dtype)
        rows.append(replace(row, verdict=Verdict.EXTRA, message=often))
    return rows


def _verdict(
    number: int, every: Sequence[Grown], blame: Blame, rows: Sequence[Row]
) -> tuple[Verdict, str, str | None]:
    """Verdict, message and cause."""
    grown = every[number]
    end = grown.end
    if number in blame.guilty:
        wrong = end.verdict in (Verdict.PASS, Verdict.GUILTY)
        return Verdict.GUILTY if wrong else end.verdict, blame.guilty[number], None
    if end.ok or end.verdict in (Verdict.MISSING, Verdict.EMPTY):
        return end.verdict, end.message, None
    drifting = [row.point for row in rows if row.verdict is Verdict.DRIFT]
    before = [every[one].point.name for one in blame.guilty if one < number]
    parts = [every[one] for one in blame.guilty if _is_part(grown, every[one])]
    cause = next((one.point.name for one in parts), next(iter([*before, *drifting]), None))
    if cause is not None:
        told = f"no worse than what it was given; explained by {cause}. {end.message}"
        return Verdict.VICTIM, told, cause
    told = f"no worse than what it was given, none before it guilty, yet {end.message}"
    return Verdict.DRIFT, told, None


def _every(
    paired: Paired, gates: Mapping[str, GrowthGates], tell: Callable[[str], object]
) -> Iterator[Grown]:
    compared = paired.compared
    for pair in paired.pairs:
        tell(pair.module)
        tensors = [number for number, entry in enumerate(pair.reference.outputs) if entry]
        for member in pair.results:
            name = f"{pair.module}.{member}" if len(tensors) > 1 else pair.module
            yield _grown(paired, pair, member, name, gates)
        covered = pair.module not in compared and around(pair.module, compared)
        if tensors and not pair.results and not covered:
            point = Point(pair.module, _stage(pair.module), Kind.FLOAT, pair.module)
            missing = "the candidate's dump does not have it"
            yield Grown(pair, point, Finding(Verdict.MISSING, missing))


def _grown(
    paired: Paired, pair: Pair, member: int, name: str, every: Mapping[str, GrowthGates]
) -> Grown:
    """Compare one result on both sides, and what the module was given."""
    reference, candidate = paired.result(pair, member)
    shape = candidate.value.shape
    candidate = replace(candidate, value=_alike(candidate.value, reference.value))
    floats = reference.value.dtype.kind == "f"
    kind = Kind.FLOAT if floats else Kind.DISCRETE
    point = Point(name, _stage(name), kind, pair.module, f"output.{member}")
    dtype = coarser(reference.dtype, candidate.dtype)
    gates = every[dtype.name]
    gate = Gate(gates.end, float("inf"), float("inf"), float("inf"))
    end = examine(
        point, ReferenceFiring("", dtype.name), Truth(reference.value),
        replace(candidate, dtype=dtype.name), Precision("", "", dtype), gate,
    )  # fmt: skip
    given = max((_apart(*taps) for taps in paired.inputs(pair)), default=0.0)
    own, comparison = None, end.comparison
    if comparison is not None:
        end, whole = (
            replace(end, comparison=replace(comparison, row=None, column=None)),
            comparison.whole,
        )
        floor = max(whole.floor, given)
        own = Slice(whole.error / floor if floor else 0.0, whole.error, floor, gates.growth)
    sides = Side(reference.value.shape, reference.dtype), Side(shape, candidate.dtype)
    return Grown(pair, point, end, given, own, sides)


def _alike(candidate: Array, reference: Array) -> Array:
    """The candidate in the reference's shape, if they differ in axes of length 1 alone."""
    sizes = [[size for size in one.shape if size != 1] for one in (candidate, reference)]
    return candidate.reshape(reference.shape) if sizes[0] == sizes[1] else candidate


def _apart(reference: Tap, candidate: Tap) -> float:
    """How far off an argument is, relative; 1 for integers that are not the same."""
    if reference.value.dtype.kind != "f" or candidate.value.dtype.kind != "f":
        return 0.0 if np.array_equal(reference.value, candidate.value) else 1.0
    one, other = wide(reference.value), wide(candidate.value)
    counts = np.isfinite(one) & np.isfinite(other) & ~((one < MASKED) & (other < MASKED))
    size = float(np.linalg.norm(one[counts]))
    apart = float(np.linalg.norm((other - one)[counts]))
    return apart / size if size else float(apart > 0)


def coarser(reference: str, candidate: str) -> Format:
    """The format of the two dtypes that rounds more; float32 for what is no float."""
    known = [FORMATS[name] for name in (reference, candidate) if name in FORMATS]
    return min(known or [FORMATS["float32"]], key=lambda one: one.mantissa)


def _filled(row: Row, grown: Grown) -> Row:
    """``row`` with shapes, dtypes and figures."""
    if grown.sides is None:
        return row
    reference, candidate = grown.sides
    end = grown.end.comparison
    return replace(
        row,
        shape=reference.shape,
        candidate_shape=candidate.shape,
        reference_dtype=reference.dtype,
        candidate_dtype=candidate.dtype,
        mismatches=grown.end.mismatches,
        local=None if end is None or grown.own is None else replace(end, whole=grown.own),
        end_to_end=end,
    )


def _wrong(end: Finding) -> bool:
    """Whether only figures are over their gates, so that growth can tell whose work it is."""
    return end.verdict is Verdict.GUILTY


def _is_part(one: Grown, other: Grown) -> bool:
    """Whether ``one`` is of a module inside ``other``'s, or another result of the same call."""
    inside = one.pair.module.startswith(f"{other.pair.module}.")
    return inside or (one.pair is other.pair and one.point != other.point)


def _stage(module: str) -> str:
    return "vision" if module.partition(".")[0] == "visual" else "text"


def _plain(order: int, point: Point, firing: int, case: str, dtype: str) -> Row:
    return Row(
        case=case, dtype=dtype, mode=DUMPED, order=order, point=point.name, stage=point.stage,
        kind=point.kind, firing=firing, verdict=Verdict.PASS, message="",
    )  # fmt: skip
