"""Which kernel's inaccuracy, if any, is what a guilty module shows.

An explanation is causal. The module is computed again in float64 with the device's kernel of one
primitive and everything else exact; what that gets wrong is taken away from what the candidate
gave; and the rest is judged again. If it passes, and most of the error is gone, that kernel is
what the gate noticed. A bug at the same place stays, because no kernel predicts it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from parity.core.points import Firing, Point
from parity.core.rows import Kind, Row, Verdict
from parity.core.trace import Tap, Trace
from parity.core.verdict import Evidence, judge
from parity.kernels.device import UnsupportedError
from parity.kernels.primitives import ELEMENTARY, FUSED, watched, with_kernel
from parity.kernels.workbench import COMPUTED, LARGEST, Workbench
from parity.subjects.ops import Float

MOST = 0.5
"""Share of the error's squared norm that a kernel has to account for."""


@dataclass(frozen=True)
class Explanation:
    """A primitive whose kernel accounts for an error."""

    primitive: str
    ratio: float
    """Its error on these operands, as a multiple of rounding."""
    result: str
    """What it rounds to."""
    place: str
    share: float
    """Of the squared norm of the figure that was over its gate."""

    def __str__(self) -> str:
        """For a person."""
        return (
            f"{self.primitive}: {self.ratio:.3g} times the rounding of {self.result} on "
            f"{self.place}; accounts for {100 * self.share:.0f} % of this error"
        )


def explained(rows: Sequence[Row], evidence: Evidence, bench: Workbench) -> list[Row]:
    """``rows`` with the kernels that explain them; none of their verdicts changes.

    The worst rows are looked into, as many as have `LARGEST` numbers together.

    Args:
        rows: what `judge` made of ``evidence``.
        evidence: both executions of one case.
        bench: the device and the checkpoint.
    """
    points = {point.name: point for point in bench.points if point.role in COMPUTED}
    guilty = [row for row in rows if open_to_explanation(row) and row.point in points]
    noted, left = {}, LARGEST
    for row in sorted(guilty, key=_used, reverse=True):
        point = points[row.point]
        size = bench.size(evidence.bundle, point, row.firing)
        if size <= left:
            noted[id(row)] = _noted(row, point, evidence, bench)
            left -= size
    return [noted.get(id(row), row) for row in rows]


def open_to_explanation(row: Row) -> bool:
    """Whether a row fails by the size of its local error, which a kernel could have caused."""
    return row.verdict is Verdict.GUILTY and row.kind is Kind.FLOAT and row.local is not None


def explain(row: Row, point: Point, evidence: Evidence, bench: Workbench) -> Explanation | None:
    """The kernel that explains a guilty row: the most elementary one, the one that explains most.

    Args:
        row: see `open_to_explanation`.
        point: its point, whose role is in `COMPUTED`.
        evidence: what it was judged by.
        bench: the device and the checkpoint.
    """
    used: set[str] = set()
    right = bench.compute(evidence.bundle, point, row.firing, watched(used))
    for names in (ELEMENTARY, FUSED):
        tried = [name for name in names if name in used]
        found = [_tried(name, right, row, point, evidence, bench) for name in tried]
        explaining = [one for one in found if one is not None]
        if explaining:
            return max(explaining, key=lambda one: one.share)
    return None


def _used(row: Row) -> float:
    """How far over its gate a row's local error is."""
    return row.local.worst[1].used if row.local else 0.0


def _noted(row: Row, point: Point, evidence: Evidence, bench: Workbench) -> Row:
    """The row with its explanation, if there is one."""
    found = explain(row, point, evidence, bench)
    if found is None:
        return row
    message = (
        f"{row.message}. A kernel explains it, not a formula ({found}); it fails all the same, "
        "until an override of this point accepts it (--overrides FILE)"
    )
    return replace(row, kernel=str(found), message=message)


def _tried(
    name: str,
    right: Mapping[str, Float],
    row: Row,
    point: Point,
    evidence: Evidence,
    bench: Workbench,
) -> Explanation | None:
    """What the kernel of one primitive explains; ``None`` if that is too little."""
    probe = bench.probe(name, point)
    try:
        wrong = bench.compute(evidence.bundle, point, row.firing, with_kernel(name, probe))
    except UnsupportedError:
        return None  # then the candidate did not use it either
    errors = {place: wrong[place] - right[place] for place in right}
    forced = without(evidence.forced, errors, point.name, row.firing)
    again = _judged_again(point, row.firing, replace(evidence, forced=forced), bench)
    if row.local is None or again.local is None or again.verdict is Verdict.GUILTY:
        return None
    figure, worst = row.local.worst
    left = again.local.slices.get(figure)  # none, if what is worst now is another value
    share = 0.0 if left is None else 1.0 - (left.ratio / worst.ratio) ** 2
    if not share >= MOST:
        return None
    place = bench.device.place(name)
    return Explanation(name, probe.accuracy.ratio, probe.format.name, place, share)


def without(forced: Trace, errors: Mapping[str, Float], module: str, index: int) -> Trace:
    """A forced run without the errors that a kernel made inside one firing of a module.

    Args:
        forced: the run.
        errors: by the module's own name what is wrong in its output, by the name of a module
            inside what is wrong in what reached it.
        module: its name.
        index: the firing.
    """
    taps = dict(forced.taps)
    own = list(taps.get(module, []))
    if index < len(own):
        own[index] = _less(own[index], errors[module])
        taps[module] = own
    arrivals = dict(forced.arrivals)
    for name in errors.keys() - {module}:  # what reached the module itself is not its work
        if (name, index) in arrivals:
            arrivals[(name, index)] = _less(arrivals[(name, index)], errors[name])
    return replace(forced, taps=taps, arrivals=arrivals)


def _less(tap: Tap, error: Float) -> Tap:
    """A recorded value without an error, in float64."""
    return Tap(tap.value.astype(np.float64) - error.reshape(tap.value.shape), tap.dtype)


def _judged_again(point: Point, index: int, evidence: Evidence, bench: Workbench) -> Row:
    """The row of one firing of a module, judged with what is inside it and nothing else."""
    inside = [one for one in bench.points if one.name.startswith(f"{point.name}.")]
    firings = [Firing(one, index) for one in (*inside, point)]
    return next(row for row in judge(firings, evidence) if row.point == point.name)
