"""Where a gate comes to lie, whatever was measured, and what that makes of a fault."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parity import calibrate_rule as rule
from parity.calibration_data import Record
from parity.core.points import Point
from parity.core.rows import Kind

RATIOS = st.floats(0, 1e12, allow_subnormal=False)
NORM, MLP = "language_model.layers.1.input_layernorm", "language_model.layers.0.mlp"
FAULTS = {"rms-eps": rule.Planted(NORM), "no-gate": rule.Planted(MLP)}


def record(ratios, fault=None, seed=1, wrong=()):
    """``ratios`` by point: local figures."""
    nested = {
        point: {"local": {name: [value] if isinstance(value, float) else value
                          for name, value in figures.items()}}
        for point, figures in ratios.items()
    }  # fmt: skip
    return Record(seed, "one", "fp32", "CPU", "trained", nested, list(wrong), fault)


@given(RATIOS, st.floats(1.0001, 1e9))
def test_a_gate_lies_between_the_two_distributions(faithful, times):
    fault = max(rule.LEAST * faithful, 1e-6) * times
    gate = rule.propose(faithful, fault)
    assert rule.LEAST * faithful <= gate < fault
    assert gate <= max(rule.MOST * faithful * 1.06, rule.ROUNDING)


@given(RATIOS)
def test_a_gate_that_no_fault_bounds_is_near_what_is_normal(faithful):
    gate = rule.propose(faithful)
    assert gate >= max(rule.LEAST * faithful, rule.ROUNDING)
    assert gate <= max(rule.MOST * faithful * 1.06, rule.ROUNDING)


@given(RATIOS, RATIOS)
def test_more_noise_never_makes_a_tighter_gate(one, other):
    less, more = sorted((one, other))
    assert rule.propose(less) <= rule.propose(more)


def test_between_two_that_are_not_far_apart_a_gate_is_as_far_from_the_one_as_from_the_other():
    assert rule.propose(4.0, 9.0) == 6
    assert rule.propose(4.0, 1e9) == rule.MOST * 4
    assert rule.propose(0.1, 1e9) == rule.ROUNDING
    assert 1.25 <= rule.propose(1.0, 1.3) < 1.3


def test_a_fault_is_caught_by_the_figure_that_shows_it_most():
    """The others need not be tighter for it, though it shows in them too."""
    faithful = record({NORM: {"whole": 4.0, "row": 4.0}})
    fault = record({NORM: {"whole": 5.5, "row": 6.0}}, "rms-eps")
    found = rule.fit([faithful], [fault], FAULTS)
    assert found.gates["local"]["rms_norm"] == {"whole": 10.0, "row": 5.0}
    margin = found.faults["rms-eps"]
    assert (margin.figure, margin.ratio, margin.gate, margin.seen) == ("row", 6.0, 5.0, True)
    assert margin.why == ""


def test_where_the_distributions_overlap_the_fault_is_not_visible_and_bounds_no_gate():
    faithful = record({NORM: {"row": 4.0}})
    hidden = record({NORM: {"row": 4.9}}, "rms-eps")
    found = rule.fit([faithful], [hidden], FAULTS)
    assert found.gates["local"]["rms_norm"]["row"] == 10
    assert not found.faults["rms-eps"].seen
    assert "4.9" in found.faults["rms-eps"].why
    assert " 4" in found.faults["rms-eps"].why


@given(st.lists(RATIOS, min_size=1, max_size=5), st.lists(RATIOS, min_size=2, max_size=2))
def test_every_visible_fault_is_seen_and_no_measured_run_is_an_alarm(faithful, faults):
    records = [
        record({NORM: {"row": r}, MLP: {"row": r / 2}}, seed=i) for i, r in enumerate(faithful)
    ]
    planted = [
        record({NORM: {"row": faults[0]}}, "rms-eps"),
        record({MLP: {"row": faults[1]}}, "no-gate"),
    ]
    found = rule.fit(records, planted, FAULTS)
    for name, largest in (("rms-eps", max(faithful)), ("no-gate", max(faithful) / 2)):
        margin = found.faults[name]
        assert margin.seen == (margin.ratio > margin.gate)
        if margin.ratio > rule.LEAST * largest and largest:
            assert margin.seen
    gates = rule.as_gates(found, "test")
    points = {
        name: Point(name, "text", Kind.FLOAT, name, role=r)
        for name, r in ((NORM, "rms_norm"), (MLP, "text_mlp"))
    }
    assert all(one.over(gates, points) == [] for one in records)


def test_distributions_say_what_was_seen_and_where():
    records = [
        record({NORM: {"row": [float(n) for n in range(10 * seed, 10 * seed + 10)]}}, seed=seed)
        for seed in range(10)
    ]
    fault = record({NORM: {"row": 50.0}, MLP: {"row": 7.0}}, "rms-eps")
    found = rule.fit(records, [fault], FAULTS).distributions["local"]["rms_norm"]["row"]
    assert (found.count, found.q50, found.largest) == (100, 49.5, 99.0)
    assert found.q90 == pytest.approx(89.1)
    assert found.at == f"{NORM}, one, seed 9"
    assert found.fault_largest == 50


def test_a_fault_that_a_dtype_is_known_to_hide_bounds_no_gate():
    faithful, fault = record({NORM: {"row": 4.0}}), record({NORM: {"row": 6.0}}, "rms-eps")
    known = {"rms-eps": rule.Planted(NORM, "an epsilon")}
    found = rule.fit([faithful], [fault], known)
    assert found.gates["local"]["rms_norm"]["row"] == 10
    assert (found.faults["rms-eps"].seen, found.faults["rms-eps"].why) == (False, "an epsilon")


def test_of_a_fault_that_is_not_caught_the_figure_in_which_it_stands_out_most_is_told():
    """Not the one nearest to its gate: that one would hide how far it does stand out."""
    faithful = record({NORM: {"whole": 1.0, "row": 0.4}})
    fault = record({NORM: {"whole": 1.2, "row": 0.9}}, "rms-eps")
    found = rule.fit([faithful], [fault], {"rms-eps": rule.Planted(NORM, "declared")})
    gates = found.gates["local"]["rms_norm"]
    assert 1.2 / gates["whole"] > 0.9 / gates["row"], "nearer to its gate"
    margin = found.faults["rms-eps"]
    assert (margin.figure, margin.ratio, margin.faithful, margin.seen) == ("row", 0.9, 0.4, False)


def test_a_fault_without_a_ratio_is_seen_if_its_point_fails_otherwise():
    faithful = record({NORM: {"whole": 4.0}})
    for wrong, ratio in (
        ((f"{NORM}: SHAPE, no",), math.inf),
        ((f"{NORM}.x: SHAPE, no",), 0),
        ((), 0),
    ):
        found = rule.fit([faithful], [record({}, "rms-eps", wrong=wrong)], FAULTS)
        margin = found.faults["rms-eps"]
        assert (margin.ratio, margin.seen) == (ratio, ratio > 0)


@pytest.mark.parametrize("ratio", [math.nan, math.inf])
def test_a_fault_without_a_number_is_seen(ratio):
    fault = record({NORM: {"row": [1.0, ratio]}}, "rms-eps")
    found = rule.fit([record({NORM: {"row": 1.0}})], [fault], FAULTS)
    assert found.faults["rms-eps"].seen


def test_an_alarm_is_a_ratio_over_its_gate_no_number_or_anything_else_that_is_wrong():
    points = {NORM: Point(NORM, "text", Kind.FLOAT, NORM, role="rms_norm")}
    gates = rule.as_gates(rule.fit([record({NORM: {"row": 4.0}})], [], FAULTS), "test")
    assert record({NORM: {"row": 10.0}}).over(gates, points) == []
    assert record({NORM: {"row": [1.0, 10.1]}}).over(gates, points) == [NORM]
    assert record({NORM: {"row": [math.nan, 1.0]}}).over(gates, points) == [NORM]
    assert record({NORM: {"row": [1.0, math.nan]}}).over(gates, points) == [NORM]
    assert record({}, wrong=["rope_deltas: GUILTY, 1 differs"]).over(gates, points) == [
        "rope_deltas"
    ]
