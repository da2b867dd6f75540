"""The operator ledger: every primitive, measured on what it is given in a captured run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any, TypeAlias

import numpy as np

from parity.core.points import Point
from parity.core.rows import Kind
from parity.core.store import Bundle
from parity.kernels.device import UnsupportedError
from parity.kernels.measure import Probe
from parity.kernels.primitives import PRIMITIVES, TRUTHS, Kernel, watched, with_kernel
from parity.kernels.samples import sampled
from parity.kernels.tables import angles
from parity.kernels.workbench import COMPUTED, LARGEST, Workbench
from parity.subjects.ops import Float

Entry: TypeAlias = dict[str, object]


def measure(bench: Workbench, bundle: Bundle, case: str) -> list[Entry]:
    """The ledger of one case in one precision: a row for each primitive and kind of module.

    Args:
        bench: the device and the checkpoint; its points are all that bundles have.
        bundle: of the case, in the precision's reference.
        case: its name.

    Returns:
        Rows with ``primitive``, ``dtype`` (the run's), ``result`` (what results are rounded to),
        ``device``, ``role``, ``case``, ``point`` (whose firing gave the operands), ``elements``,
        ``mean_ulp``, ``max_ulp`` (of ``result``) and ``ratio`` (error over rounding).
    """
    rows = []
    for point in representatives(bench.points, bundle):
        found = _in_table if point.kind is Kind.TABLE else _in_module
        rows += [_entry(bench, probe, point, case) for probe in found(bench, bundle, point)]
    return rows


def representatives(points: Sequence[Point], bundle: Bundle) -> list[Point]:
    """One point of each role and stage that fired: the middle one, which is no special case."""
    groups: dict[tuple[str, str, str], list[Point]] = {}
    for point in points:
        known = point.role in COMPUTED or point.kind is Kind.TABLE
        if known and not point.is_input and bundle.get(point.name, 0) is not None:
            table = point.name.rpartition(".")[2] if point.kind is Kind.TABLE else ""
            groups.setdefault((point.role, point.stage, table), []).append(point)
    return [found[len(found) // 2] for found in groups.values()]


def _in_table(bench: Workbench, bundle: Bundle, point: Point) -> Iterator[Probe]:
    """Probes of what makes a rotary table: sine or cosine, and in the text model a cast."""
    name = point.name.rpartition(".")[2]
    angle = angles(bundle, point, bench.config).astype(np.float64)
    made = [(name, angle)]
    if point.stage == "text" and bench.precision.format.name != "float32":
        made.append(("cast", TRUTHS[name](angle)))
    for primitive, operand in made:
        probe = bench.probe(primitive, point)
        _sampling(probe)(operand)
        yield probe


def _in_module(bench: Workbench, bundle: Bundle, point: Point) -> Iterator[Probe]:
    """A probe for each primitive that the module uses, or that its primitives can be built from."""
    if bench.size(bundle, point, 0) > LARGEST:
        return
    used: set[str] = set()
    bench.compute(bundle, point, 0, watched(used))
    for name in PRIMITIVES:
        if name in used:
            probe = bench.probe(name, point)
            bench.compute(bundle, point, 0, with_kernel(name, _sampling(probe)))
            yield probe


def _sampling(probe: Probe) -> Kernel:
    """A kernel that is exact, and has the probe measure a part of what it is given."""

    def kernel(*operands: Any) -> Float:
        with suppress(UnsupportedError):  # then nothing is measured, which the row says
            probe.error(sampled(probe.name, operands))
        return np.asarray(TRUTHS[probe.name](*operands))

    return kernel


def _entry(bench: Workbench, probe: Probe, point: Point, case: str) -> Entry:
    accuracy = probe.accuracy
    place = bench.device.place(probe.name)
    return {
        "primitive": probe.name,
        "dtype": bench.precision.name,
        "result": probe.format.name,
        "device": place if accuracy.elements else f"{place}: not supported",
        "role": point.role,
        "case": case,
        "point": point.name,
        "elements": accuracy.elements,
        "mean_ulp": accuracy.mean_ulp,
        "max_ulp": accuracy.max_ulp,
        "ratio": accuracy.ratio,
    }
