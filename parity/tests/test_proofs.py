"""The proofs a run makes of itself: each holds for a sound run, and a planted defect breaks it."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from parity.core.numerics import precision
from parity.core.rows import GRAPH, PYNATIVE, Verdict
from parity.core.store import tensor_name
from parity.core.trace import Trace
from parity.core.verdict import Evidence, judge
from parity.proofs import (
    inputs_agree,
    looking_changes_nothing,
    record_unchanged,
    reference_against_itself,
)
from parity.session import Session
from parity.settings import Settings
from parity.tests.toy_model import GATES, GRID, PADDING, PIXELS, SCHEDULE, Run, value, write

ROOT = Path(__file__).parent.parent.parent
LEVELS = ("module", "block")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return write(tmp_path_factory.mktemp("toy") / "bundle")


@pytest.fixture
def fresh(tmp_path):
    """A bundle of its own, to be spoiled."""
    return write(tmp_path / "bundle")


def evidence(bundle, level="module"):
    run = Run(bundle)
    fed = {
        name.removeprefix("processor."): [found[0].value]
        for name, found in bundle.points.items()
        if name.startswith("processor.")
    }
    run.free.fed, run.forced.fed = dict(fed), dict(fed)
    return Evidence("toy", precision("fp32"), GATES, bundle, run.free, run.forced, level, PADDING)


def rows(found):
    return judge(SCHEDULE, found)


@pytest.mark.parametrize("level", LEVELS)
def test_a_sound_run_proves_itself(bundle, level):
    sound = evidence(bundle, level)
    assert not [*inputs_agree(sound, rows(sound))]
    assert not [*record_unchanged(SCHEDULE, sound)]
    assert not [*reference_against_itself(SCHEDULE, sound)]
    assert not [*reference_against_itself(SCHEDULE, replace(sound, padding=None))]


def test_a_reference_that_is_exact_is_its_own_equal(tmp_path):
    none = dict.fromkeys(("local", "local_block", "arrival", "end_to_end"), 0.0)
    assert not [*reference_against_itself(SCHEDULE, evidence(write(tmp_path / "exact", **none)))]


def spoilt_comparison(change):
    """`compare` as it is, with something changed in what it finds."""
    from parity.core import examine

    original = examine.compare

    def compare(*arguments, **options):
        return change(original(*arguments, **options))

    return compare


DEFECTS = {
    "a difference where there is none": lambda c: replace(c, max_abs=1e-12),
    "a ratio a little off": lambda c: replace(
        c, whole=replace(c.whole, ratio=c.whole.ratio * (1 + 1e-6))
    ),
    "a floor under the own error": lambda c: replace(
        c, row=c.row and replace(c.row, floor=c.row.floor / 2, ratio=c.row.ratio * 2)
    ),
    "a NaN": lambda c: replace(c, whole=replace(c.whole, ratio=float("nan"))),
    "an error that leaves something out": lambda c: replace(
        c, whole=replace(c.whole, error=c.whole.error / 2, ratio=c.whole.ratio / 2)
    ),
    "a reading of the same as nothing finite": lambda c: replace(c, nonfinite=1),
}


@pytest.mark.parametrize("name", DEFECTS)
def test_a_broken_comparison_is_found(bundle, monkeypatch, name):
    from parity.core import examine

    monkeypatch.setattr(examine, "compare", spoilt_comparison(DEFECTS[name]))
    sound = replace(evidence(bundle), padding=None)
    found = [*reference_against_itself(SCHEDULE, sound)]
    assert found
    assert "the reference compared with itself at " in found[0]


@pytest.mark.parametrize("role", ["value", "local", "arrival", "end_to_end", "inputs"])
def test_a_reference_tampered_with_in_memory_is_found(fresh, role):
    recorded = fresh.points["blocks.0.attn"][1]
    name = recorded.inputs["*"] if role == "inputs" else getattr(recorded, role)
    fresh.tensor(name).reshape(-1).view(np.uint32)[7] ^= 1
    found = [*record_unchanged(SCHEDULE, evidence(fresh))]
    assert len(found) == 1
    assert "record of blocks.0.attn" in found[0]
    assert "in place" in found[0]


def test_a_narrow_reference_tampered_with_is_found(tmp_path):
    from parity.core.store import Bundle, BundleWriter, ReferenceFiring

    writer = BundleWriter({"toy": 1})
    name = writer.add(np.ones((2, 3), np.float32), "bfloat16")
    writer.points["head"] = [ReferenceFiring(name, "bfloat16")]
    writer.write(tmp_path / "narrow")
    opened = Bundle.open(tmp_path / "narrow")
    only = [firing for firing in SCHEDULE if firing.point.name == "head"][:1]
    sound = Evidence("toy", precision("bf16"), GATES, opened, Trace(), Trace())
    assert not [*record_unchanged(only, sound)]
    for bad in (2.0, 1.0000001):  # another bfloat16 value, and none at all
        opened.tensor(name)[1, 2] = bad
        assert len([*record_unchanged(only, sound)]) == 1


def flipped(array):
    """One bit of one number changed."""
    other = np.array(array)
    other.reshape(-1).view(np.uint8)[3] ^= 1
    return tensor_name(other, None)


def test_a_forced_run_fed_one_other_bit_is_found(bundle):
    spoilt = evidence(bundle)
    spoilt.forced.fed["pixels"] = [flipped(value(bundle, PIXELS))]
    (found,) = inputs_agree(spoilt, rows(spoilt))
    assert "the forced run was not fed the reference's pixels" in found


@pytest.mark.parametrize("which", ["forced", "free"])
def test_a_run_that_does_not_say_what_it_was_fed_is_found(bundle, which):
    spoilt = evidence(bundle)
    getattr(spoilt, which).fed.clear()
    assert len([*inputs_agree(spoilt, rows(spoilt))]) == 2


def test_every_call_has_to_be_fed(fresh):
    """A second call that was left out is found, unless the run stopped before it."""
    firings = fresh.points[PIXELS]
    firings.append(fresh.points[GRID][0])
    spoilt = evidence(fresh)
    assert len([*inputs_agree(spoilt, rows(spoilt))]) == 2
    for run in (spoilt.free, spoilt.forced):
        run.stopped = "ValueError: no"
    assert not [*inputs_agree(spoilt, rows(spoilt))]
    for run in (spoilt.free, spoilt.forced):
        run.stopped, run.fed["pixels"] = None, [firing.value for firing in firings]
    assert not [*inputs_agree(spoilt, rows(spoilt))]


def test_a_free_run_fed_a_negative_zero_is_found(fresh):
    """It equals zero, so that no point would tell."""
    spoilt = evidence(fresh)
    pixels = np.array(value(fresh, PIXELS))
    pixels[0, 0] = -0.0
    spoilt.free.fed["pixels"] = [tensor_name(pixels, None)]
    assert "the free run" in next(inputs_agree(spoilt, rows(spoilt)))


def test_a_wrong_processor_is_a_verdict_and_no_failed_proof(bundle):
    spoilt = evidence(bundle)
    tap = spoilt.free.taps[PIXELS][0]
    spoilt.free.taps[PIXELS][0] = replace(tap, value=tap.value + 1)
    spoilt.free.fed["pixels"] = ["something else"]
    judged = rows(spoilt)
    assert next(row for row in judged if row.point == PIXELS).verdict is Verdict.GUILTY
    assert not [*inputs_agree(spoilt, judged)]


def trace(*results, stopped=None):
    return Trace(results=list(results), stopped=stopped)


def proof(free, *repeats):
    runs = iter(repeats)
    return [*looking_changes_nothing(free, lambda: next(runs))]


def test_a_candidate_that_repeats_itself_is_run_once_more():
    assert proof(trace("a", "b"), trace("a", "b")) == []
    assert proof(trace(stopped="no"), trace(stopped="no")) == []


@pytest.mark.parametrize(
    "free",
    [trace("a", "c"), trace("a"), trace("a", "b", "c"), trace("a", "b", stopped="no")],
)
def test_hooks_that_change_a_result_are_found(free):
    (found,) = proof(free, trace("a", "b"), trace("a", "b"))
    assert found.startswith("looking at the candidate changes it")


def test_a_candidate_that_does_not_repeat_itself_is_found():
    (found,) = proof(trace("a", "b"), trace("a", "c"), trace("a", "d"))
    assert found.startswith("the candidate does not repeat itself: result 2 of 2")


def test_a_run_without_results_proves_nothing():
    (found,) = proof(trace(), trace())
    assert "left no results" in found


def proven(**planted):
    session = Session(Settings(cases=("text-only",)), prove=True, **planted)
    found = session.run(session.cases[0], "fp32")
    return session, found


def test_the_real_port_proves_itself():
    session, found = proven()
    assert session.invalid == []
    assert {row.verdict for row in found} == {Verdict.PASS}


def test_a_hook_that_changes_a_value_makes_the_run_invalid(monkeypatch):
    from parity.adapters import mindspore_candidate as adapter

    def hand_on(self, points, indices, output):
        return output * 1.0000002 if points[0].name == "lm_head" else output

    monkeypatch.setattr(adapter.Recording, "hand_on", hand_on)
    session, _ = proven()
    (found,) = session.invalid
    assert found.startswith("text-only fp32: looking at the candidate changes it: result 1 of 1")


def test_a_reference_that_was_not_proven_makes_the_run_invalid(monkeypatch):
    from parity.core.store import Proof
    from parity.references import References

    opened = References.open

    def unproven(self, case, dtype):
        bundle = opened(self, case, dtype)
        assert [proof.holds for proof in bundle.proofs] == [True, True]
        bundle.proofs[1] = Proof("two runs agree", False, "2 of 9 logits differ")
        return bundle

    monkeypatch.setattr(References, "open", unproven)
    session, rows_ = proven()
    (found,) = session.invalid
    assert "at capture this did not hold: two runs agree (2 of 9 logits differ)" in found
    assert all(row.verdict is Verdict.PASS for row in rows_)


def test_randomness_makes_the_run_invalid(monkeypatch):
    from qwen2vl_ms import text

    original, rng = text.Qwen2MLP.construct, np.random.default_rng(0)

    def noisy(self, x):
        return original(self, x) * float(1 + 1e-3 * rng.random())

    monkeypatch.setattr(text.Qwen2MLP, "construct", noisy)
    session, _ = proven()
    assert any("does not repeat itself" in line for line in session.invalid)


def test_a_flipped_bit_in_what_is_fed_makes_the_run_invalid(monkeypatch):
    from parity.adapters import mindspore_candidate as adapter

    original = adapter.MindSporeCandidate._execute

    def execute(self, inputs, *rest):
        inputs = dict(inputs)
        if isinstance(rest[-1], adapter.Forcing):
            inputs["attention_mask"] = inputs["attention_mask"].copy()
            inputs["attention_mask"].view(np.uint8)[0, 0] ^= 2
        return original(self, inputs, *rest)

    monkeypatch.setattr(adapter.MindSporeCandidate, "_execute", execute)
    session, _ = proven()
    assert [line for line in session.invalid if "reference's attention_mask" in line]


def test_a_record_changed_during_the_run_makes_it_invalid(monkeypatch):
    from parity.adapters import mindspore_candidate as adapter

    original = adapter.MindSporeCandidate.forced

    def forced(self, bundle, points, stages):
        trace = original(self, bundle, points, stages)
        bundle.tensor(bundle.points["lm_head"][0].value)[0, 0, 0] += 1e-6
        return trace

    monkeypatch.setattr(adapter.MindSporeCandidate, "forced", forced)
    session, _ = proven()
    assert any("record of lm_head (value) was changed" in line for line in session.invalid)


def test_the_run_is_repeated_on_the_smallest_selected_case_only(monkeypatch):
    session = Session(Settings(cases=("single-image", "text-only")), prove=True)
    session.references.capture([(case, "fp32") for case in session.cases])
    assert session.proven_on("fp32", PYNATIVE) == "text-only"
    session.selected = {("single-image", "fp32", PYNATIVE)}
    assert session.proven_on("fp32", PYNATIVE) == "single-image"
    assert session.proven_on("fp32", GRAPH) is None
    assert session.proven_on("bf16", PYNATIVE) is None


def test_an_invalid_run_exits_with_status_two_and_says_so(tmp_path):
    odd = ("--candidate", "parity.tests.odd_candidates:Unsteady", "--case", "text-only")
    report = tmp_path / "report"
    for command in (("parity", "run"), ("pytest", "parity/suites", "-k", "head", "-n", "2")):
        done = subprocess.run(
            [sys.executable, "-m", *command, *odd, "--report", str(report)],
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 2, done.stdout
        assert "parity INVALID: 1 proof of the run itself failed" in done.stdout
        assert "the candidate does not repeat itself" in " ".join(done.stdout.split())
    assert json.loads((report / "rows.json").read_text())["invalid"]
