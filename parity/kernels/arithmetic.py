"""In which arithmetic a product or an attention was really computed, told by its errors.

A matrix product in HF32 is not just off by more: it is off by exactly what rounding its operands to
eleven bits changes. So the module is computed again in float64 with that rounding and nothing else.
If that predicts the candidate's values, number by number, it is what was computed, whatever was
declared; a bug of the same size predicts nothing. Sums in float16 depend on an order that nobody
documents: they are told by the size of their errors, in most of a run's products at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from parity.core.arithmetic import FLOAT16_SUMS, FUSED, HF32, SATURATING, Arithmetic, operands_of
from parity.core.compared import padding_of
from parity.core.hf32 import hf32
from parity.core.points import Firing, Point
from parity.core.rounding import rounded
from parity.core.rows import Row
from parity.core.trace import Array
from parity.core.verdict import Evidence
from parity.kernels.ways import Formats, Way, float16_sums, fused, operands, stepwise
from parity.kernels.workbench import ATTENTION, COMPUTED, LARGEST, PRODUCTS, Workbench
from parity.subjects.ops import Float

MOST = 0.5
"""Share of an error's squared norm that an arithmetic has to predict."""
DECISIVE = 0.9
"""Share from which nothing else is tried."""
FIRINGS = 2
"""Firings of one point that are looked into; a decoding step is computed as the one before."""
SUSPICIOUS = 2.0**-16
"""Relative error from which a float32 product is looked into: 256 times float32's rounding, and a
sixteenth of HF32's."""
COARSE = 1.3
"""Ratio from which a product in half precision is looked into; rounded once it has about 1."""
ALIKE = 0.9
"""Share of attention's values that are the reference's own bits if it rounds as the reference."""
BETWEEN = (0.5, 2.0)
"""Measured over predicted size of the error of float16 sums."""
MAJORITY = 0.75
"""Of the products looked at, how many have to be so."""


@dataclass(frozen=True)
class Place:
    """A value that one product or attention made on clean inputs, and where it was recorded."""

    row: int
    point: Point
    index: int
    key: str
    """Its name in what `Workbench.compute` returns."""
    value: Array
    """As it was recorded."""
    dtype: str
    """Full name of what products inside it are rounded to."""
    keep: NDArray[np.bool_] | None
    """The tokens that are no padding; ``None`` for all."""

    @property
    def float32(self) -> bool:
        """Whether float32 was declared."""
        return self.dtype == "float32"


def observed(rows: Sequence[Row], evidence: Evidence, bench: Workbench) -> list[Row]:
    """``rows``, each with the arithmetic that its errors show where that is not the declared one.

    Args:
        rows: what `judge` made of ``evidence``.
        evidence: both executions of one case.
        bench: the checkpoint, with the points at which the forced run handed on values.
    """
    found: dict[int, Arithmetic] = {}
    left = LARGEST
    sums: dict[int, tuple[float, Arithmetic]] = {}
    for place in _places(rows, evidence, bench):
        size = bench.size(evidence.bundle, place.point, place.index)
        if size > left:
            continue
        left -= size
        told = _told(place, evidence, bench)
        if told is not None:
            found[place.row] = told
        elif place.point.role in PRODUCTS and place.dtype == "float16":
            sums[place.row] = _as_sums(place, evidence, bench)
    found |= _by_majority(sums, rows, bench)
    found |= {n: told for n, row in enumerate(rows) if (told := _saturating(row)) is not None}
    return [replace(row, arithmetic=found[n]) if n in found else row
            for n, row in enumerate(rows)]  # fmt: skip


def _places(rows: Sequence[Row], evidence: Evidence, bench: Workbench) -> list[Place]:
    """What is suspicious enough to be computed again, in execution order."""
    looked: Counter[str] = Counter()
    points = {point.name: point for point in bench.points if point.role in COMPUTED}
    places = []
    for number, row in enumerate(rows):
        point = points.get(row.point)
        if point is None or row.local is None or row.local.nonfinite:
            continue
        if looked[row.point] == FIRINGS:
            continue
        place = _place(number, row, point, evidence, bench)
        if place is not None and _suspicious(row, place, evidence):
            places.append(place)
            looked[row.point] += 1
    return places


def _place(
    number: int, row: Row, point: Point, evidence: Evidence, bench: Workbench
) -> Place | None:
    """The value of ``point`` that its own arithmetic made; ``None`` if others handed it on."""
    inside = any(one.name.startswith(f"{point.name}.") for one in bench.points)
    attention = point.role in ATTENTION
    dtype = bench.format_in(point).name
    key = point.name
    if not inside:
        tap = evidence.forced.get(key, row.firing)
    elif attention:
        key = f"{point.name}.{'proj' if point.stage == 'vision' else 'o_proj'}"
        tap = evidence.forced.arrivals.get((key, row.firing))
    else:
        return None
    if tap is None or _reference(key, row.firing, inside, evidence).shape != tap.value.shape:
        return None
    keep = padding_of(Firing(point, row.firing), evidence)
    return Place(number, point, row.firing, key, tap.value, dtype, keep)


def _reference(key: str, index: int, arrives: bool, evidence: Evidence) -> Array:
    """The reference's value at a place: what a module gave, or what reached it."""
    recorded = evidence.bundle.points[key][index]
    return evidence.bundle.tensor(
        next(iter(recorded.inputs.values())) if arrives else recorded.value
    )


def _suspicious(row: Row, place: Place, evidence: Evidence) -> bool:
    """Whether a cheap look says that something may be different; a faithful port costs no more."""
    if place.float32:
        return row.local is not None and bool(row.local.whole.error > SUSPICIOUS)
    if place.point.role in PRODUCTS:
        return row.local is not None and bool(row.local.whole.ratio > COARSE)
    if place.point.role not in ATTENTION or place.key == place.point.name:
        return False
    arrived = _reference(place.key, place.index, True, evidence)
    return bool(np.mean(place.value == arrived) < ALIKE)


def _told(place: Place, evidence: Evidence, bench: Workbench) -> Arithmetic | None:
    """The arithmetic that predicts the most of the error, if that is enough."""
    ways = _ways(place, bench)
    if not ways:
        return None
    truth = declared = _computed(Way(), place, evidence, bench)
    if not place.float32:
        declared = _computed(stepwise(_formats(place, bench)), place, evidence, bench)
    best: Arithmetic | None = None
    for name, way in ways.items():
        told = _judged(name, truth, declared, _computed(way, place, evidence, bench), place)
        best = told if best is None or told.share > best.share else best
        if best.share >= DECISIVE:
            break
    return best if best is not None and best.share >= MOST else None


def _ways(place: Place, bench: Workbench) -> dict[str, Way]:
    """What may have been computed in the place of what was declared."""
    if place.float32:
        narrow = {operands_of(name): operands(partial(rounded, dtype=name))
                  for name in ("float16", "bfloat16")}  # fmt: skip
        return {HF32: operands(hf32), **narrow}
    return {FUSED: fused(_formats(place, bench))} if place.point.role in ATTENTION else {}


def _formats(place: Place, bench: Workbench) -> Formats:
    """What attention at ``place`` rounds to."""
    return Formats(bench.handed_on, place.dtype, place.point.stage == "vision")


def _computed(way: Way, place: Place, evidence: Evidence, bench: Workbench) -> Float:
    """The value at ``place`` as ``way`` makes it, rounded to what was declared."""
    made = bench.compute(evidence.bundle, place.point, place.index, way.ops, way.recipe)
    value = made[place.key].reshape(place.value.shape)
    # The truth is kept exact; what is predicted is rounded as it was handed on.
    return value if way == Way() else rounded(rounded(value, place.dtype), bench.handed_on)


def _judged(name: str, truth: Float, declared: Float, predicted: Float, place: Place) -> Arithmetic:
    """How much of the error at ``place``, counted from what was declared, a way predicts."""

    def norm(values: Float) -> float:
        rows = values.reshape(-1, values.shape[-1])
        return float(np.linalg.norm(rows if place.keep is None else rows[place.keep.ravel()]))

    value = place.value.astype(np.float64)
    unexplained, rest = norm(value - declared), norm(value - predicted)
    share = 1.0 - (rest / unexplained) ** 2 if unexplained else 0.0
    size = norm(truth) or 1.0
    return Arithmetic(name, share, norm(value - truth) / size, norm(predicted - truth) / size)


def _as_sums(place: Place, evidence: Evidence, bench: Workbench) -> tuple[float, Arithmetic]:
    """Measured over predicted error of a product whose sums are kept in float16."""
    truth = _computed(Way(), place, evidence, bench)
    predicted = _computed(float16_sums(), place, evidence, bench)
    told = _judged(FLOAT16_SUMS, truth, truth, predicted, place)
    return (told.error / told.expected if told.expected else np.inf), told


def _saturating(row: Row) -> Arithmetic | None:
    """float16 without infinities: they are there in the reference, and the largest number here."""
    local = row.local
    if local is None or local.reference_nonfinite is None:
        return None
    infinite = local.reference_nonfinite.plus_inf + local.reference_nonfinite.minus_inf
    own = local.candidate_nonfinite
    gone = infinite - (own.plus_inf + own.minus_inf if own else 0)
    if row.reference_dtype != "float16" or gone <= 0 or local.saturated < gone:
        return None
    return Arithmetic(SATURATING, gone / infinite, float(local.saturated), float(infinite))


def _by_majority(
    sums: dict[int, tuple[float, Arithmetic]], rows: Sequence[Row], bench: Workbench
) -> dict[int, Arithmetic]:
    """Sums in float16, if nearly all products of the case look so; one alone may be a bug."""
    products = {point.name for point in bench.points if point.role in PRODUCTS}
    every = {row.point for row in rows if row.point in products and row.local is not None}
    low, high = BETWEEN
    so = {number: told for number, (times, told) in sums.items() if low <= times <= high}
    named = {rows[number].point for number in so}
    return so if named and len(named) >= MAJORITY * len(every) else {}
