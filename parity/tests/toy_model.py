"""A toy model for the tests of verdicts, its bundle, and traces that are made by hand.

It has a processor, a rotary table, an embedding, two residual blocks with modules inside
modules, and a head; it runs on a prompt of two rows and once more on one token each.
"""

from collections import Counter
from dataclasses import replace

import numpy as np

from parity.core.numerics import precision
from parity.core.points import Firing, Point
from parity.core.rows import Kind, Verdict
from parity.core.stats import Gate
from parity.core.store import Bundle, BundleWriter, ReferenceFiring
from parity.core.tolerance import same_gate
from parity.core.trace import Tap, Trace
from parity.core.verdict import Evidence, judge

GATE = Gate(whole=10, row=20, column=20, update=10)
GATES = same_gate(GATE)
PADDING = np.arange(8) >= np.array([[3], [0]])
"""The first row of the batch starts with three padding tokens."""


def module(name, level="block", base=None):
    return Point(name, "text", Kind.FLOAT, name, level=level, forced=("*",), base=base, tokens=True)


def block(name, before):
    inner = ("norm", "attn.qkv", "attn", "mlp.fc", "mlp")
    return [*(module(f"{name}.{part}", "module") for part in inner), module(name, base=before)]


GRID, PIXELS = "processor.grid", "processor.pixels"
POINTS = [
    Point(GRID, "preprocessing", Kind.DISCRETE),
    Point(PIXELS, "preprocessing", Kind.EXACT, depends=(GRID,)),
    Point("ids", "positions", Kind.DISCRETE, "rotary", "input.position_ids"),
    Point("rotary.cos", "text", Kind.TABLE, "rotary", forced=("position_ids",), tokens=True),
    module("embed"),
    *block("blocks.0", "embed"),
    *block("blocks.1", "blocks.0"),
    module("head"),
]
MODEL = [point for point in POINTS if point.module]
SCHEDULE = [*(Firing(p, 0) for p in POINTS), *(Firing(p, 1, 1) for p in MODEL)]
KEYS = [(firing.point.name, firing.index) for firing in SCHEDULE]
FLOATS = [(p.name, index) for index in (0, 1) for p in MODEL if p.kind is Kind.FLOAT]
QKV, ATTN = "blocks.0.attn.qkv", "blocks.0.attn"
BLOCKS = [firing for firing in SCHEDULE if firing.point.level == "block"]


def sample(point, index, rng):
    """What the reference computed at one firing."""
    if point.kind is Kind.DISCRETE:
        return rng.integers(0, 1000, (3, 4))
    if point.kind is Kind.EXACT:
        return rng.standard_normal((12, 8)).astype(np.float32)
    return rng.standard_normal((2, 1 if index else 8, 16)).astype(np.float32)


def write(folder, **residuals):
    """A bundle of the toy; ``residuals`` (by field) are relative errors of the reference."""
    rng = np.random.default_rng(0)
    writer = BundleWriter({"toy": 1})
    fields = {"local": 3e-8, "local_block": 3e-8, "arrival": 3e-8, "end_to_end": 3e-8} | residuals
    for firing in SCHEDULE:
        point = firing.point
        value = sample(point, firing.index, rng)
        recorded = ReferenceFiring(writer.add(value), value.dtype.name)
        arrived = rng.standard_normal(value.shape).astype(np.float32)
        recorded.inputs = {name: writer.add(arrived) for name in point.forced}
        if point.kind is Kind.FLOAT:
            for field, size in fields.items():
                about = arrived if field == "arrival" else value
                truth = about.astype(np.float64) * (1 + size * rng.standard_normal(about.shape))
                setattr(recorded, field, writer.add_residual(truth, about))
        writer.points.setdefault(point.name, []).append(recorded)
    writer.write(folder)
    return Bundle.open(folder)


def value(bundle, name, index=0):
    return bundle.tensor(bundle.points[name][index].value)


def arrival(bundle, name, index=0):
    return bundle.tensor(bundle.points[name][index].inputs["*"])


def faithful(bundle, points=POINTS):
    """What a good port leaves: the reference's values, rounded elsewhere."""
    trace, rng = Trace(), np.random.default_rng(1)
    for firing in SCHEDULE:
        if firing.point in points:
            array = value(bundle, firing.point.name, firing.index).copy()
            if firing.point.kind in (Kind.FLOAT, Kind.TABLE):
                array = array + rng.standard_normal(array.shape) * 4e-8
                array = array.astype(np.float32)
            trace.record(firing.point.name, array, array.dtype.name)
    return trace


def spoil(trace, name, index=0, change=lambda x: x + 1):
    """Damage one recorded value of a trace."""
    tap = trace.taps[name][index]
    trace.taps[name][index] = replace(tap, value=np.asarray(change(tap.value)))


def spoil_from(trace, start):
    """Damage a value and every one after it, as errors that are carried on do."""
    first = KEYS.index(start if isinstance(start, tuple) else (start, 0))
    for name, index in KEYS[first:]:
        spoil(trace, name, index)


def stop(trace, start, reason="ValueError: no"):
    """End a trace before one firing."""
    for name, index in KEYS[KEYS.index(start) :]:
        if name in trace.taps:
            del trace.taps[name][index:]
    trace.stopped = reason


class Run:
    """A good port's two traces, to be damaged, and the rows that follow from them."""

    def __init__(self, bundle, **options):
        self.bundle, self.options = bundle, options
        self.free, self.forced = faithful(bundle), faithful(bundle, MODEL)

    def arrive(self, name, index=0, change=lambda x: x, dtype="float32"):
        """Note what reached a module, at first the reference's own input."""
        array = np.array(change(arrival(self.bundle, name, index)))
        self.forced.arrivals[(name, index)] = Tap(array, dtype)

    def judge(self, schedule=SCHEDULE):
        """Rows by point and firing."""
        evidence = Evidence("toy", precision("fp32"), self.options.get("gates", GATES),
                            self.bundle, self.free, self.forced,
                            self.options.get("level", "module"),
                            self.options.get("padding", PADDING))  # fmt: skip
        return Rows({(row.point, row.firing): row for row in judge(schedule, evidence)})


class Rows(dict):
    """Rows by point and firing, and who is charged in them."""

    @property
    def blamed(self):
        """Verdict of every row that is neither right nor explained by another."""
        harmless = (Verdict.PASS, Verdict.VICTIM)
        return {key: row.verdict for key, row in self.items() if row.verdict not in harmless}

    @property
    def victims(self):
        """The rows that are explained by another."""
        return {key for key, row in self.items() if row.verdict is Verdict.VICTIM}

    @property
    def causes(self):
        """How many rows each cause explains."""
        return dict(Counter(self[key].cause for key in self.victims))
