"""The figures: what they are on known errors, and that each kind of damage moves one of them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from parity.core.numerics import FORMATS
from parity.core.stats import EXCHANGES, Gate, Truth, compare, median_of_nine, robust_floor

FP32 = FORMATS["float32"]
GATE = Gate(whole=10, row=20, column=20, update=10)


def sample(rows=32, columns=64, seed=0):
    """A float64 truth, a reference that rounds it, and a candidate that rounds it elsewhere."""
    rng = np.random.default_rng(seed)
    truth = rng.standard_normal((rows, columns))
    reference = truth.astype(np.float32)
    candidate = (truth + rng.standard_normal(truth.shape) * 4e-8).astype(np.float32)
    return truth, reference, candidate


def judged(candidate, reference, truth, **options):
    residual = (truth - reference.astype(np.float64)).astype(np.float32)
    return compare(candidate, Truth(reference, residual), FP32, GATE, **options)


def test_the_reference_itself_has_ratio_at_most_one():
    truth, reference, _ = sample()
    result = judged(reference, reference, truth)
    assert result.ok
    assert 0 < result.whole.ratio <= 1
    assert result.max_abs == 0


def test_another_rounding_passes_and_is_measured():
    truth, reference, candidate = sample()
    result = judged(candidate, reference, truth)
    assert result.ok
    error = np.linalg.norm(candidate - truth) / np.linalg.norm(truth)
    assert result.whole.error == pytest.approx(error, rel=1e-6)


DAMAGE = {
    "sign flipped": lambda x: -x,
    "rows swapped": lambda x: x[::-1],
    "columns swapped": lambda x: x[:, ::-1],
    "scaled by 1 %": lambda x: x * np.float32(1.01),
    "one row wrong": lambda x: np.concatenate([x[:1] * np.float32(1.001), x[1:]]),
    "one column wrong": lambda x: np.concatenate([x[:, :1] * np.float32(1.001), x[:, 1:]], 1),
    "half precision": lambda x: x.astype(np.float16).astype(np.float32),
    "NaN": lambda x: np.where(np.arange(x.size).reshape(x.shape) == 77, np.nan, x),
    "infinity": lambda x: np.where(np.arange(x.size).reshape(x.shape) == 77, np.inf, x),
    "negative infinity": lambda x: np.where(np.arange(x.size).reshape(x.shape) == 77, -np.inf, x),
    "all NaN": lambda x: np.full_like(x, np.nan),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_fails(name):
    truth, reference, candidate = sample()
    assert judged(candidate, reference, truth).ok
    assert not judged(DAMAGE[name](candidate).astype(np.float32), reference, truth).ok


def test_worst_row_and_column_are_named():
    truth, reference, candidate = sample()
    wrong = candidate.copy()
    wrong[17] *= np.float32(1.0001)
    assert judged(wrong, reference, truth).row.index == 17
    wrong = candidate.copy()
    wrong[:, 42] *= np.float32(1.0001)
    assert judged(wrong, reference, truth).column.index == 42


def test_a_massive_channel_does_not_hide_the_others():
    """The case in which whole-tensor cosine stays at 0.9999 while every other channel is noise."""
    rng = np.random.default_rng(1)
    truth = rng.standard_normal((256, 1280))
    truth[:, 7] = 6500
    reference = truth.astype(np.float32)
    wrong = rng.standard_normal(truth.shape).astype(np.float32)
    wrong[:, 7] = reference[:, 7]
    cosine = np.vdot(wrong, truth) / (np.linalg.norm(wrong) * np.linalg.norm(truth))
    assert cosine > 0.9999
    assert not judged(wrong, reference, truth).ok


def test_a_massive_channel_does_not_cry_wolf():
    rng = np.random.default_rng(2)
    truth = rng.standard_normal((64, 320))
    truth[:, 7] = 6500
    reference = truth.astype(np.float32)
    candidate = np.nextafter(reference, np.float32(np.inf))
    result = judged(candidate, reference, truth)
    assert result.ok, result.worst


def test_a_wrong_update_under_a_large_residual_fails():
    rng = np.random.default_rng(3)
    base = (rng.standard_normal((64, 320)) * 1000).astype(np.float32)
    update = rng.standard_normal((64, 320)) * 1e-2
    truth = base.astype(np.float64) + update
    reference = truth.astype(np.float32)
    residual = (truth - reference).astype(np.float32)
    right = Truth(reference, residual, base=base)
    assert compare(reference, right, FP32, GATE, candidate_base=base).ok
    wrong = (base + update * 1.5).astype(np.float32)
    result = compare(wrong, right, FP32, GATE, candidate_base=base)
    assert not result.update.ok
    assert result.update.error == pytest.approx(0.5, rel=0.05)


def test_padding_is_left_out_and_indices_stay_those_of_the_tensor():
    truth, reference, candidate = (a.reshape(2, 16, 64) for a in sample())
    keep = np.ones((2, 16), bool)
    keep[1, :5] = False
    garbage = candidate.copy()
    garbage[1, :5] = 1e9
    assert judged(garbage, reference, truth, keep=keep).ok
    assert not judged(garbage, reference, truth).ok
    wrong = candidate.copy()
    wrong[1, 9] *= np.float32(1.01)
    result = judged(wrong, reference, truth, keep=keep)
    assert result.row.index == 16 + 9
    assert result.max_index[:2] == (1, 9)
    assert result.candidate_value == wrong[result.max_index]


def test_a_chance_small_reference_error_does_not_cry_wolf():
    truth, reference, candidate = sample()
    exact = truth.copy()
    exact[5] = reference[5]  # as if the reference had hit the truth in this row by chance
    result = judged(candidate, reference, exact)
    assert result.row.ratio < 5


@given(hnp.arrays(np.float64, st.integers(1, 40), elements=st.floats(0, 1e3)))
def test_a_floor_is_never_under_a_slices_own(own):
    rounding = FP32.rounding(np.ones_like(own), 64)
    floor = robust_floor(own, rounding)
    assert np.all(floor >= own)
    assert np.all(floor >= rounding)


@given(hnp.arrays(np.float64, (9, 5), elements=st.floats(0)))
def test_the_median_of_nine_is_numpys(values):
    with np.errstate(invalid="ignore"):
        expected = np.median(values, axis=0)
    assert np.array_equal(median_of_nine(list(values)), expected, equal_nan=True)


def test_every_exchange_is_needed_for_the_median(monkeypatch):
    """All ways in which nine zeros and ones can stand: what sorts these, sorts anything."""
    every = [np.array([float(n >> bit & 1) for n in range(512)]) for bit in range(9)]
    expected = np.median(every, axis=0)
    assert np.array_equal(median_of_nine(list(every)), expected)
    for left_out in range(len(EXCHANGES)):
        fewer = EXCHANGES[:left_out] + EXCHANGES[left_out + 1 :]
        monkeypatch.setattr("parity.core.stats.EXCHANGES", fewer)
        assert not np.array_equal(median_of_nine(list(every)), expected)


@settings(max_examples=200, deadline=None)
@given(
    hnp.arrays(
        np.float32,
        hnp.array_shapes(min_dims=1, max_dims=4, min_side=1, max_side=9),
        elements=st.floats(width=32, allow_nan=True, allow_infinity=True),
    ),
    st.integers(0, 10**6),
)
def test_any_tensor_can_be_judged_and_any_change_is_seen(reference, seed):
    """Itself passes; with one value changed beyond rounding, or made NaN, it does not."""
    zeros = np.zeros_like(reference)
    finite = np.where(np.isfinite(reference), reference, 1).astype(np.float32)
    assert compare(finite, Truth(finite, zeros), FP32, GATE).ok
    wrong = finite.copy()
    where = seed % wrong.size
    wrong.flat[where] = np.nan
    assert not compare(wrong, Truth(finite, zeros), FP32, GATE).ok
    with np.errstate(over="ignore"):
        wrong.flat[where] = -2 * finite.flat[where] + 1
    if wrong.flat[where] != finite.flat[where] and np.isfinite(wrong.flat[where]):
        single = compare(wrong, Truth(finite, zeros), FP32, GATE)
        assert single.max_abs > 0
        assert single.whole.ratio > 0


def test_different_shapes_and_nothing_are_refused():
    truth, reference, _ = sample()
    with pytest.raises(ValueError, match="shapes differ"):
        judged(reference[:5], reference, truth)
    with pytest.raises(ValueError, match="nothing to compare"):
        judged(reference, reference, truth, keep=np.zeros(32, bool))
