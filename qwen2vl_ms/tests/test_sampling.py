"""Logits processors against transformers' own, and drawing against the distribution."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from qwen2vl_ms import Qwen2VLError, sampling
from qwen2vl_ms.generation_config import GenerationConfig

FIXED = settings(max_examples=60, deadline=None, derandomize=True, database=None)
SEEDS = st.integers(0, 2**32 - 1)
ROWS, VOCABULARY = 3, 211
ROUNDING = 1e-6  # of a sum of probabilities, see the module


def random_logits(seed: int, ties: bool = False) -> np.ndarray:
    """Logits [B, V] of a wide range; with ties, many are equal."""
    values = np.random.default_rng(seed).normal(0, 6, (ROWS, VOCABULARY))
    return (values.round() if ties else values).astype(np.float32)


def reference(processor: Any, logits: np.ndarray, tokens: np.ndarray | None = None) -> np.ndarray:
    ids = torch.zeros(ROWS, 1, dtype=torch.long) if tokens is None else torch.from_numpy(tokens)
    return processor(ids, torch.from_numpy(logits.copy())).numpy()


def same_bits(ours: np.ndarray, theirs: np.ndarray) -> bool:
    return ours.dtype == np.float32 and bool((ours.view(np.int32) == theirs.view(np.int32)).all())


@FIXED
@given(seed=SEEDS, penalty=st.floats(0.3, 3.0), left=st.integers(0, 4))
def test_repetition_penalty(seed: int, penalty: float, left: int) -> None:
    logits = random_logits(seed)
    tokens = np.random.default_rng(seed).integers(0, VOCABULARY, (ROWS, 9))
    padding = np.array([0, left, 2])
    keep = np.arange(9) >= padding[:, None]
    processor = RepetitionPenaltyLogitsProcessor(
        penalty, prompt_ignore_length=torch.from_numpy(padding)
    )
    ours = sampling.repetition_penalty(logits, tokens, penalty, keep)
    assert same_bits(ours, reference(processor, logits, tokens))
    plain = RepetitionPenaltyLogitsProcessor(penalty)
    ours = sampling.repetition_penalty(logits, tokens, penalty)
    assert same_bits(ours, reference(plain, logits, tokens))


@FIXED
@given(seed=SEEDS, value=st.floats(0.01, 5.0))
def test_temperature(seed: int, value: float) -> None:
    logits = random_logits(seed)
    assert same_bits(
        sampling.temperature(logits, value), reference(TemperatureLogitsWarper(value), logits)
    )


@FIXED
@given(seed=SEEDS, k=st.integers(1, VOCABULARY + 5), ties=st.booleans())
def test_top_k(seed: int, k: int, ties: bool) -> None:
    logits = random_logits(seed, ties)
    ours = sampling.top_k(logits, k)
    assert same_bits(ours, reference(TopKLogitsWarper(k), logits))
    assert (np.isfinite(ours).sum(axis=1) >= min(k, VOCABULARY)).all()


@FIXED
@given(seed=SEEDS, p=st.floats(0, 1), ties=st.booleans())
def test_top_p(seed: int, p: float, ties: bool) -> None:
    logits = random_logits(seed, ties)
    ours, theirs = sampling.top_p(logits, p), reference(TopPLogitsWarper(p), logits)
    exact = np.exp(np.sort(logits, axis=1).astype(np.float64) - logits.max(axis=1, keepdims=True))
    exact = (exact / exact.sum(axis=1, keepdims=True)).cumsum(axis=1)
    decided = np.abs(exact - (1 - p)) > ROUNDING
    # Sorted, for which of equal ones the reference keeps is up to its sort, which is not stable.
    kept = [np.sort(side, axis=1) for side in (ours, theirs)]
    assert same_bits(kept[0][decided], kept[1][decided])
    assert np.isfinite(ours).any(axis=1).all()
    if not ties:
        order = np.argsort(logits, axis=1)
        ours, theirs = (np.take_along_axis(side, order, axis=1) for side in (ours, theirs))
        assert same_bits(ours[decided], theirs[decided])


def test_top_p_follows_processed_ties_and_filtered_tokens() -> None:
    """Of equal tokens the first go first; what top-k removed stays removed."""
    logits = np.log(np.array([[0.2, 0.2, 0.2, 0.2, 0.2]], np.float32))
    kept = np.isfinite(sampling.top_p(logits, 0.5))
    assert kept.tolist() == [[False, False, True, True, True]]
    assert (kept == np.isfinite(reference(TopPLogitsWarper(0.5), logits.repeat(ROWS, 0))[:1])).all()
    cut = sampling.top_p(sampling.top_k(random_logits(1), 3), 0.999)
    assert (np.isfinite(cut).sum(axis=1) <= 3).all()


@FIXED
@given(seed=SEEDS, penalty=st.sampled_from([1.0, 1.3]), do_sample=st.booleans())
def test_all_in_the_references_order(seed: int, penalty: float, do_sample: bool) -> None:
    logits = random_logits(seed)
    tokens = np.random.default_rng(seed).integers(0, VOCABULARY, (ROWS, 9))
    config = GenerationConfig(
        do_sample=do_sample, temperature=0.7, top_k=20, top_p=0.9, repetition_penalty=penalty
    )
    processors = [RepetitionPenaltyLogitsProcessor(penalty)] if penalty != 1 else []
    if do_sample:
        processors += [TemperatureLogitsWarper(0.7), TopKLogitsWarper(20), TopPLogitsWarper(0.9)]
    theirs = logits
    for processor in processors:
        theirs = reference(processor, theirs, tokens)
    ours = sampling.processed(logits, tokens, config)
    assert (np.isfinite(ours) == np.isfinite(theirs)).mean() > 0.999
    both = np.isfinite(ours) & np.isfinite(theirs)
    assert same_bits(ours[both], theirs[both])


def test_the_order_matters() -> None:
    """So that the test above would see another one."""
    logits = np.log(np.array([[0.5, 0.3, 0.15, 0.05]], np.float32))
    hot_first = sampling.top_p(sampling.temperature(logits, 5.0), 0.7)
    hot_last = sampling.temperature(sampling.top_p(logits, 0.7), 5.0)
    assert (np.isfinite(hot_first) != np.isfinite(hot_last)).any()


def test_settings_that_are_off_change_nothing() -> None:
    logits = random_logits(0)
    off = GenerationConfig(do_sample=True, top_k=0)
    assert sampling.processed(logits, np.zeros((ROWS, 2), np.int64), off) is logits


def test_likeliest_is_the_first_of_equals() -> None:
    logits = np.array([[1, 3, 3], [2, 2, 0]], np.float32)
    assert sampling.likeliest(logits).tolist() == torch.from_numpy(logits).argmax(-1).tolist()
    assert sampling.likeliest(logits).tolist() == [1, 0]


def drawn(logits: np.ndarray, count: int, seed: int = 0) -> np.ndarray:
    streams = [np.random.default_rng(seed)]
    return np.array([sampling.draw(logits, streams)[0] for _ in range(count)])


def test_draws_follow_the_distribution() -> None:
    """A chi-square test at 1 in 10,000; the twin draws from another distribution."""
    logits = np.log(np.array([[0.05, 0.1, 0.15, 0.7]], np.float32))
    counts = np.bincount(drawn(logits, 4000), minlength=4)
    limit = 21.1  # three degrees of freedom
    expected = 4000 * sampling.softmax(logits)[0]
    assert ((counts - expected) ** 2 / expected).sum() < limit
    wrong = 4000 * sampling.softmax(logits * 1.2)[0]
    assert ((counts - wrong) ** 2 / wrong).sum() > limit


def test_what_was_removed_is_never_drawn() -> None:
    logits = sampling.top_k(random_logits(3)[:1], 5)
    kept = set(np.flatnonzero(np.isfinite(logits[0])).tolist())
    assert set(drawn(logits, 500).tolist()) <= kept
    assert sampling._drawn(np.array([0.3, 0.7, 0.0], np.float32), np.nextafter(1.0, 0.0)) == 1
    assert sampling._drawn(np.array([0.0, 0.3, 0.7], np.float32), 0.0) == 1


def test_a_row_is_drawn_from_its_own_stream() -> None:
    logits = random_logits(5)
    seeds = sampling.row_seeds(7, ROWS)
    assert seeds == (7, 8, 9)
    together = sampling.draw(logits, [np.random.default_rng(seed) for seed in seeds])
    for row, seed in enumerate(seeds):
        alone = sampling.draw(logits[row : row + 1], [np.random.default_rng(seed)])
        assert alone[0] == together[row]


def test_seeds() -> None:
    assert sampling.row_seeds([4, 2], 2) == (4, 2)
    fresh = [sampling.row_seeds(None, 2) for _ in range(2)]
    assert len({seed for seeds in fresh for seed in seeds}) == 4
    with pytest.raises(Qwen2VLError, match="seed has 2 numbers for 3 rows"):
        sampling.row_seeds([1, 2], 3)
    for wrong in (-1, 1.5, "7", [1, None], True):
        with pytest.raises(Qwen2VLError, match="whole number from 0"):
            sampling.row_seeds(wrong, 2)  # type: ignore[arg-type]
