"""The benchmark's arithmetic: spreads, ratios within rounds, goals, and equal results."""

import numpy as np
import pytest

from parity.bench.ratios import Spread, check_same, met, relative_error, round_ratios
from parity.bench.rounds import (
    rotated,
)
from parity.core.errors import ParityError


def test_a_spread_is_median_and_range():
    assert Spread.of([3.0, 1.0, 2.0, 10.0]) == Spread(2.5, 1.0, 10.0)


@pytest.mark.parametrize("values", [[], [1.0, 0.0], [1.0, -1.0], [float("nan")], [float("inf")]])
def test_a_spread_of_what_is_no_measurement_is_refused(values):
    with pytest.raises(ParityError):
        Spread.of(values)


def test_ratios_are_taken_within_rounds():
    """Not of medians: a slow round slows everybody in it."""
    assert round_ratios([2.0, 40.0, 6.0], [1.0, 10.0, 2.0]) == [2.0, 4.0, 3.0]


@pytest.mark.parametrize("baseline", [[1.0, 1.0], [1.0, 1.0, 0.0], [1.0, 1.0, float("nan")]])
def test_ratios_of_other_rounds_are_refused(baseline):
    with pytest.raises(ParityError):
        round_ratios([1.0, 1.0, 1.0], baseline)


@pytest.mark.parametrize(("median", "reached"), [(1.5, True), (1.51, False), (np.nan, False)])
def test_a_goal_is_met_by_the_median(median, reached):
    assert met(Spread(median, 0.1, 99.0), 1.5) is reached


def test_the_relative_error_is_of_norms():
    reference = np.array([[3.0, 4.0]], np.float32)
    assert relative_error(reference + np.array([[0.0, 0.5]], np.float32), reference) == 0.1
    assert relative_error(reference, reference) == 0.0


@pytest.mark.parametrize(
    ("found", "reference", "word"),
    [([1.0, 2.0], [1.0], "shape"), ([1.0], [0.0], "norm"), ([1.0], [float("nan")], "norm")],
)
def test_what_cannot_be_compared_is_refused(found, reference, word):
    with pytest.raises(ParityError, match=word):
        relative_error(np.array(found), np.array(reference))


@pytest.mark.parametrize("error", [2e-4, float("nan"), float("inf")])
def test_another_result_is_refused(error):
    check_same(9e-5, 1e-4)
    with pytest.raises(ParityError, match="something else"):
        check_same(error, 1e-4)


def test_every_contestant_begins_a_round():
    assert [rotated([1, 2, 3], turn)[0] for turn in range(4)] == [1, 2, 3, 1]
    assert sorted(rotated([1, 2, 3], 2)) == [1, 2, 3]
    assert rotated([], 1) == []
