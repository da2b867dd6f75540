"""The candidate side: hooks that change nothing, always come off, and never miss a point."""

from collections import Counter
from functools import cache

import numpy as np
import pytest

from parity.core.points import STAGES
from parity.core.rows import Verdict
from parity.session import Session
from parity.settings import Settings

CASE = "left-padded-batch"


@cache
def session():
    return Session(Settings(cases=(CASE, "text-only")))


@cache
def bundle():
    return session().references.open(session().cases[0], "fp32")


def candidate():
    return session().candidate("fp32")


def hooks(cell):
    return [
        name
        for name, child in cell.cells_and_names()
        if child._forward_hook or child._forward_pre_hook
    ]


def test_recording_changes_nothing_and_repeats():
    port, case = candidate(), session().cases[0]
    inputs = port.preprocess(case)
    plain = port.model(**inputs).logits.asnumpy()
    traces = [port.free(inputs, [], session().points, STAGES) for _ in range(2)]
    for trace in traces:
        assert np.array_equal(trace.taps["lm_head"][0].value, plain)
    for name, taps in traces[0].taps.items():
        for tap, again in zip(taps, traces[1].taps[name], strict=True):
            assert np.array_equal(tap.value, again.value), name
    assert np.array_equal(port.model(**inputs).logits.asnumpy(), plain)
    assert not hooks(port.model)


def test_every_declared_point_fires_in_both_runs():
    port, case = candidate(), session().cases[0]
    free = port.free(port.preprocess(case), [], session().points, STAGES)
    forced = port.forced(bundle(), session().points, STAGES)
    for firing in session().schedule(case):
        assert free.fired(firing.point.name) == 1, firing.point.name
        if firing.point.module is not None:
            assert forced.fired(firing.point.name) == 1, firing.point.name


@pytest.mark.parametrize("name", ["second-prompt", "chunked-prefill"])
def test_further_calls_and_parts_fire_as_often_as_declared(name):
    several = Session(Settings(cases=(name,)))
    case, found = several.cases[0], several.references.open(several.cases[0], "fp32")
    free = several.execution().free(case, "fp32", found, STAGES, several.points)
    forced = several.candidate("fp32").forced(found, several.points, STAGES)
    expected = Counter(firing.point.name for firing in several.schedule(case))
    for point, count in expected.items():
        assert free.fired(point) == count, point
        assert forced.fired(point) == count or point.startswith("processor."), point
    assert {n: len(h) for n, h in free.fed.items()} == {n: len(case.calls) for n in forced.fed}


def test_a_second_call_that_throws_keeps_what_the_first_left(monkeypatch):
    """Its first point is missing, and what comes after it suffers; the first call passes."""
    several = Session(Settings(cases=("second-prompt",)))
    port, preprocess = several.candidate("fp32"), type(several.candidate("fp32")).preprocess

    def broken(self, case):
        if case.prompts == several.cases[0].again:
            raise RuntimeError("planted")
        return preprocess(self, case)

    monkeypatch.setattr(type(port), "preprocess", broken)
    rows = several.run(several.cases[0], "fp32")
    wrong = [row for row in rows if row.verdict is not Verdict.PASS]
    assert wrong
    assert {(row.point, row.firing) for row in wrong if row.point.startswith("processor.")} == {
        (row.point, 1) for row in rows if row.point.startswith("processor.")
    }
    assert all(row.firing >= len(several.references.open(several.cases[0], "fp32").tokens[0][0])
               for row in wrong if row.stage == "decoding")  # fmt: skip


def test_a_stale_rope_delta_is_found_in_the_second_call(monkeypatch):
    """Nothing else shows it: each call is right on a model of its own."""
    from qwen2vl_ms.inputs import IntegerInputs

    positions, kept = IntegerInputs.positions, []

    def stale(self):
        found, deltas = positions(self)
        kept.append(deltas)
        return found, kept[0]

    monkeypatch.setattr(IntegerInputs, "positions", stale)
    several = Session(Settings(cases=("second-prompt",)))
    rows = several.run(several.cases[0], "fp32")
    blamed = [row for row in rows if row.verdict not in (Verdict.PASS, Verdict.VICTIM)]
    assert {row.point for row in blamed} == {"language_model.position_ids", "rope_deltas"}
    steps = several.cases[0].decode_steps
    assert min(row.firing for row in blamed if row.point != "rope_deltas") == steps + 2


def test_the_forced_run_hands_on_the_references_values():
    """With every input and output replaced, the last module sees exactly the reference's."""
    forced = candidate().forced(bundle(), session().points, STAGES)
    for name in ("language_model.norm", "lm_head", "visual.merger"):
        assert (name, 0) not in forced.arrivals, "what was handed on arrived changed"


def test_hooks_come_off_when_the_candidate_throws(monkeypatch):
    from qwen2vl_ms import text

    def broken(self, x):
        raise RuntimeError("planted in the middle")

    monkeypatch.setattr(text.Qwen2MLP, "construct", broken)
    port, case = candidate(), session().cases[0]
    trace = port.free(port.preprocess(case), [], session().points, STAGES)
    assert "planted in the middle" in trace.stopped
    assert "test_candidate.py:" in trace.stopped
    assert not hooks(port.model)


def test_a_candidate_that_throws_is_one_missing_point_and_its_victims(monkeypatch):
    from qwen2vl_ms import text

    original = text.Qwen2MLP.construct

    def broken(self, x):
        if ".layers.1." in self.gate_proj.weight.name:
            raise RuntimeError("planted")
        return original(self, x)

    monkeypatch.setattr(text.Qwen2MLP, "construct", broken)
    rows = Session(Settings(cases=("text-only",))).run(session().cases[1], "fp32")
    missing = [row for row in rows if row.verdict is Verdict.MISSING]
    assert [row.point for row in missing] == ["language_model.layers.1.mlp.gate_proj"]
    assert "planted" in missing[0].message
    victims = [row for row in rows if row.verdict is Verdict.VICTIM]
    assert victims
    assert all(row.cause == missing[0].point for row in victims)


def test_a_missing_module_is_missing_and_not_passed_over(monkeypatch):
    port = candidate()
    cells = type(port.model).cells_and_names

    def without(self, *args, **kwargs):
        return [(n, c) for n, c in cells(self, *args, **kwargs) if not n.endswith("layers.0.mlp")]

    monkeypatch.setattr(type(port.model), "cells_and_names", without)
    rows = Session(Settings(cases=("text-only",))).run(session().cases[1], "fp32")
    assert {row.point for row in rows if row.verdict is Verdict.MISSING} == {
        "language_model.layers.0.mlp"
    }


@pytest.mark.parametrize("device", ["GPU:7", "Toaster", "CPU:x"])
def test_a_device_that_is_not_there_is_one_clear_error(device):
    from parity.adapters.mindspore_device import set_device
    from parity.core.errors import ParityError

    with pytest.raises(ParityError, match=device):
        set_device(device)
