"""The published standards: their limits to the last bit, and that NaN is within none of them."""

import math

import pytest

from parity.core.standards import L1, L2, OPEN, Errors, published, ratio

NONE = Errors(0.0, 0.0, 0.0)
UNIT = Errors(1.0, 1.0, 1.0)


@pytest.mark.parametrize(("dtype", "limit"), OPEN.items())
def test_the_open_standard_wants_less_than_its_limits(dtype, limit):
    def meets(most, mean):
        return published(dtype, Errors(most, mean, 0.0), UNIT).open_operator

    below = math.nextafter(limit, 0)
    assert meets(math.nextafter(10 * limit, 0), below)
    assert not meets(10 * limit, below)
    assert not meets(below, limit)
    assert not meets(math.nan, 0.0)
    assert not meets(0.0, math.nan)


def test_the_limits_are_those_published():
    assert {name: math.log2(limit) for name, limit in OPEN.items()} == {
        "float16": -10, "bfloat16": -7, "float32": -13,
    }  # fmt: skip
    assert (L1, L2) == ((5, 1.5, 1.5), (2, 1.2, 1.2))


def test_a_dtype_without_a_limit_has_no_mark():
    assert published("float64", NONE, UNIT).open_operator is None


@pytest.mark.parametrize("which", range(3))
@pytest.mark.parametrize(("level", "limits"), [("dual_l1", L1), ("dual_l2", L2)])
def test_each_ratio_of_the_dual_benchmark_counts(level, limits, which):
    def meets(values):
        return getattr(published("float32", Errors(*values), UNIT), level)

    assert meets(limits)
    worse = list(limits)
    worse[which] = math.nextafter(worse[which], math.inf)
    assert not meets(worse)
    worse[which] = math.nan
    assert not meets(worse)


def test_ratios_are_the_candidates_over_the_references():
    found = published("float16", Errors(8.0, 3.0, 2.0), Errors(2.0, 4.0, 1.0))
    assert (found.dual_max, found.dual_mean, found.dual_rms) == (4.0, 0.75, 2.0)
    assert not found.dual_l1


def test_a_reference_without_error():
    assert published("float32", NONE, NONE).dual_l2
    perfect = published("float32", UNIT, NONE)
    assert perfect.dual_max == math.inf
    assert not perfect.dual_l1
    assert ratio(-1.0, 0.0) == -math.inf
    assert math.isnan(ratio(math.nan, 0.0))
