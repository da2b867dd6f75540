"""What a format can represent, against NumPy's and ml_dtypes' own rounding."""

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parity.core.errors import ParityError
from parity.core.narrow import NARROW, pack, unpack
from parity.core.numerics import FORMATS, PRECISIONS, precision

TYPES = {"float32": np.float32, "float16": np.float16, "bfloat16": ml_dtypes.bfloat16}
anywhere = st.floats(-1, 1).flatmap(lambda m: st.integers(-160, 127).map(lambda e: m * 2.0**e))


def rounded(values, name):
    with np.errstate(over="ignore"):
        return np.asarray(values, np.float64).astype(TYPES[name]).astype(np.float64)


@pytest.mark.parametrize("name", FORMATS)
def test_the_constants_are_the_formats_own(name):
    found, limits = FORMATS[name], ml_dtypes.finfo(TYPES[name])
    assert found.largest == float(limits.max)
    assert found.noise == float(limits.eps) / 2
    assert 2.0**found.least_exponent == float(limits.smallest_normal)
    assert found.least == float(limits.smallest_subnormal) / 2


@pytest.mark.parametrize("name", FORMATS)
@given(value=anywhere)
def test_rounding_is_never_further_than_said(name, value):
    found = FORMATS[name]
    if abs(value) < found.largest:
        error = abs(rounded(value, name) - value)
        assert error <= found.rounding(np.float64(abs(value)), 1)


@pytest.mark.parametrize("name", FORMATS)
def test_rounding_is_as_far_as_said(name):
    """The bounds are reached, so a smaller one would be wrong, in and below the normal range."""
    found = FORMATS[name]
    half_way = 1 + found.noise
    assert abs(rounded(half_way, name) - half_way) == found.noise
    tiny = found.least
    assert abs(rounded(tiny, name) - tiny) == found.least > found.noise * tiny


@pytest.mark.parametrize("count", [8, 64, 512])
def test_what_is_said_of_many_roundings_is_what_chance_makes_of_them(count):
    """Of mantissas that round worst, near the lower end of a binade, and of any others."""
    found, rng = FORMATS["bfloat16"], np.random.default_rng(0)
    for top, least in ((1.05, 0.9), (2.0, 0.6)):
        values = rng.uniform(1, top, (2000, count))
        errors = np.linalg.norm(rounded(values, "bfloat16") - values, axis=1)
        used = errors / found.rounding(np.linalg.norm(values, axis=1), count)
        assert used.max() < 1.15
        assert np.median(used) > least * (0.8 if count == 8 else 0.95)


def test_a_norm_of_many_roundings_is_bounded():
    rng = np.random.default_rng(0)
    values = rng.standard_normal(1000) * 2.0**-20
    error = np.linalg.norm(rounded(values, "float16") - values)
    size = np.linalg.norm(values)
    assert error <= FORMATS["float16"].rounding(size, 1000)
    assert error > FORMATS["float16"].noise * size, "subnormals would cry wolf"


def test_the_mixed_policy_shares_the_reference_of_bf16():
    mixed = precision("ascend-mixed")
    assert (mixed.reference, mixed.torch) == ("bf16", "bfloat16")
    assert all(found.name == name for name, found in PRECISIONS.items())
    uniform = [found for found in PRECISIONS.values() if found is not mixed]
    assert all(found.reference == found.name for found in uniform)


def test_an_unknown_precision_is_refused():
    with pytest.raises(ParityError, match=r"unknown dtype 'fp8'.*ascend-mixed"):
        precision("fp8")


@pytest.mark.parametrize("name", NARROW)
def test_every_narrow_number_is_packed_and_unpacked_exactly(name):
    every = np.arange(2**16, dtype=np.uint16).view(TYPES[name])
    values = every.astype(np.float32)
    stored = pack(values, name)
    assert stored.dtype == NARROW[name]
    assert stored.nbytes * 2 == values.nbytes
    assert np.array_equal(unpack(stored, name), values, equal_nan=True)
    numbers = ~np.isnan(values)
    assert np.array_equal(stored.view(np.uint16)[numbers], every.view(np.uint16)[numbers])


@pytest.mark.parametrize("name", NARROW)
@pytest.mark.parametrize("value", [1 + 2.0**-20, 3e38, 1e-41])
def test_what_is_not_a_narrow_number_is_not_packed(name, value):
    with pytest.raises(ValueError, match=f"not every value is one of {name}'s"):
        pack(np.array([1.0, value], np.float32), name)


def test_what_is_not_float32_is_not_packed_or_unpacked():
    with pytest.raises(ValueError, match="not as float64"):
        pack(np.ones(2), "bfloat16")
    with pytest.raises(ValueError, match="not as float32"):
        unpack(np.ones(2, np.float32), "bfloat16")
