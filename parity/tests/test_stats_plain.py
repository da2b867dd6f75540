"""The one pass finds what plain NumPy finds, whatever the shape, dtype and size of a block."""

import tracemalloc
from dataclasses import replace

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parity.bench.plain import Tensors, statistics
from parity.core import blocks
from parity.core.numerics import FORMATS
from parity.core.stats import Gate, Truth, compare

GATE = Gate(whole=10, row=20, column=20, update=10)
TYPES = {"float32": np.float32, "float16": np.float16, "bfloat16": ml_dtypes.bfloat16}
SINGLE = {"mean_relative", "max_relative", "mean_ulp", "max_ulp", "standards.dual_mean",
          "standards.dual_max"}  # fmt: skip
"""Figures made in float32 from float64 errors."""


def rounded(values, name):
    return np.asarray(values).astype(TYPES[name]).astype(np.float32)


def sample(rows, columns, name, seed=0, scale=1.0, update=False):
    """Tensors of a dtype: a truth, its rounding, and a candidate that errs a few times as much."""
    rng = np.random.default_rng(seed)
    truth = rng.standard_normal((rows, columns)) * scale * 2.0 ** rng.integers(-3, 3, columns)
    noise = FORMATS[name].noise
    reference = rounded(truth * (1 + noise * rng.standard_normal(truth.shape)), name)
    candidate = rounded(truth * (1 + 3 * noise * rng.standard_normal(truth.shape)), name)
    residual = (truth - reference).astype(np.float32)
    found = Tensors(candidate, reference, residual)
    if not update:
        return found
    base = rounded(0.9 * truth, name)
    moved = rounded(base * (1 + noise * rng.standard_normal(truth.shape)), name)
    return replace(
        found, base=base, candidate_base=moved, base_residual=(residual * 0.5).astype(np.float32)
    )


def compared(tensors, name, **options):
    truth = Truth(tensors.reference, tensors.residual, tensors.base, tensors.base_residual)
    return compare(
        tensors.candidate, truth, FORMATS[name], GATE, candidate_base=tensors.candidate_base,
        **options,
    )  # fmt: skip


def looked_up(comparison, name):
    """A figure by its dotted name; a number is an index."""
    for part in name.split("."):
        comparison = comparison[int(part)] if part.isdigit() else getattr(comparison, part)
    return comparison


def assert_same(comparison, expected):
    for name, value in expected.items():
        if name.startswith("row") and comparison.row is None:
            continue
        if name.startswith("column") and comparison.column is None:
            continue
        # An update's error is what is left of four numbers, whose order of summing is free.
        precision = 1e-5 if name in SINGLE else 1e-8 if name.startswith("update") else 1e-12
        assert looked_up(comparison, name) == pytest.approx(value, rel=precision, abs=1e-300), name


SHAPES = [
    (1, 1), (1, 64), (64, 1), (3, 5), (8, 2), (33, 1280), (7, 8960), (2, 30001), (9, 9001),
    (1, 9000), (4, 9000), (5, 4500), (20000, 3), (300, 128),
]  # fmt: skip


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_figure_is_that_of_plain_numpy(shape, name):
    tensors = sample(*shape, name)
    assert_same(compared(tensors, name), statistics(tensors, FORMATS[name]))


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("shape", [(1, 1), (33, 1280), (2, 30001)], ids=str)
def test_the_update_is_that_of_plain_numpy(shape, name):
    tensors = sample(*shape, name, update=True)
    assert_same(compared(tensors, name), statistics(tensors, FORMATS[name]))
    clean = replace(tensors, candidate_base=tensors.base, base_residual=None)
    expected = statistics(clean, FORMATS[name])
    assert_same(compared(clean, name), expected)
    if shape != (1, 1):
        moved = statistics(tensors, FORMATS[name])
        assert expected["update.ratio"] != pytest.approx(moved["update.ratio"], rel=1e-3)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 40), st.integers(1, 40), st.sampled_from(list(FORMATS)), st.integers(0, 99),
    st.sampled_from([1.0, 1e-3, 300.0]), st.integers(1, 60), st.integers(1, 4), st.booleans(),
)  # fmt: skip
def test_a_block_may_have_any_size(rows, columns, name, seed, scale, piece, pieces, update):
    """At the edge of every block something could be lost or counted twice."""
    tensors = sample(rows, columns, name, seed, scale, update)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "PIECE", piece)
        patch.setattr(blocks, "PIECES", pieces)
        covered = np.zeros((rows, columns), int)
        for block in blocks.blocks(rows, columns):
            covered[block.rows, block.columns] += 1
        assert np.all(covered == 1)
        assert_same(compared(tensors, name), statistics(tensors, FORMATS[name]))


@pytest.mark.parametrize("name", FORMATS)
def test_rows_left_out_are_in_no_figure(name):
    tensors = sample(50, 700, name, update=True)
    keep = np.random.default_rng(1).random(50) < 0.5
    part = Tensors(*(None if t is None else t[keep] for t in vars(tensors).values()))
    comparison = compared(tensors, name, keep=keep)
    expected = statistics(part, FORMATS[name])
    for index in ("row.index", "max_index.0"):
        expected[index] = int(np.flatnonzero(keep)[expected[index]])
    assert_same(comparison, expected)


@pytest.mark.parametrize("name", FORMATS)
def test_no_residual_means_that_the_reference_is_the_truth(name):
    tensors = sample(33, 1280, name)
    zeros = replace(tensors, residual=np.zeros_like(tensors.residual))
    assert compared(replace(tensors, residual=None), name) == compared(zeros, name)


def peak_memory(run):
    """Bytes that NumPy had at most at any time during a call, beside what it had before."""
    tracemalloc.start()
    try:
        run()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_no_temporary_has_the_size_of_a_tensor():
    small, large = (sample(rows, 1280, "float32", update=True) for rows in (400, 4000))
    used = [peak_memory(lambda tensors=one: compared(tensors, "float32")) for one in (small, large)]
    assert used[1] < used[0] + 100 * 4000
    assert used[1] < large.reference.nbytes
    assert peak_memory(lambda: statistics(large, FORMATS["float32"])) > 10 * large.reference.nbytes


def test_the_comparison_with_plain_numpy_can_fail():
    """Every figure is looked at: whichever of them is off, the assertion says so."""
    tensors = sample(33, 1280, "float16", update=True)
    comparison, expected = compared(tensors, "float16"), statistics(tensors, FORMATS["float16"])
    assert {"row.index", "column.index", "update.ratio", "rtol", "saturated"} <= set(expected)
    for name, value in expected.items():
        with pytest.raises(AssertionError):
            assert_same(comparison, expected | {name: value * 1.0001 + (1 if value == 0 else 0)})
