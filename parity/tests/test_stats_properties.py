"""What holds of any comparison: of values of every kind, of any shape, wherever a fault sits."""

import math

import ml_dtypes
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from parity.core import blocks
from parity.core.numerics import FORMATS
from parity.core.onepass import ATOL
from parity.core.stats import Gate, Truth, compare

GATE = Gate(whole=10, row=20, column=20, update=10)
TYPES = {"float32": np.float32, "float16": np.float16, "bfloat16": ml_dtypes.bfloat16}
BITS = {"float32": np.uint32, "float16": np.uint16, "bfloat16": np.uint16}
KINDS = {"finite": 1.5, "nan": math.nan, "plus_inf": math.inf, "minus_inf": -math.inf}
formats = st.sampled_from(list(FORMATS))
kinds = st.sampled_from(list(KINDS))
shapes = hnp.array_shapes(min_dims=0, max_dims=4, min_side=1, max_side=7)
seeds = st.integers(0, 10**6)


def values(shape, name="float32", seed=0):
    """Normally distributed values of a dtype, as float32; never 0."""
    drawn = np.random.default_rng(seed).standard_normal(shape)
    return np.asarray(np.where(drawn == 0, 1, drawn)).astype(TYPES[name]).astype(np.float32)


def judged(candidate, reference, name="float32", residual=None, **options):
    return compare(candidate, Truth(reference, residual), FORMATS[name], GATE, **options)


def at(array, index, value):
    """A copy with one value, counted over the flattened array, replaced."""
    changed = array.copy()
    changed.reshape(-1)[index] = value
    return changed


@pytest.fixture(autouse=True, scope="module")
def small_blocks():
    """Blocks so small that most tensors here are cut into several."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "PIECE", 11)
        patch.setattr(blocks, "PIECES", 2)
        yield


@settings(max_examples=60, deadline=None)
@given(shapes, seeds, formats)
def test_a_tensor_is_equal_to_itself(shape, seed, name):
    same = values(shape, name, seed)
    found = judged(same, same, name)
    assert found.ok
    assert (found.max_abs, found.max_ulp, found.max_relative, found.rtol) == (0, 0, 0, 0)
    assert found.cosine == pytest.approx(1, abs=1e-12)
    assert found.compared == same.size
    assert found.standards.dual_l2
    assert found.standards.open_operator


@settings(max_examples=60, deadline=None)
@given(shapes, seeds, formats, seeds, st.sampled_from([math.nan, math.inf, -math.inf, 3e38, -1e9]))
def test_one_wrong_value_is_found_wherever_it_is(shape, seed, name, where, wrong):
    reference = values(shape, name, seed)
    index = where % reference.size
    found = judged(at(reference, index, wrong), reference, name)
    assert not found.ok
    expected = np.unravel_index(index, shape) if shape else (0,)
    assert found.max_index == tuple(int(i) for i in expected)
    assert found.nonfinite == (not math.isfinite(wrong))
    assert not found.standards.dual_l1
    assert not found.standards.open_operator


@settings(max_examples=60, deadline=None)
@given(shapes, seeds, kinds, kinds, seeds, st.booleans())
def test_what_is_not_finite_is_told_apart(shape, seed, here, there, where, with_residual):
    """Plus infinity is not minus infinity, NaN is neither, and none of them is a number."""
    reference = values(shape, seed=seed)
    assume(reference.size > 1)
    index = where % reference.size
    like, value = at(reference, index, KINDS[there]), at(reference, index, KINDS[here])
    truth = 0 if there == "finite" else -KINDS[there]
    residual = at(np.zeros_like(like), index, truth) if with_residual else None
    found = judged(value, like, residual=residual)
    alike = here == there
    assert found.nonfinite == (not alike)
    assert found.compared == value.size - (alike and here != "finite")
    expected = tuple(int(i) for i in np.unravel_index(index, shape))
    for side, kind in ((found.candidate_nonfinite, here), (found.reference_nonfinite, there)):
        if kind == "finite":
            assert side is None
        else:
            counts = {name: getattr(side, name) for name in KINDS if name != "finite"}
            assert counts == {name: int(name == kind) for name in counts}
            assert side.first == expected
    assert found.ok is alike
    if not alike:
        assert found.rtol == math.inf
        assert not found.whole.ok


@settings(max_examples=60, deadline=None)
@given(
    hnp.arrays(np.int8, (6, 9), elements=st.integers(0, 3)),
    hnp.arrays(np.int8, (6, 9), elements=st.integers(0, 3)), seeds,
)  # fmt: skip
def test_every_kind_is_counted_on_both_sides(here, there, seed):
    candidate = np.choose(here, list(KINDS.values())).astype(np.float32)
    reference = np.choose(there, list(KINDS.values())).astype(np.float32)
    found = judged(candidate, reference)
    for drawn, side in ((here, found.candidate_nonfinite), (there, found.reference_nonfinite)):
        expected = np.bincount(drawn.ravel(), minlength=4)[1:]
        if side is None:
            assert not expected.any()
        else:
            assert [side.nan, side.plus_inf, side.minus_inf] == list(expected)
            assert side.first == tuple(np.argwhere(drawn)[0])
    assert found.nonfinite == np.count_nonzero(here != there)
    assert found.compared == np.count_nonzero((here != there) | (here == 0))
    assert found.ok is bool(np.array_equal(here, there) and np.any(here == 0))


@pytest.mark.parametrize("kind", ["nan", "plus_inf", "minus_inf"])
@pytest.mark.parametrize("shape", [(), (1,), (3, 40)], ids=str)
def test_nothing_but_nan_does_not_pass(kind, shape):
    bad = np.full(shape, KINDS[kind], np.float32)
    found = judged(bad, bad)
    assert not found.ok
    assert (found.compared, found.nonfinite) == (0, 0)
    assert not judged(values(shape), bad).ok
    assert not judged(bad, values(shape)).ok


@settings(max_examples=60, deadline=None)
@given(seeds, formats, st.lists(st.integers(0, 59), min_size=1, max_size=20, unique=True))
def test_what_is_alike_and_not_finite_changes_no_other_figure(seed, name, where):
    """As if both sides held zeros there."""
    reference, candidate = values((6, 10), name, seed), values((6, 10), name, seed + 1)
    residual = values((6, 10), seed=seed + 2) * np.float32(1e-3)
    bad = np.resize([math.nan, math.inf, -math.inf], len(where))
    infinite = judged(
        at(candidate, where, bad), at(reference, where, bad), name, at(residual, where, bad)
    )
    zero = judged(at(candidate, where, 0), at(reference, where, 0), name, at(residual, where, 0))
    for figure in ("max_abs", "max_relative", "max_ulp", "rtol"):
        assert getattr(infinite, figure) == pytest.approx(getattr(zero, figure), rel=1e-5)
    for figure in ("whole", "row"):
        one, other = getattr(infinite, figure), getattr(zero, figure)
        assert (one.ratio, one.error, one.index) == (other.ratio, other.error, other.index)
    assert infinite.mean_ulp * infinite.compared == pytest.approx(zero.mean_ulp * 60, rel=1e-5)


def steps(bits, name):
    """Numbers from their bit patterns, as float32."""
    return np.asarray(bits, BITS[name]).view(TYPES[name]).astype(np.float32)


@settings(max_examples=300, deadline=None)
@given(formats, st.data())
def test_ulps_count_the_representable_numbers_between_two(name, data):
    """Within one binade, or below the normal range, they are steps from one pattern to another."""
    mantissa = FORMATS[name].mantissa - 1
    last = (int(np.array(FORMATS[name].largest, TYPES[name]).view(BITS[name]))) >> mantissa
    binade = data.draw(st.integers(0, last))
    inside = st.integers(0, 2**mantissa - 1)
    one, other = ((binade << mantissa) + data.draw(inside) for _ in range(2))
    sign = data.draw(st.sampled_from([1, -1]))
    reference, candidate = (steps([bits], name) * np.float32(sign) for bits in (one, other))
    found = judged(candidate, reference, name)
    assert found.max_ulp == found.mean_ulp == abs(one - other)
    if one != other:
        assert judged(-candidate, reference, name).max_ulp >= found.max_ulp


@pytest.mark.parametrize("name", FORMATS)
def test_ulps_are_counted_in_the_references_spacing(name):
    """From a power of two, the number below is half a spacing away; from there, a whole one."""
    power = int(np.array(1, TYPES[name]).view(BITS[name]))
    at_power, below = steps([power], name), steps([power - 1], name)
    assert judged(below, at_power, name).max_ulp == 0.5
    assert judged(at_power, below, name).max_ulp == 1
    zero, least = steps([0], name), steps([1], name)
    assert judged(least, zero, name).max_ulp == 1
    assert judged(np.float32([1]), zero, name).max_ulp == 1 / float(least[0])


@settings(max_examples=60, deadline=None)
@given(seeds, seeds)
def test_rows_in_another_order_are_found_unless_both_sides_have_it(seed, other):
    truth = values((12, 33), seed=seed)
    reference = truth + np.float32(1e-6) * values((12, 33), seed=seed + 1)
    candidate = truth + np.float32(2e-6) * values((12, 33), seed=seed + 2)
    residual = truth - reference
    order = np.random.default_rng(other).permutation(12)
    before = judged(candidate, reference, residual=residual)
    after = judged(candidate[order], reference[order], residual=residual[order])
    assert before.ok is after.ok
    assert before.ok
    for figure in ("max_abs", "max_ulp", "max_relative", "rtol"):
        assert getattr(after, figure) == pytest.approx(getattr(before, figure), rel=1e-6)
    for figure in ("mean_ulp", "mean_relative", "cosine"):
        assert getattr(after, figure) == pytest.approx(getattr(before, figure), rel=1e-4)
    for figure in ("whole", "column"):
        one, two = getattr(before, figure), getattr(after, figure)
        assert two.ratio == pytest.approx(one.ratio, rel=1e-9)
        assert two.index == one.index
    differences = np.abs(candidate - reference)[order]
    assert differences[after.max_index] == pytest.approx(before.max_abs, rel=1e-6)
    if np.any(order != np.arange(12)):
        assert not judged(candidate[order], reference, residual=residual).ok
    assert not judged(candidate[:, ::-1], reference, residual=residual).ok


@pytest.mark.parametrize("largest", [3e38, 1e200, 1e300])
@pytest.mark.parametrize("shape", [(1,), (12, 16)], ids=str)
def test_squares_that_overflow_do_not_hide_a_difference(largest, shape):
    """float64 values are nobody's dtype here, and whatever cannot be judged does not pass."""
    dtype = np.float32 if largest < 1e39 else np.float64
    huge = np.full(shape, largest, dtype)
    assert not judged(-huge, huge).ok
    assert not judged(at(huge, 0, 0), huge).ok
    assert not judged(huge, np.zeros_like(huge)).ok
    found = judged(at(huge, 0, largest / 3), huge)
    assert not found.ok
    assert found.max_abs == pytest.approx(largest * 2 / 3)
    assert found.max_index == (0,) * len(shape)
    if dtype == np.float32:
        assert judged(huge, huge).ok
        assert judged(-huge, huge).max_relative == pytest.approx(2)


@pytest.mark.parametrize("name", FORMATS)
def test_below_the_normal_range_one_step_passes_and_a_wrong_value_does_not(name):
    rng = np.random.default_rng(0)
    patterns = rng.integers(2, 2 ** (FORMATS[name].mantissa - 1) - 1, (12, 40))
    reference = steps(patterns, name)
    near, far = steps(patterns + rng.choice([-1, 1], patterns.shape), name), reference[::-1]
    assert judged(near, reference, name).ok
    assert judged(near, reference, name).max_ulp == 1
    if name != "bfloat16":  # which has too few numbers there to be off by many steps
        assert not judged(far, reference, name).ok


@settings(max_examples=200, deadline=None)
@given(
    hnp.arrays(np.float32, (5, 8), elements=st.floats(-1e3, 1e3, width=32)),
    hnp.arrays(np.float32, (5, 8), elements=st.floats(-1e3, 1e3, width=32)),
)
def test_the_tolerance_needed_is_enough_and_no_less_is(candidate, reference):
    """``|candidate - reference| <= atol + rtol * |reference|``, as torch.testing has it."""
    found = judged(candidate, reference)
    difference = np.abs(candidate.astype(np.float64) - reference)
    size = np.abs(reference.astype(np.float64))

    def close(rtol):
        return bool(np.all(difference <= ATOL + rtol * size))

    if found.rtol == math.inf:
        assert np.any((reference == 0) & (difference > ATOL))
    else:
        assert close(found.rtol * (1 + 1e-12))
        assert found.rtol == 0 or not close(found.rtol * (1 - 1e-12))
    assert found.max_abs == difference.max()


@pytest.mark.parametrize(("name", "margin"), [("float32", 1e-6), ("float16", 1e-2)])
def test_the_tolerance_is_that_of_torch(name, margin):
    """Which computes in the dtype itself, and so to no more than its precision."""
    import torch

    reference, candidate = values((7, 9), name), values((7, 9), name, seed=1)
    rtol = judged(candidate, reference, name).rtol
    sides = [torch.tensor(side).to(getattr(torch, name)) for side in (candidate, reference)]
    torch.testing.assert_close(*sides, rtol=rtol * (1 + margin), atol=ATOL)
    with pytest.raises(AssertionError, match="not close"):
        torch.testing.assert_close(*sides, rtol=rtol * (1 - margin), atol=ATOL)


@settings(max_examples=60, deadline=None)
@given(shapes, seeds, st.integers(0, 9), st.integers(0, 9))
def test_saturated_values_are_counted_on_both_sides(shape, seed, many, few):
    reference = values(shape, "float16", seed)
    rng = np.random.default_rng(seed)
    ends = np.float32([65504, -65504, math.inf, -math.inf])

    def spoilt(count):
        where = rng.permutation(reference.size)[:count]
        return at(reference, where, rng.choice(ends, len(where))), len(where)

    (candidate, here), (like, there) = spoilt(many), spoilt(few)
    found = judged(candidate, like, "float16")
    assert (found.saturated, found.reference_saturated) == (here, there)
    under = judged(values(shape) * 0 + np.float32(65472), reference, "float16")
    assert (under.saturated, under.reference_saturated) == (0, 0)


def test_infinities_that_both_sides_have_are_saturated_too():
    both = at(values((6, 9), "float16"), [3, 20], [math.inf, -math.inf])
    found = judged(both, both, "float16")
    assert (found.saturated, found.reference_saturated) == (2, 2)
    assert found.ok


def test_the_cosine_is_undefined_for_zeros_and_signed():
    one = values((3, 5))
    assert math.isnan(judged(np.zeros_like(one), one).cosine)
    assert math.isnan(judged(one, np.zeros_like(one)).cosine)
    assert judged(-one, one).cosine == -1
    assert judged(one * np.float32(1e-20), one).cosine == pytest.approx(1)


@pytest.mark.parametrize("dtype", [bool, np.int64, np.uint8, np.float16, np.float64])
def test_values_of_another_type_are_judged_as_their_numbers(dtype):
    reference = (np.abs(values((12, 9))) * 3).astype(dtype)
    assert judged(reference, reference).ok
    wrong = at(reference, 40, not reference.reshape(-1)[40])
    found = judged(wrong, reference)
    assert not found.ok
    assert found.max_index == (4, 4)
    assert found.max_abs == abs(float(wrong[4, 4]) - float(reference[4, 4]))


@pytest.mark.parametrize("shape", [(0,), (0, 5), (5, 0), (2, 0, 3)], ids=str)
def test_nothing_is_refused(shape):
    empty = np.zeros(shape, np.float32)
    with pytest.raises(ValueError, match="nothing to compare"):
        judged(empty, empty)


@settings(max_examples=60, deadline=None)
@given(shapes, shapes)
def test_other_shapes_are_refused_even_if_they_would_broadcast(one, other):
    assume(one != other)
    with pytest.raises(ValueError, match="shapes differ"):
        judged(values(one), values(other))
