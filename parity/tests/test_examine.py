"""One value against its reference: what is looked at first, and what a person is told."""

import ml_dtypes
import numpy as np
import pytest

from parity.core.examine import Finding, brackets, describe, examine, missing
from parity.core.numerics import precision
from parity.core.points import Point
from parity.core.rows import Kind, Verdict
from parity.core.stats import Gate, Truth
from parity.core.store import ReferenceFiring
from parity.core.trace import Tap, Trace

GATE = Gate(whole=10, row=20, column=20, update=10)
FP32 = precision("fp32")
KEEP = np.arange(12) >= 4
"""The first four of twelve tokens are padding."""


def reference(kind=Kind.FLOAT):
    rng = np.random.default_rng(0)
    if kind is Kind.DISCRETE:
        return rng.integers(0, 100, (12, 16))
    return rng.standard_normal((12, 16)).astype(np.float32)


def found(value, kind=Kind.FLOAT, dtype=None, like=None, **options):
    """The finding on ``value``, where the reference is its own truth."""
    like = reference(kind) if like is None else like
    point = Point("a", "text", kind, "a")
    truth = Truth(like, np.broadcast_to(np.float32(0), like.shape), base=options.pop("base", None))
    tap = Tap(value, dtype or like.dtype.name)
    return examine(point, ReferenceFiring("", like.dtype.name), truth, tap, FP32, GATE, **options)


@pytest.mark.parametrize("kind", Kind)
def test_the_reference_itself_passes(kind):
    finding = found(reference(kind), kind)
    assert finding.verdict is Verdict.PASS
    assert finding.ok
    assert finding.message == ""
    equality = kind in (Kind.DISCRETE, Kind.EXACT)
    assert finding.mismatches == (0 if equality else None)
    assert (finding.comparison is None) is equality


@pytest.mark.parametrize("kind", Kind)
def test_one_wrong_value_fails(kind):
    wrong = reference(kind)
    wrong[5, 3] += 1
    finding = found(wrong, kind)
    assert finding.verdict is Verdict.GUILTY
    assert not finding.ok


def test_rounding_passes_as_a_float_and_not_as_an_exact_value():
    rounded = np.nextafter(reference(), np.float32(9))
    assert found(rounded).ok
    assert not found(rounded, Kind.EXACT).ok


def test_equality_counts_and_shows_the_first_difference():
    wrong = reference(Kind.DISCRETE)
    wrong[5, 3], wrong[11, 0] = 151655, -1
    finding = found(wrong, Kind.DISCRETE)
    assert finding.mismatches == 2
    before = reference(Kind.DISCRETE)[5, 3]
    assert finding.message == (
        f"2 of 192 values differ (1.04 %); first at [5, 3]: reference {before}, candidate 151655"
    )


@pytest.mark.parametrize("value", [np.array(True), np.array([True, False]), np.array(7)])
def test_masks_and_scalars_are_told_too(value):
    finding = found(np.logical_not(value) if value.dtype == bool else value + 1, Kind.DISCRETE,
                    like=value)  # fmt: skip
    assert finding.verdict is Verdict.GUILTY
    assert "first at [" in finding.message
    assert found(value, Kind.DISCRETE, like=value).ok


BAD = {"NaN": np.nan, "+inf": np.inf, "-inf": -np.inf}


@pytest.mark.parametrize("kind", BAD)
def test_what_is_not_finite(kind):
    wrong = reference()
    wrong[5, 3] = BAD[kind]
    finding = found(wrong)
    assert finding.verdict is Verdict.NONFINITE
    assert finding.message.startswith(
        "1 elements are NaN or infinite, and not so on both sides (reference: none; "
        f"candidate: 1 {kind}, first at [5, 3]). the relative error of "
    )
    assert finding.comparison.nonfinite == 1
    assert found(wrong, Kind.EXACT).verdict is Verdict.GUILTY


@pytest.mark.parametrize("there", BAD)
@pytest.mark.parametrize("here", BAD)
def test_what_the_reference_has_alike_is_not_the_candidates_fault(here, there):
    like, value = reference(), reference()
    like[5, 3], value[5, 3] = BAD[there], BAD[here]
    finding = found(value, like=like)
    assert finding.verdict is (Verdict.PASS if here == there else Verdict.NONFINITE)
    assert finding.comparison.reference_nonfinite.first == (5, 3)
    value[7, 7] += 1
    assert not found(value, like=like).ok


@pytest.mark.parametrize("kind", BAD)
def test_nothing_but_nan_on_both_sides_is_nothing_to_compare(kind):
    like = np.full((12, 16), BAD[kind], np.float32)
    finding = found(like, like=like)
    assert finding.verdict is Verdict.EMPTY
    held = f"192 {kind}, first at [0, 0]"
    assert finding.message == (
        f"there is no number in it to compare (reference: {held}; candidate: {held})"
    )


def test_shapes_are_looked_at_before_anything_else():
    """Values of another shape may broadcast, and may be of another dtype besides."""
    for shape in ((12, 1), (1, 12, 16), (192,), (16, 12), ()):
        finding = found(np.ones(shape, np.float16), dtype="float16")
        assert finding.verdict is Verdict.SHAPE
        assert finding.message == f"shape {brackets(shape)}, the reference's is [12, 16]"


def test_dtypes_are_compared_by_name():
    finding = found(reference(), dtype="float16")
    assert finding.verdict is Verdict.DTYPE
    assert finding.message == "dtype float16, the reference's is float32"
    assert finding.comparison is None


@pytest.mark.parametrize("kind", Kind)
def test_nothing_to_compare(kind):
    empty = np.zeros((0, 16), np.float32)
    assert found(empty, kind, like=empty).verdict is Verdict.EMPTY
    assert found(reference(kind), kind, keep=np.zeros(12, bool)).verdict is Verdict.EMPTY
    assert found(reference(kind), kind, keep=KEEP).verdict is Verdict.PASS


def test_padding_is_not_looked_at():
    wrong = reference()
    wrong[:4] = np.nan
    assert found(wrong, keep=KEEP).ok
    wrong[4, 0] += 1
    finding = found(wrong, keep=KEEP)
    assert finding.verdict is Verdict.GUILTY
    assert finding.comparison.row.index == 4


def test_an_update_hidden_by_a_large_residual_is_judged():
    rng = np.random.default_rng(1)
    base = (1e4 * rng.standard_normal((12, 16))).astype(np.float32)
    value = base + reference()
    wrong = base + np.float32(1.001) * reference()
    assert found(wrong, like=value).comparison.worst[1].ratio < 5
    finding = found(wrong, like=value, base=base, candidate_base=base)
    assert finding.verdict is Verdict.GUILTY
    assert finding.message.startswith("the relative error of the update is ")
    assert found(value, like=value, base=base, candidate_base=base).ok


def test_the_message_names_the_worst_slice_and_the_largest_difference():
    wrong = reference()
    wrong[7] *= np.float32(1.001)
    row = found(wrong)
    assert row.message == describe(row.comparison)
    assert row.message.startswith("the relative error of token 7 is 0.001, ")
    assert "(gate 20); the largest difference is " in row.message
    assert f"at {brackets(row.comparison.max_index)}: reference " in row.message
    wrong = reference()
    wrong[:, 9] *= np.float32(1.001)
    assert found(wrong).message.startswith("the relative error of channel 9 is ")
    assert found(np.float32(1.001) * reference()).message.startswith("the relative error of ")
    assert "of the tensor is " in found(np.array([2.0]), like=np.array([1.0])).message


def test_what_is_missing_says_why():
    point = Point("a.b", "text", Kind.FLOAT, "a")
    trace = Trace(taps={"a.b": [Tap(np.zeros(1), "float32")]})
    absent = missing(trace, point, 2)
    assert (absent.verdict, absent.stopped) == (Verdict.MISSING, False)
    assert absent.message == "it occurred 1 times, the reference's 2 times"
    trace.stopped = "ValueError: no"
    stopped = missing(trace, point, 2)
    assert (stopped.verdict, stopped.stopped) == (Verdict.MISSING, True)
    assert stopped.message == "not reached, the candidate stopped with ValueError: no"
    trace.untapped = {"a": "compiled"}
    assert missing(trace, point, 2).message == "compiled"
    trace.untapped = {"a.b": "the point's name is not its module's"}
    assert missing(trace, point, 2) == stopped


@pytest.mark.parametrize(
    ("values", "text"), [((), "[]"), ((3,), "[3]"), ((2, np.int64(3)), "[2, 3]")]
)
def test_brackets(values, text):
    assert brackets(values) == text


def test_the_worse_of_two_findings():
    right, wrong = found(reference()), found(reference() + np.float32(1e-3))
    worst = found(reference() + np.float32(1))
    bare = Finding(Verdict.SHAPE, "shape")
    assert right.worse(wrong) is wrong
    assert wrong.worse(right) is wrong
    assert right.worse(bare) is bare
    assert bare.worse(right) is bare
    assert wrong.worse(worst) is worst
    assert worst.worse(wrong) is worst
    assert bare.worse(wrong) is wrong
    assert wrong.worse(bare) is wrong
    assert Finding(Verdict.PASS).worse(right) is right
    assert right.worse(Finding(Verdict.PASS)) is right


def test_what_is_not_a_number_is_worse_than_any_ratio():
    value = reference()
    value[0, 0] = np.nan
    unusable, worst = found(value), found(reference() + np.float32(1e30))
    assert worst.worse(unusable) is unusable
    assert unusable.worse(worst) is unusable


def bf16(values):
    """Values rounded to bfloat16, as float32."""
    return np.asarray(values).astype(ml_dtypes.bfloat16).astype(np.float32)


def judged_in_bf16(value, like, dtype, kind):
    point, truth = Point("a", "text", kind, "a"), Truth(like, np.zeros_like(like))
    recorded, tap = ReferenceFiring("", dtype), Tap(value, dtype)
    return examine(point, recorded, truth, tap, precision("bf16"), GATE)


def test_a_float_in_bf16_is_held_to_bf16():
    like = bf16(reference())
    near = bf16(like * (1 + 2.0**-8))
    assert not np.array_equal(near, like)
    assert judged_in_bf16(near, like, "bfloat16", Kind.FLOAT).ok
    assert not judged_in_bf16(like * np.float32(1.2), like, "bfloat16", Kind.FLOAT).ok


def test_a_table_that_stays_float32_is_held_to_float32_in_a_run_in_bf16():
    """Else a table computed in bfloat16 and widened again would pass."""
    like = np.cos(np.arange(192, dtype=np.float32)).reshape(12, 16)
    assert judged_in_bf16(np.nextafter(like, 2), like, "float32", Kind.TABLE).ok
    assert not judged_in_bf16(bf16(like), like, "float32", Kind.TABLE).ok


@pytest.mark.parametrize("name", ["fp16", "bf16", "ascend-mixed"])
def test_another_dtype_than_the_references_is_told(name):
    like = bf16(reference())
    dtype = precision(name).torch
    point, truth = Point("a", "text", Kind.FLOAT, "a"), Truth(like, np.zeros_like(like))
    for wrong in {"float32", "float16", "bfloat16"} - {dtype}:
        finding = examine(
            point, ReferenceFiring("", dtype), truth, Tap(like, wrong), precision(name), GATE
        )
        assert finding.verdict is Verdict.DTYPE
        assert wrong in finding.message
        assert dtype in finding.message
