"""Steps are found, noise and equal values are not, and the gate says which run began it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parity.core.rows import Verdict
from parity.history.changes import changes, noise_of
from parity.history.database import History
from parity.history.gate import END, judge, lines_of
from parity.history.measured import Measured, load
from parity.history.place import as_url
from parity.history.simulate import simulate
from parity.tests.history_runs import record

NAN = np.nan


def one(*values):
    """The changes of a single series."""
    (found,) = changes(np.array([values], np.float32))
    return [(change.at, round(change.before, 4), round(change.after, 4)) for change in found]


@settings(max_examples=50, deadline=None)
@given(st.floats(0, 2.0**100, width=32), st.integers(1, 60))
def test_equal_values_never_change(value, runs):
    assert one(*[value] * runs) == []


@pytest.mark.parametrize("times", [0.25, 0.5, 1.1, 1.5, 2.0, 100.0])
@pytest.mark.parametrize("runs", [2, 3, 20])
def test_a_step_from_constant_to_constant_is_found_where_it_is(times, runs):
    ((at, before, after),) = one(*[0.3] * 10, *[0.3 * times] * runs)
    assert (at, before) == (10, 0.3)
    assert after == pytest.approx(0.3 * times, rel=1e-3)


def test_a_step_of_one_run_waits_for_the_next():
    assert one(*[0.3] * 10, 0.6) == []


def test_one_odd_run_is_no_change():
    assert one(*[0.3] * 10, 0.9, *[0.3] * 10) == []


def test_a_level_that_comes_back_is_two_changes():
    assert [at for at, *_ in one(*[0.3] * 8, *[0.6] * 5, *[0.3] * 8)] == [8, 13]


def test_a_short_history_says_nothing():
    assert one(0.3, 0.3, 0.3, 0.6, 0.6, 0.6) == []
    assert one(0.3, 0.3, 0.3, 0.3, 0.6, 0.6) != []


def test_what_is_not_a_number_is_the_worst_there_is():
    ((at, _, after),) = one(*[0.3] * 8, np.inf, np.inf)
    assert (at, after) == (8, 1e6)


def test_what_is_next_to_nothing_is_nothing():
    assert one(*[0.0] * 8, *[9e-4] * 8) == []
    assert one(*[0.0] * 8, *[0.5] * 8) != []


def test_runs_without_the_row_are_passed_over():
    assert one(0.3, NAN, 0.3, 0.3, NAN, 0.3, 0.3, 0.6, NAN, 0.6) == [(7, 0.3, 0.6)]
    assert one(*[NAN] * 20) == []


def test_a_loud_series_is_known_to_be_loud_and_a_step_is_no_noise():
    random = np.random.default_rng(0)
    levels = np.zeros((3, 40))
    levels[1] = random.normal(0, 0.5, 40)
    levels[2, 20:] = 3.0
    found = noise_of(levels)
    assert 0.3 < found[1] < 0.8
    assert found[2] == found[0]


def test_noise_alone_is_no_change_and_the_same_noise_with_a_step_is():
    random = np.random.default_rng(1)
    used = 0.3 * np.exp(random.normal(0, 0.05, (300, 60)))
    assert not any(changes(used))
    used[7, 50:] *= 2
    found = changes(used)
    assert [line for line, some in enumerate(found) if some] == [7]
    assert found[7][0].at == 50
    assert found[7][0].times == pytest.approx(2, rel=0.1)


def nights(tmp_path, *ratios, verdicts=None):
    """A history in which point ``a`` has these ratios, and ``b`` is always the same."""
    history = History(as_url(tmp_path / "h.sqlite"))
    for night, ratio in enumerate(ratios):
        said = {"a": verdicts[night]} if verdicts else None
        history.append(record(night, {"b": 0.5, "a": ratio}, said, commit=f"commit{night}"))
    return load(history, history.runs())


@pytest.mark.parametrize(("after", "passes"), [
    ([0.6], True),  # it might be an odd run
    ([0.6] * 2, False),
    ([0.6] * 3, False),
    ([0.6] * 4, True),  # by now it is how things are
    ([0.2] * 2, True),  # better
    ([0.4] * 3, True),  # not much
])  # fmt: skip
def test_the_gate_fails_while_a_worse_level_is_new(tmp_path, after, passes):
    found = judge(nights(tmp_path, *[0.3] * 8, *after))
    assert found.passed is passes
    if not passes:
        assert [(one.key.point, one.change.at) for one in found.alarms] == [("a", 8)]
        text = "\n".join(lines_of(found))
        assert "WORSE a in case, fp32" in text
        assert "2.00 times as much, at 2026-01-09 03:00 (commit8)" in text


G, P, V = Verdict.GUILTY, Verdict.PASS, Verdict.VICTIM


@pytest.mark.parametrize(("verdicts", "since"), [
    ([P, P, P, P], None),
    ([P, P, P, G], 3),
    ([P, G, G, G], 1),
    ([G, G, G, G], None),  # for longer than three runs
    ([P, P, G, P], None),  # mended
    ([P, P, P, V], None),  # its cause is told instead
    ([G, P, V, G], 3),
])  # fmt: skip
def test_a_point_that_began_to_fail_is_told(tmp_path, verdicts, since):
    found = judge(nights(tmp_path, *[0.3] * 4, verdicts=verdicts))
    assert found.passed is (since is None)
    assert [one.at for one in found.crossed] == ([] if since is None else [since])
    if since is not None:
        assert f"(commit{since})" in "\n".join(lines_of(found))


def test_the_first_run_of_all_may_fail(tmp_path):
    assert not judge(nights(tmp_path, 0.3, verdicts=[G])).passed
    assert judge(nights(tmp_path, 0.3)).passed


def test_rows_that_are_gone_are_counted(tmp_path):
    history = History(as_url(tmp_path / "h.sqlite"))
    history.append(record(0, {"a": 0.5, "b": 0.5, "c": 0.5}))
    history.append(record(1, {"a": 0.5, "new": 0.5}))
    found = judge(load(history, history.runs()))
    assert found.gone == 2
    assert lines_of(found)[-1].startswith("note: 2 rows of the run before")


def measured(local, end=None):
    """One night of made-up series, to simulate from."""
    run = nights_run()
    local = np.array(local, np.float32)[:, None]
    keys = tuple(
        type(run.keys[0])("case", "fp32", "pynative", "text", f"p{n}", 0) for n in range(len(local))
    )
    end = local if end is None else np.array(end, np.float32)[:, None]
    return Measured(run.runs[:1], keys, np.zeros(local.shape, np.int8), local, end)


def nights_run():
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        return nights(Path(folder), 0.5)


def test_levels_that_move_end_to_end_are_told_after_those_that_move_by_themselves():
    start = measured([0.2, 0.3])
    local = np.repeat(start.local, 10, axis=1)
    end = local.copy()
    end[0, 8:] *= 2
    local[1, 8:] *= 2
    found = judge(Measured(start.runs * 10, start.keys, np.zeros((2, 10), np.int8), local, end))
    assert [one.key.point for one in found.alarms] == ["p1", "p0"]
    assert found.alarms[1].scope == END


def test_the_simulation_counts_what_it_plants_and_what_is_missed():
    start = measured(np.linspace(0.05, 0.9, 40))
    still = simulate(start, 0.0, steps=6, times=2.0, seed=0, nights=30)
    assert (still.false_alarms, still.found, still.latest) == (0, 6, 2)
    small = simulate(start, 0.0, steps=6, times=1.2, seed=0, nights=30)
    assert (small.false_alarms, small.found) == (0, 0)


def test_the_simulation_would_count_a_false_alarm(monkeypatch):
    """With the noise taken for signal, noise alarms: so that none is no matter of course."""
    quiet = lambda levels: np.full(len(levels), 0.02)  # noqa: E731
    monkeypatch.setattr("parity.history.changes.noise_of", quiet)
    start = measured(np.linspace(0.05, 0.9, 40))
    assert simulate(start, 0.4, steps=1, times=2.0, seed=0, nights=20).false_alarms > 0


@pytest.mark.slow
@pytest.mark.parametrize("noise", [0.0, 0.02, 0.05])
def test_a_hundred_nights_raise_no_false_alarm_and_every_step_is_found(noise):
    """All series together; the ratios are spread as a real run's are, from 1e-3 to the gate."""
    start = measured(np.geomspace(0.01, 0.95, 200))
    outcome = simulate(start, noise, steps=20, times=2.0, seed=1)
    assert (outcome.nights, outcome.false_alarms) == (100, 0)
    assert (outcome.found, outcome.planted) == (20, 20)
    assert outcome.latest <= 3
