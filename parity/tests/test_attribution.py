"""Who is charged and who only suffers, on a toy model whose traces show one damage each."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parity.core.rows import Verdict
from parity.core.trace import Trace
from parity.tests.toy_model import (
    ATTN,
    GRID,
    KEYS,
    MODEL,
    PIXELS,
    QKV,
    SCHEDULE,
    Run,
    spoil,
    spoil_from,
    stop,
    write,
)

MLP, FC, BLOCK = "blocks.0.mlp", "blocks.0.mlp.fc", "blocks.0"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return write(tmp_path_factory.mktemp("toy") / "bundle")


@pytest.fixture
def run(bundle):
    return Run(bundle)


def wrong(x):
    return x + 1


def after(key):
    """How many firings follow one."""
    return len(KEYS) - KEYS.index(key) - 1


def test_everything_after_a_guilty_point_is_its_victim(run):
    spoil(run.forced, QKV)
    spoil_from(run.free, QKV)
    rows = run.judge()
    assert rows.blamed == {(QKV, 0): Verdict.GUILTY}
    assert rows.causes == {QKV: after((QKV, 0))}
    victim = rows[(ATTN, 0)]
    assert victim.message.startswith(f"right on clean inputs; explained by {QKV}. ")
    assert victim.local.ok
    assert not victim.end_to_end.ok


def test_what_is_right_end_to_end_is_nobodys_victim(run):
    spoil(run.forced, QKV)
    spoil(run.free, "head")
    rows = run.judge()
    assert rows.victims == {("head", 0)}
    assert rows.causes == {QKV: 1}


def test_two_guilty_points_are_both_named(run):
    spoil(run.forced, QKV)
    spoil(run.forced, "head")
    spoil_from(run.free, QKV)
    rows = run.judge()
    assert rows.blamed == {(QKV, 0): Verdict.GUILTY, ("head", 0): Verdict.GUILTY}
    assert set(rows.causes) == {QKV}


def test_wrong_preprocessing_explains_everything_after_it(run):
    spoil_from(run.free, PIXELS)
    rows = run.judge()
    assert rows.blamed == {(PIXELS, 0): Verdict.GUILTY}
    assert rows.causes == {PIXELS: after((PIXELS, 0))}


CHARGED = [
    (MLP, BLOCK), (FC, MLP), (QKV, ATTN), ("blocks.0.norm", BLOCK), ("blocks.1", "blocks.1"),
    ("head", "head"),
]  # fmt: skip


@pytest.mark.parametrize(("child", "parent"), CHARGED)
@pytest.mark.parametrize("index", [0, 1])
def test_what_reaches_a_module_is_charged_to_the_code_around_it(run, child, parent, index):
    run.arrive(child, index)
    assert run.judge().blamed == {}
    run.arrive(child, index, wrong)
    rows = run.judge()
    assert rows.blamed == {(parent, index): Verdict.GUILTY}
    assert rows[(parent, index)].message.startswith(f"at the input of {child}: ")


def test_a_module_that_is_no_point_is_passed_over(run):
    run.arrive(FC, change=wrong)
    rows = run.judge([firing for firing in SCHEDULE if firing.point.name != MLP])
    assert rows.blamed == {(BLOCK, 0): Verdict.GUILTY}


def test_a_module_at_fault_explains_what_is_inside_it_and_after_it(run):
    """What is inside finishes before the module it is in, and still is only a victim."""
    run.arrive(MLP, change=wrong)
    spoil_from(run.free, FC)
    rows = run.judge()
    assert rows.blamed == {(BLOCK, 0): Verdict.GUILTY}
    assert rows.causes == {BLOCK: after((FC, 0))}
    assert {(FC, 0), (MLP, 0), ("head", 1)} <= rows.victims
    assert rows[(ATTN, 0)].verdict is Verdict.PASS
    run.forced.arrivals.clear()
    assert run.judge().blamed == {(FC, 0): Verdict.DRIFT}


def test_the_smallest_module_around_it_is_the_cause(run):
    run.arrive(QKV, change=wrong)
    run.arrive(MLP, change=wrong)
    spoil(run.free, QKV)
    spoil(run.free, FC)
    rows = run.judge()
    assert (rows[(QKV, 0)].cause, rows[(FC, 0)].cause) == (ATTN, BLOCK)
    assert rows.blamed == {(ATTN, 0): Verdict.GUILTY, (BLOCK, 0): Verdict.GUILTY}


def test_a_module_at_fault_in_a_later_step_explains_nothing_in_the_prompt(run):
    run.arrive(MLP, 1, wrong)
    spoil(run.free, FC, 0)
    rows = run.judge()
    assert rows.blamed == {(FC, 0): Verdict.DRIFT, (BLOCK, 1): Verdict.GUILTY}


def test_what_arrives_in_another_shape(run):
    run.arrive(MLP, change=lambda x: x[:1])
    assert run.judge().blamed == {(BLOCK, 0): Verdict.SHAPE}


def test_what_arrives_in_another_dtype_shows_where_it_was_computed(run):
    run.arrive(MLP, dtype="float16")
    assert run.judge().blamed == {}


def test_the_worse_of_a_module_and_what_reaches_its_parts_is_told(run):
    spoil(run.forced, BLOCK, change=lambda x: x + np.float32(1e-3))
    run.arrive(MLP, change=lambda x: x + 1000)
    assert "at the input of" in run.judge()[(BLOCK, 0)].message
    run.arrive(MLP, change=lambda x: x + np.float32(1e-5))
    assert "at the input of" not in run.judge()[(BLOCK, 0)].message


def test_right_on_clean_inputs_and_wrong_end_to_end_is_drift_once(run):
    spoil_from(run.free, ATTN)
    rows = run.judge()
    assert rows.blamed == {(ATTN, 0): Verdict.DRIFT}
    assert rows.causes == {ATTN: after((ATTN, 0))}
    assert rows[(ATTN, 0)].message.startswith("right on clean inputs, none before it guilty")


def test_a_guilty_point_before_it_makes_drift_a_victim(run):
    spoil_from(run.free, ATTN)
    spoil(run.forced, "embed")
    rows = run.judge()
    assert rows.blamed == {("embed", 0): Verdict.GUILTY}
    assert set(rows.causes) == {"embed"}


def test_a_guilty_point_after_drift_is_still_guilty(run):
    spoil_from(run.free, ATTN)
    spoil(run.forced, "head")
    assert run.judge().blamed == {(ATTN, 0): Verdict.DRIFT, ("head", 0): Verdict.GUILTY}


@pytest.mark.parametrize("start", [("embed", 0), (ATTN, 0), ("blocks.1", 0), ("head", 1)])
@pytest.mark.parametrize("which", ["free", "forced", "both"])
def test_an_execution_that_stops_is_missing_once(run, start, which):
    for name in ("free", "forced"):
        if which in (name, "both"):
            stop(getattr(run, name), start)
    rows = run.judge()
    assert rows.blamed == {start: Verdict.MISSING}
    assert rows[start].message == "not reached, the candidate stopped with ValueError: no"
    assert rows.causes == ({start[0]: after(start)} if after(start) else {})


def test_a_stop_on_clean_values_is_a_fault_of_its_own(run):
    """What came before handed on the reference's values, so it cannot have caused the stop."""
    spoil(run.forced, "embed")
    for trace in (run.free, run.forced):
        stop(trace, (ATTN, 0))
    rows = run.judge()
    assert rows.blamed == {("embed", 0): Verdict.GUILTY, (ATTN, 0): Verdict.MISSING}
    assert rows.causes == {ATTN: after((ATTN, 0))}


@pytest.mark.parametrize("name", ["ghost", "processor.ghost"])
def test_what_the_reference_has_nothing_of_is_extra(run, name):
    run.free.record(name, np.ones(3, np.float32), "float32")
    assert run.judge().blamed == {(name, 0): Verdict.EXTRA}


@pytest.mark.parametrize("traces", [("free",), ("forced",), ("free", "forced")])
def test_a_point_that_occurs_too_often_is_extra_whatever_is_selected(run, traces):
    for trace in traces:
        getattr(run, trace).taps[ATTN].append(getattr(run, trace).taps[ATTN][0])
    assert run.judge().blamed == {(ATTN, 1): Verdict.EXTRA}
    prompt = [firing for firing in SCHEDULE if firing.index == 0]
    assert run.judge(prompt).blamed == {(ATTN, 0): Verdict.EXTRA}


def test_what_is_missing_without_a_stop_explains_nothing_that_is_missing(run):
    for trace in (run.free, run.forced):
        for name in (ATTN, "head"):
            trace.taps[name].pop()
    assert run.judge().blamed == {(ATTN, 1): Verdict.MISSING, ("head", 1): Verdict.MISSING}


def test_a_processor_that_raises_is_missing_once(run):
    run.free = Trace(stopped="OSError: no such image")
    rows = run.judge()
    assert rows.blamed == {(GRID, 0): Verdict.MISSING}
    assert rows.causes == {GRID: after((GRID, 0))}
    assert "OSError: no such image" in rows[(GRID, 0)].message


CHANGES = {
    "sign": lambda x: -x - 1,
    "scale": lambda x: (x * 1.01 + 1).astype(x.dtype),
    "swap": lambda x: x[::-1, ..., ::-1] + 1,
    "zero": np.zeros_like,
    "one value": lambda x: x + (np.arange(x.size) == x.size - 1).reshape(x.shape),
}
TARGETS = [(point.name, index) for index in (0, 1) for point in MODEL]


@settings(deadline=None, max_examples=40)
@given(
    target=st.sampled_from(TARGETS),
    change=st.sampled_from(sorted(CHANGES)),
    followers=st.sets(st.sampled_from(TARGETS)),
)
def test_the_one_damaged_point_is_always_blamed(bundle, target, change, followers):
    """However it is damaged, and whatever is wrong after it end to end."""
    run = Run(bundle)
    spoil(run.forced, *target, CHANGES[change])
    suffering = {key for key in followers if KEYS.index(key) > KEYS.index(target)}
    for name, index in suffering:
        spoil(run.free, name, index)
    rows = run.judge()
    assert rows.blamed == {target: Verdict.GUILTY}
    assert rows.victims >= suffering
    assert set(rows.causes) <= {target[0]}


@settings(deadline=None, max_examples=15)
@given(target=st.sampled_from([key for key in TARGETS if key[0] not in ("ids", "rotary.cos")]))
def test_the_module_around_a_wrong_arrival_is_always_blamed(bundle, target):
    run = Run(bundle)
    run.arrive(*target, wrong)
    name, index = target
    inside = name.startswith("blocks.") and name.count(".") > 1
    around = name.rpartition(".")[0] if inside else name
    assert run.judge().blamed == {(around, index): Verdict.GUILTY}
