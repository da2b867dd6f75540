"""Truths in half their bits: what rounding does to a residual, and what it cannot do to a ratio."""

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from parity.core.compact import ROUNDING, compact, ratio_bounds
from parity.core.narrow import pack, unpack
from parity.core.numerics import FORMATS
from parity.core.stats import Gate, Truth, compare

GATE = Gate(whole=4, row=4, column=4, update=4)
floats = hnp.arrays(np.float32, hnp.array_shapes(max_dims=3, max_side=9),
                    elements=st.floats(width=32, allow_nan=True, allow_infinity=True))  # fmt: skip


@given(floats)
def test_each_is_the_nearest_bfloat16(residual):
    with np.errstate(over="ignore"):
        expected = residual.astype(ml_dtypes.bfloat16).astype(np.float32)
    too_large = np.isfinite(residual) & ~np.isfinite(expected)
    largest = np.float32(ml_dtypes.finfo(ml_dtypes.bfloat16).max)
    expected = np.where(too_large, np.copysign(largest, residual), expected)
    assert np.array_equal(compact(residual), expected, equal_nan=True)


@given(floats)
def test_what_is_compact_is_stored_in_sixteen_bits_and_stays_as_it_is(residual):
    found = compact(residual)
    assert np.array_equal(unpack(pack(found, "bfloat16"), "bfloat16"), found, equal_nan=True)
    assert np.array_equal(compact(found), found, equal_nan=True)


def test_no_normal_number_moves_by_more_than_the_rounding():
    bits = np.arange(0x00800000, 0x7F7F0000, 0x1357, dtype=np.uint32)
    residual = np.concatenate([bits.view(np.float32), -bits.view(np.float32)])
    moved = np.abs(compact(residual).astype(np.float64) - residual)
    assert (moved <= ROUNDING * np.abs(residual.astype(np.float64))).all()
    assert moved.max() > 0


def case(seed, rows, columns, size, spread):
    """A reference, what the truth adds to it, and a candidate ``size`` times as wrong."""
    rng = np.random.default_rng(seed)
    scale = np.exp(spread * rng.standard_normal((rows, columns)))
    reference = (scale * rng.standard_normal((rows, columns))).astype(np.float32)
    residual = (1e-6 * scale * rng.standard_normal((rows, columns))).astype(np.float32)
    truth = reference.astype(np.float64) + residual
    wrong = size * 1e-6 * scale * rng.standard_normal((rows, columns))
    return (truth + wrong).astype(np.float32), Truth(reference, residual)


def ratios(candidate, truth, dtype="float32"):
    found = compare(candidate, truth, FORMATS[dtype], GATE)
    return {name: figure.ratio for name, figure in found.slices.items()}


sizes, spreads = st.sampled_from([0, 1e-3, 0.5, 1, 3, 1e3]), st.sampled_from([0, 1, 4])


@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 24), sizes, spreads)
def test_no_ratio_leaves_its_bounds(seed, rows, columns, size, spread):
    candidate, truth = case(seed, rows, columns, size, spread)
    before = ratios(candidate, truth)
    after = ratios(candidate, Truth(truth.reference, compact(truth.residual)))
    for name, ratio in before.items():
        least, largest = ratio_bounds(ratio)
        assert least <= after[name] <= largest, name


def test_a_coarser_rounding_leaves_the_bounds():
    """The twin: with half the bits of bfloat16's significand the bounds would not hold."""
    candidate, truth = case(0, 1, 4, 0.5, 0)
    bits = truth.residual.view(np.uint32) & np.uint32(0xFFF00000)
    before = ratios(candidate, truth)["whole"]
    after = ratios(candidate, Truth(truth.reference, bits.view(np.float32)))["whole"]
    least, largest = ratio_bounds(before)
    assert not least <= after <= largest


@pytest.mark.parametrize("ratio", [0.0, 1.0, 18.0, 1e6])
def test_the_bounds_are_as_narrow_as_they_are_said_to_be(ratio):
    least, largest = ratio_bounds(ratio)
    assert least <= ratio <= largest
    assert largest - ratio <= 1.01 * ROUNDING * (1 + ratio)
    assert ratio - least <= 1.01 * ROUNDING * (1 + ratio)
