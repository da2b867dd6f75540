"""Truths of primitives against arithmetic of many digits, ULP, ratios, and parts of operands."""

import math
from decimal import Decimal, localcontext
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parity.core.narrow import unpack
from parity.core.numerics import FORMATS
from parity.core.rounding import rounded
from parity.kernels.measure import Accuracy, Probe, spacing
from parity.kernels.primitives import (
    ELEMENTARY,
    FUSED,
    PRIMITIVES,
    TRUTHS,
    parts,
    watched,
    with_kernel,
)
from parity.kernels.samples import sampled
from parity.subjects.ops import EXACT

DIGITS = 80
POINTS = [-30.0, -7.25, -1.0, -0.375, -1e-9, 1e-9, 0.25, 1.0, 1.5, 6.75, 30.0]
FLOAT64 = 2.0**-52


def series(x, terms):
    """Sum of ``terms``, each given the one before and its number, until nothing is added."""
    total = term = x
    number = 1
    while abs(term) > Decimal(10) ** -(DIGITS - 5):
        term = terms(term, number)
        total += term
        number += 1
    return total


def decimal_erf(x):
    """2 / sqrt(pi) * sum of (-1)^n x^(2n+1) / (n! (2n+1)); pi by Machin's formula."""
    power, total, number = x, x, 0
    while abs(power) > Decimal(10) ** -DIGITS:
        number += 1
        power *= -x * x / number
        total += power / (2 * number + 1)
    return 2 * total / decimal_pi().sqrt()


def decimal_pi():
    def arctan_of_inverse(n):
        total, power, number = Decimal(0), Decimal(1) / n, 0
        while power > Decimal(10) ** -(DIGITS + 5):
            total += (-1) ** number * power / (2 * number + 1)
            power /= n * n
            number += 1
        return total

    return 16 * arctan_of_inverse(5) - 4 * arctan_of_inverse(239)


def decimal_sin(x):
    return series(x, lambda term, n: -term * x * x / ((2 * n) * (2 * n + 1)))


def decimal_cos(x):
    return series(Decimal(1), lambda term, n: -term * x * x / ((2 * n - 1) * (2 * n)))


DECIMAL = {
    "exp": lambda x: x.exp(),
    "tanh": lambda x: ((2 * x).exp() - 1) / ((2 * x).exp() + 1),
    "sigmoid": lambda x: 1 / (1 + (-x).exp()),
    "silu": lambda x: x / (1 + (-x).exp()),
    "rsqrt": lambda x: 1 / abs(x).sqrt(),
    "erf": decimal_erf,
    "sin": decimal_sin,
    "cos": decimal_cos,
}


@pytest.mark.parametrize("name", DECIMAL)
def test_the_truth_of_one_number_is_right_to_float64(name):
    points = [abs(x) for x in POINTS] if name == "rsqrt" else POINTS
    if name == "erf":
        points = [x for x in POINTS if abs(x) < 7]  # beyond it is 1 in float64
    found = TRUTHS[name](np.array(points))
    with localcontext() as context:
        # Sums that cancel lose digits: thirty of them in exp(-900).
        context.prec = DIGITS + 60
        for x, value in zip(points, found, strict=True):
            exact = DECIMAL[name](Decimal(x))
            assert abs(Decimal(float(value)) - exact) <= abs(exact) * Decimal(4 * FLOAT64)


def rows():
    return np.random.default_rng(3).standard_normal((3, 7)) * 3


def test_the_truth_of_a_product_is_right_to_float64():
    a, b = rows(), rows().T
    exact = [[sum(Fraction(x) * Fraction(y) for x, y in zip(r, c, strict=True)) for c in b.T]
             for r in a]  # fmt: skip
    np.testing.assert_allclose(TRUTHS["matmul"](a, b), np.array(exact, dtype=float), rtol=1e-14)


def test_the_truth_of_a_mean_is_right_to_float64():
    exact = [[float(sum(map(Fraction, row)) / len(row))] for row in rows()]
    np.testing.assert_allclose(TRUTHS["mean"](rows()), exact, rtol=1e-14)


def test_the_truth_of_a_softmax_is_right_to_float64():
    for row, found in zip(rows(), TRUTHS["softmax"](rows()), strict=True):
        powers = [Decimal(x).exp() for x in row]
        exact = [float(power / sum(powers)) for power in powers]
        np.testing.assert_allclose(found, exact, rtol=1e-14)


def test_the_truth_of_a_layer_norm_is_right_to_float64():
    weight, bias, eps = rows()[0], rows()[1], 1e-6
    for row, found in zip(rows(), TRUTHS["layer_norm"](rows(), weight, bias, eps), strict=True):
        values = [Decimal(x) for x in row]
        mean = sum(values) / len(values)
        variance = sum((x - mean) ** 2 for x in values) / len(values)
        scale = (variance + Decimal(eps)).sqrt()
        exact = [float((x - mean) / scale * Decimal(w) + Decimal(b))
                 for x, w, b in zip(values, weight, bias, strict=True)]  # fmt: skip
        np.testing.assert_allclose(found, exact, rtol=1e-13)


def test_a_cast_is_measured_against_the_value_itself():
    np.testing.assert_array_equal(TRUTHS["cast"](rows()), rows())


@pytest.mark.parametrize("name", ["exp", "tanh", "sigmoid"])
def test_what_is_built_from_a_primitive_is_the_same_function(name):
    """Else a kernel would explain a difference between two formulas."""
    ops, x = with_kernel(name, TRUTHS[name]), rows()
    for other in FUSED[:3]:
        np.testing.assert_allclose(getattr(ops, other)(x), TRUTHS[other](x), rtol=1e-12)


def test_a_kernel_reaches_everything_that_is_built_from_its_primitive():
    def coarse(name):
        return lambda x: TRUTHS[name](x) * (1 + 1e-3)

    changed = {
        name: {
            other for other in ("sigmoid", "silu", "softmax", "erf", "rsqrt", "tanh", "exp")
            if not np.array_equal(
                getattr(with_kernel(name, coarse(name)), other)(abs(rows())),
                getattr(EXACT, other)(abs(rows())),
            )
        } - {name}
        for name in ("exp", "tanh", "sigmoid", "erf")
    }  # fmt: skip
    # A softmax divides a common factor out; what is built may differ in the last digit.
    assert changed["exp"] - {"softmax"} == {"sigmoid", "silu"}
    assert changed["tanh"] == {"sigmoid", "silu"}
    assert changed["sigmoid"] == {"silu"}
    assert changed["erf"] == set()


def test_parts_are_what_a_primitive_can_be_built_from():
    assert parts("silu") == {"exp", "tanh", "sigmoid"}
    assert parts("sigmoid") == {"exp", "tanh"}
    assert parts("softmax") == {"exp"}
    assert parts("erf") == set()


def test_what_a_computation_uses_is_noted():
    used = set()
    ops = watched(used)
    np.testing.assert_array_equal(ops.silu(rows()), TRUTHS["silu"](rows()))
    assert used == {"silu", "sigmoid", "exp", "tanh"}
    ops.matmul(rows(), rows().T)
    assert "matmul" in used


def test_every_primitive_has_a_truth():
    assert set(PRIMITIVES) == {*ELEMENTARY, *FUSED}
    assert set(TRUTHS) - set(PRIMITIVES) == {"sin", "cos", "cast"}


VALUES = [0.0, 1.0, -1.5, 3.999, 32768.0, 1e-3, 6e-8, -2e-6, 1e-30]


def test_an_ulp_is_numpys_spacing():
    for name, kind in (("float32", np.float32), ("float16", np.float16)):
        held = np.array(VALUES).astype(kind)
        expected = np.spacing(np.abs(held)).astype(np.float64)
        np.testing.assert_array_equal(spacing(held.astype(np.float64), FORMATS[name]), expected)


def test_an_ulp_of_bfloat16_is_the_distance_to_its_next_number():
    bits = np.arange(1, 0x7F80, 97, dtype=np.uint16)
    here, after = unpack(bits, "bfloat16"), unpack(bits + np.uint16(1), "bfloat16")
    finite = np.isfinite(after)
    distance = (after.astype(np.float64) - here)[finite]
    np.testing.assert_array_equal(
        spacing(here.astype(float), FORMATS["bfloat16"])[finite], distance
    )


def measured(error, truth, dtype="float32"):
    found = Accuracy()
    found.add(np.asarray(error, dtype=float), np.asarray(truth, dtype=float), FORMATS[dtype])
    return found


@pytest.mark.parametrize("dtype", FORMATS)
def test_what_is_correctly_rounded_is_within_half_an_ulp_and_under_the_floor(dtype):
    truth = np.random.default_rng(1).standard_normal(5000) * 3
    found = measured(rounded(truth, dtype) - truth, truth, dtype)
    assert found.elements == 5000
    assert 0.2 < found.mean_ulp < 0.3
    assert 0.45 < found.max_ulp <= 0.5001  # narrow dtypes are rounded by way of float32
    assert 0.5 < found.ratio <= 1


@pytest.mark.parametrize("dtype", FORMATS)
def test_one_ulp_off_is_one_ulp_and_over_the_floor(dtype):
    truth = rounded(np.random.default_rng(1).standard_normal(5000) * 3, dtype)
    off = measured(spacing(truth, FORMATS[dtype]), truth, dtype)
    assert off.mean_ulp == off.max_ulp == 1
    assert 1.5 < off.ratio < 4


def test_calls_add_up():
    """Two calls measured apart are the two measured in one, as far as norms can be added."""
    truth = np.random.default_rng(1).standard_normal(4000)
    error = rounded(truth, "float32") - truth
    both = measured(error[:1000], truth[:1000])
    both.add(error[1000:], truth[1000:], FORMATS["float32"])
    one = measured(error, truth)
    assert (both.elements, both.max_ulp) == (one.elements, one.max_ulp)
    assert both.mean_ulp == pytest.approx(one.mean_ulp)
    assert both.ratio == pytest.approx(one.ratio, rel=0.02)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_not_a_number_is_never_accurate(bad):
    found = measured([0.0, bad, 0.0], [1.0, 2.0, 3.0])
    assert not found.max_ulp < 1e300
    assert not found.mean_ulp < 1e300
    assert not found.ratio < 1e300


def test_nothing_measured_and_nothing_wrong():
    assert math.isnan(Accuracy().mean_ulp)
    assert math.isnan(Accuracy().ratio)
    assert measured([0.0, 0.0], [0.0, 0.0]).ratio == 0
    assert measured([], []).elements == 0


class Fixed:
    """A device that gives what it is told to."""

    def __init__(self, result):
        self.result = result

    def place(self, name):
        return "here"

    def dtype(self, name, hidden):
        return hidden

    def run(self, name, operands, hidden):
        self.given = operands
        return np.float32(self.result)


def test_the_rounding_of_operands_is_not_charged_to_the_kernel():
    third = np.array([1 / 3])
    device = Fixed(np.exp(rounded(third, "bfloat16")))
    probe = Probe(device, "exp", "bfloat16")
    error = probe.error([third])
    np.testing.assert_array_equal(device.given[0], rounded(third, "bfloat16"))
    assert abs(error[0]) < 1e-7  # float32's rounding, where bfloat16's of a third is 1e-3
    np.testing.assert_array_equal(probe(third), np.exp(third) + error)


def test_scores_that_are_masked_stay_finite_in_a_narrow_dtype():
    """A row that may look nowhere is then spread evenly, as in the port, and not NaN."""
    lowest = float(np.finfo(np.float32).min)
    device = Fixed([[0.5, 0.5]])
    error = Probe(device, "softmax", "float16").error([np.full((1, 2), lowest)])
    np.testing.assert_array_equal(device.given[0], np.full((1, 2), -65504.0))
    np.testing.assert_array_equal(error, np.zeros((1, 2)))


def test_infinities_that_agree_are_no_error():
    big = np.array([1000.0, 1.0])
    with np.errstate(over="ignore"):
        right = Probe(Fixed([np.inf, math.e]), "exp", "float32").error([big])
        wrong = Probe(Fixed([3.0, math.e]), "exp", "float32").error([big])
    assert right[0] == 0
    assert not abs(wrong[0]) < 1e300


def test_a_result_of_another_shape_is_refused():
    with pytest.raises(ValueError, match="exp: shape"):
        Probe(Fixed([1.0, 2.0]), "exp", "float32").error([np.zeros(3)])


SHAPES = st.tuples(st.integers(1, 4), st.integers(1, 40), st.integers(1, 40))


@settings(deadline=None, max_examples=60)
@given(shape=SHAPES, limit=st.integers(1, 400), name=st.sampled_from(["softmax", "mean", "exp"]))
def test_what_is_measured_is_part_of_what_was_given(shape, limit, name):
    whole = np.arange(float(math.prod(shape))).reshape(shape) / 7
    (part,) = sampled(name, [whole], limit)
    row = 1 if name == "exp" else shape[-1]
    assert row <= part.size <= max(limit, row)
    results = {tuple(x) for x in TRUTHS[name](whole).reshape(whole.size // row, -1).round(9)}
    found = {tuple(x) for x in TRUTHS[name](part).reshape(part.size // row, -1).round(9)}
    assert found <= results


@settings(deadline=None, max_examples=60)
@given(rows=st.integers(1, 60), inner=st.integers(1, 9), columns=st.integers(1, 60))
def test_a_part_of_a_product_has_whole_sums(rows, inner, columns):
    rng = np.random.default_rng(rows)
    a, b = rng.standard_normal((2, rows, inner)), rng.standard_normal((inner, columns))
    left, right = sampled("matmul", [a, b], 500)
    part = TRUTHS["matmul"](left, right)
    assert 0 < part.size <= max(500, columns)
    assert set(part.reshape(-1).round(9)) <= set(TRUTHS["matmul"](a, b).reshape(-1).round(9))


def test_products_of_heads_keep_their_pairs():
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 4, 50, 8)), rng.standard_normal((2, 4, 8, 30))
    left, right = sampled("matmul", [a, b], 1000)
    part, whole = TRUTHS["matmul"](left, right), TRUTHS["matmul"](a, b)
    assert part.shape[:2] == (2, 4)
    assert part.size <= 1000
    for head in np.ndindex(2, 4):
        assert set(part[head].reshape(-1).round(9)) <= set(whole[head].reshape(-1).round(9))
