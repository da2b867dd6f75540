"""Which rows a portable bundle keeps the truths of, and what is compared of them."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parity.core.compared import end_to_end
from parity.core.coverage import cover
from parity.core.numerics import FORMATS, precision
from parity.core.rows import Verdict
from parity.core.sampling import (
    LEAST,
    TILE,
    badness,
    choose,
    expand,
    keep_rows,
    kept_of,
    masks,
    read_rows,
    rows_of,
)
from parity.core.stats import Gate, Truth, compare
from parity.core.verdict import Evidence, judge
from parity.tests.toy_model import GATES, PADDING, SCHEDULE, Run, spoil, write

GATE = Gate(whole=4, row=4, column=4, update=4)
sizes = st.integers(1, 600)
SEEDS = st.integers(0, 2**32 - 1)


@given(sizes, st.integers(LEAST, 300), SEEDS)
def test_rows_are_in_order_and_as_many_as_asked_for(count, keep, seed):
    rows = choose(np.random.default_rng(seed).random(count), keep)
    assert (np.diff(rows) > 0).all()
    assert min(count, keep - 2 * TILE) <= len(rows) <= max(keep, min(count, keep))
    assert {0, count - 1} <= set(rows.tolist()), "a prompt's first and last token are not kept"


@given(st.integers(100, 600), SEEDS)
def test_the_worst_row_is_kept_with_its_neighbours(count, seed):
    scores = np.random.default_rng(seed).random(count)
    worst = seed % count
    scores[worst] = np.inf
    rows = set(choose(scores, LEAST).tolist())
    assert worst in rows
    assert rows & {worst - 1, worst + 1}


@given(st.integers(100, 600), SEEDS)
def test_no_stretch_of_rows_is_left_out(count, seed):
    """Whatever is worst, at most an even share lies between two that are kept."""
    scores = np.zeros(count)
    scores[: count // 3] = np.random.default_rng(seed).random(count // 3)
    gaps = np.diff(choose(scores, LEAST))
    assert gaps.max() <= count / (LEAST // TILE // 2 - 1) + 2 * TILE


def test_rows_of_padding_are_never_kept():
    scores = np.random.default_rng(0).random(500)
    scores[:300] = -np.inf
    assert choose(scores, LEAST).min() == 300
    assert choose(np.full(300, -np.inf), LEAST).size == 0


def test_badness_finds_the_row_where_the_reference_is_worst():
    rng = np.random.default_rng(0)
    value = rng.standard_normal((2, 50, 16)).astype(np.float32)
    residual = (1e-7 * rng.standard_normal(value.shape)).astype(np.float32)
    residual[1, 7] *= 100
    found = badness(value, residual)
    assert found.shape == (100,)
    assert found.argmax() == 57
    assert 50 < found.max() < 200
    residual[0, 3, 0] = np.nan
    assert badness(value, residual)[3] == np.inf
    assert np.isinf(badness(value, np.full_like(value, np.nan))).all()


@pytest.mark.parametrize("dtype", [np.float32, np.uint16])
def test_what_is_kept_comes_back_and_the_rest_is_no_number(dtype):
    stored = np.arange(2 * 40 * 3).reshape(2, 40, 3).astype(dtype)
    rows = np.array([0, 5, 79])
    whole = expand(keep_rows(stored, rows), rows, stored.shape)
    assert whole.dtype == dtype
    assert whole.shape == stored.shape
    mask = masks({80: rows})[80].reshape(2, 40)
    assert np.array_equal(whole[mask], stored[mask])
    floats = whole if dtype is np.float32 else (whole.astype(np.uint32) << 16).view(np.float32)
    assert np.isnan(floats[~mask]).all()
    assert np.array_equal(kept_of(stored.shape, {80: masks({80: rows})[80]}), mask)
    assert kept_of((7, 3), {80: mask}) is None


@pytest.mark.parametrize(("shape", "rows"), [((), 1), ((5,), 1), ((4, 5), 4), ((2, 3, 5), 6)])
def test_rows_of_a_shape(shape, rows):
    assert rows_of(shape) == rows


@pytest.mark.parametrize(
    "data",
    [
        {"10": [0, 10]}, {"10": [-1]}, {"10": [3, 3]}, {"10": [4, 3]}, {"10": []}, {"10": "3"},
        {"10": [True]}, {"10": [1.0]}, {"11": [0]}, {"x": [0]}, {"99999999999": [0]},
    ],
    ids=str,
)  # fmt: skip
def test_rows_that_no_maker_wrote_are_refused(data):
    assert list(read_rows({"10": [0, 9]}, {10})) == [10]
    with pytest.raises(ValueError, match=r"row|invalid literal"):
        read_rows(data, {10})


def test_a_sample_says_of_its_rows_what_all_rows_say_of_them():
    """Exactly: the figures over the rows that are kept are those over the same rows of all."""
    rng = np.random.default_rng(0)
    reference = rng.standard_normal((300, 16)).astype(np.float32)
    residual = (1e-7 * rng.standard_normal(reference.shape)).astype(np.float32)
    candidate = (reference + residual * rng.standard_normal(reference.shape)).astype(np.float32)
    rows = choose(badness(reference, residual), LEAST)
    mask = masks({300: rows})[300]
    whole = expand(keep_rows(residual, rows), rows, residual.shape)
    sampled, every = (
        compare(candidate, Truth(reference, truth), FORMATS["float32"], GATE, keep=mask)
        for truth in (whole, residual)
    )
    assert sampled == every
    alone = compare(
        candidate[rows], Truth(reference[rows], residual[rows]), FORMATS["float32"], GATE
    )
    assert {n: (s.ratio, s.error) for n, s in sampled.slices.items()} == {
        n: (s.ratio, s.error) for n, s in alone.slices.items()
    }


def test_without_the_mask_what_is_not_kept_fails():
    """The twin: a comparison that forgets which rows there are truths of cannot pass."""
    value = np.ones((80, 4), np.float32)
    whole = expand(np.zeros((1, 4), np.float32), np.array([0]), value.shape)
    assert not compare(value, Truth(value, whole), FORMATS["float32"], GATE).ok


KEPT = {16: np.arange(16) % 3 != 0}
"""Of the two rows of eight tokens that the toy's prompt has, some."""
LOST, FOUND = (0, 6), (0, 5)
"""A token that is not kept, and one that is; neither is padding."""


@pytest.fixture
def toy(tmp_path):
    return Run(write(tmp_path / "toy"))


def judged(toy):
    """Rows of the toy, whose record has truths of some rows."""
    evidence = Evidence("toy", precision("fp32"), GATES, toy.bundle, toy.free, toy.forced,
                        padding=PADDING, sampled=KEPT)  # fmt: skip
    rows = judge(SCHEDULE, evidence)
    return rows, cover(SCHEDULE, SCHEDULE, evidence, rows)


def test_a_fault_shows_if_a_row_of_it_is_kept(toy):
    def change(x):
        x = x.copy()
        x[FOUND] += 1
        return x

    spoil(toy.forced, "blocks.0.mlp", change=change)
    rows, _ = judged(toy)
    wrong = {row.point: row for row in rows if row.verdict is Verdict.GUILTY}
    assert list(wrong) == ["blocks.0.mlp"]
    assert wrong["blocks.0.mlp"].local.row.index == np.ravel_multi_index(FOUND, (2, 8))


def test_what_happens_in_other_rows_alone_is_not_seen_and_the_ledger_says_so(toy):
    def change(x):
        x = x.copy()
        x[LOST] += 1
        return x

    spoil(toy.forced, "blocks.0.mlp", change=change)
    rows, covered = judged(toy)
    assert {row.verdict for row in rows} == {Verdict.PASS}
    floats = [f for f in SCHEDULE if f.point.kind.value == "float" and f.index == 0]
    assert covered.sampled == len(floats)
    left_out = int((~KEPT[16] & PADDING.reshape(-1)).sum())
    assert covered.rows_not_compared == left_out * len(floats)
    assert covered.padding == 3


def test_truths_that_are_not_there_change_nothing_of_what_is_compared(toy):
    firing = next(f for f in SCHEDULE if f.point.name == "blocks.1" and f.index == 0)
    evidence = Evidence("toy", precision("fp32"), GATES, toy.bundle, toy.free, toy.forced,
                        padding=PADDING, sampled=KEPT)  # fmt: skip
    found = end_to_end(firing, evidence)
    whole = found.truth.residual.copy()
    whole[~found.keep] = np.nan
    lost = replace(found, truth=replace(found.truth, residual=whole))
    assert lost.examine() == found.examine()
    assert found.examine().comparison.compared == int(found.keep.sum()) * 16
