"""Where the port's time goes: kernels by kind, copies, and dispatch."""

import pytest

from parity.bench.mindspore_profile import _inside, plain_name
from parity.bench.profiling import COPIES, DISPATCH, ELEMENTWISE, kind_of, lines_of, parts


@pytest.mark.parametrize(
    ("kernel", "kind"),
    [("BatchMatMul", "matrix products"), ("Softmax", "softmax"), ("LayerNorm", "norms"),
     ("Transpose", "layout"), ("AddExt", ELEMENTWISE), ("Cast", "casts"),
     ("BroadcastTo", "layout")],
)  # fmt: skip
def test_kernels_are_of_a_kind(kernel, kind):
    assert kind_of(kernel) == kind


def test_kernels_are_counted_by_run_and_plain_name():
    events = [
        {"name": "Default/BiasAdd-op1", "ts": "1000.0", "dur": "500000.0"},
        {"name": "BiasAdd", "ts": "1001.0", "dur": "250000.0"},
        {"name": "MatMul", "ts": "2000.0", "dur": "1.0"},
    ]
    assert _inside((1_000_000, 2_000_000), events) == {"BiasAdd": (2, 0.75)}
    assert _inside((2_000_000, 3_000_000), events) == {"MatMul": (1, 1e-6)}
    assert plain_name("Default/network-A/MatMul-op12") == "MatMul"


def test_a_runs_time_is_split_completely():
    kernels = {"MatMul": (4, 0.5), "Mul": (2, 0.1), "Add": (1, 0.05)}
    found = {"seconds": [1.0, 1.0, 1.0], "kernels": [kernels] * 3}
    least = {"seconds": [0.25, 0.25], "kernels": [{"MatMul": (4, 0.05)}] * 2}
    made = {part.kind: part for part in parts(found, least)}
    assert sum(part.seconds for part in made.values()) == pytest.approx(1.0)
    assert made[DISPATCH].seconds == pytest.approx(0.2)
    assert made[COPIES].seconds == pytest.approx(0.15)
    assert made[ELEMENTWISE].names == ("Mul x2", "Add x1")
    title, first, *_ = lines_of("block", parts(found, least))
    assert title == "block: 1000.0 ms under the profiler"
    assert first.split()[:4] == ["50.0%", "500.00", "ms", "matrix"]


def test_dispatch_is_never_more_than_what_is_left():
    found = {"seconds": [1.0], "kernels": [{"MatMul": (1, 0.9)}]}
    least = {"seconds": [1.0], "kernels": [{"MatMul": (1, 0.1)}]}
    made = {part.kind: part.seconds for part in parts(found, least)}
    assert made[DISPATCH] == pytest.approx(0.1)
    assert made[COPIES] == 0.0
