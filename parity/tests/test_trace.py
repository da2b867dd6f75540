"""Traces of several calls as one: nothing of either is lost or renumbered wrongly."""

import numpy as np

from parity.core.trace import Trace


def call(start, stopped=None):
    """Two firings of one point and one of another, with arguments, hashes and results."""
    trace = Trace(stopped=stopped)
    for point, value in (("a", start), ("b", start + 1), ("a", start + 2)):
        trace.record(point, np.full(1, value), "int64")
    for module, index in (("a", 0), ("a", 1), ("b", 0)):
        trace.arguments[(module, index)] = {"x": np.full(1, start)}
    trace.fed, trace.results = {"ids": [f"i{start}"]}, [f"r{start}", f"s{start}"]
    return trace


def test_a_second_call_comes_after_the_first():
    trace = Trace()
    trace.extend(call(0))
    trace.extend(call(10))
    assert [int(tap.value[0]) for tap in trace.taps["a"]] == [0, 2, 10, 12]
    assert [int(tap.value[0]) for tap in trace.taps["b"]] == [1, 11]
    numbered = {key: int(given["x"][0]) for key, given in trace.arguments.items()}
    assert numbered == {("a", 0): 0, ("a", 1): 0, ("b", 0): 0,
                        ("a", 2): 10, ("a", 3): 10, ("b", 1): 10}  # fmt: skip
    assert trace.fed == {"ids": ["i0", "i10"]}
    assert trace.results == ["r0", "s0", "r10", "s10"]
    assert trace.stopped is None


def test_the_last_call_says_why_it_stopped():
    trace = call(0)
    trace.extend(call(10, "ValueError: no"))
    assert trace.stopped == "ValueError: no"


def test_extending_leaves_the_other_as_it_was():
    first, second = call(0), call(10)
    first.extend(second)
    first.record("a", np.zeros(1), "int64")
    first.extend(call(20))
    assert second.fired("a") == 2
    assert second.fed == {"ids": ["i10"]}
