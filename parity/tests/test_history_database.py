"""Runs go into the database whole or not at all, come out equal, and errors are one line."""

import dataclasses
import math
import os
import signal
import sqlite3
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parity.core.errors import ParityError
from parity.core.rows import RunResult, Verdict
from parity.history.database import History
from parity.history.measured import ABSENT, load
from parity.history.place import as_url
from parity.history.record import Entry, Figure, Key, record_of, single
from parity.history.tables import VERDICTS
from parity.tests.history_runs import START, record, result
from parity.tests.report_runs import case_rows, failing, hostile, odd_numbers


@pytest.fixture
def url(tmp_path):
    return as_url(tmp_path / "deep" / "history.sqlite")


def test_a_run_is_added_once_and_listed(url):
    first, second = record_of(result(0)), record_of(result(1, commit="def"))
    history = History(url)
    assert history.append(second)
    assert history.append(first)
    assert not History(url).append(first)
    runs = history.runs()
    assert [one.when for one in runs] == [first.when, second.when]
    assert [one.commit for one in runs] == ["abc", "def"]
    assert runs[0].digest == first.digest
    assert runs[0].environment == first.environment
    assert runs[0].entries == len(first.entries)


@pytest.mark.parametrize("change", [
    lambda r: dataclasses.replace(r, when=r.when + timedelta(seconds=1)),
    lambda r: dataclasses.replace(r, commit="other"),
    lambda r: dataclasses.replace(r, entries=r.entries[:-1]),
    lambda r: dataclasses.replace(
        r, entries=(dataclasses.replace(r.entries[0], verdict=Verdict.GUILTY), *r.entries[1:])
    ),
])  # fmt: skip
def test_another_run_has_another_digest(change):
    one = record_of(result())
    assert change(one).digest != one.digest
    assert record_of(result()).digest == one.digest


ratios = st.floats(min_value=0) | st.just(math.nan) | st.just(math.inf)
names = st.text(st.characters(), min_size=1, max_size=40)  # lone surrogates and NUL among them
figures = st.none() | st.builds(
    Figure, st.sampled_from(["whole", "row"]), ratios.map(single), st.just(2.0)
)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(names, names, st.sampled_from(list(Verdict)), figures, figures),
                min_size=1, max_size=8, unique_by=lambda one: one[:2]))  # fmt: skip
def test_everything_comes_out_as_it_went_in(tmp_path_factory, lines):
    history = History(as_url(tmp_path_factory.mktemp("h") / "h.sqlite"))
    entries = tuple(
        Entry(Key(case, "fp32", "pynative", "text", point, 0), order, verdict, local, end)
        for order, (case, point, verdict, local, end) in enumerate(lines)
    )
    history.append(dataclasses.replace(record(0, {}), entries=entries, commit=lines[0][0]))
    (run,) = history.runs()
    found = load(history, [run])
    assert run.commit == lines[0][0]
    assert set(found.keys) == {one.key for one in entries}
    at = {key: line for line, key in enumerate(found.keys)}
    for one in entries:
        line = at[one.key]
        assert VERDICTS[found.verdicts[line, 0]] == one.verdict.value
        for figure, values in ((one.local, found.local), (one.end, found.end)):
            if figure is None:
                assert np.isnan(values[line, 0])
            else:
                assert values[line, 0] == np.float32(figure.used)


def test_hostile_names_and_numbers_are_only_text(url):
    history = History(url)
    long = "x" * 10_000 + "\u202e"
    for night, rows in enumerate((hostile().rows, odd_numbers().rows, case_rows(long, "'; --"))):
        assert history.append(record_of(result(night, rows)))
    found = load(history, history.runs())
    assert long in {key.case for key in found.keys}
    assert "'; --" in {key.dtype for key in found.keys}
    assert len(history.runs()) == 3


def test_a_row_that_is_not_in_a_run_is_absent_there(url):
    history = History(url)
    history.append(record(0, {"a": 0.5, "b": 0.25}))
    history.append(record(1, {"b": 0.5}))
    found = load(history, history.runs())
    assert [key.point for key in found.keys] == ["a", "b"]
    assert found.verdicts.tolist() == [[0, ABSENT], [0, 0]]
    np.testing.assert_array_equal(found.local, np.float32([[0.5, np.nan], [0.25, 0.5]]))


def test_the_newest_run_says_in_which_order_points_run(url):
    history = History(url)
    history.append(record(0, {"a": 0.5, "b": 0.25, "c": 0.5}))
    history.append(record(1, {"c": 0.5, "b": 0.5, "a": 0.5}))
    assert [key.point for key in load(history, history.runs()).keys] == ["c", "b", "a"]


def test_new_gates_do_not_change_what_was_measured(url):
    history = History(url)
    old = record(0, {"a": 0.5})
    new = record(1, {"a": 0.5})
    wider = dataclasses.replace(new.entries[0], local=Figure("whole", 0.5, 4.0))
    history.append(old)
    history.append(dataclasses.replace(new, entries=(wider,)))
    assert load(history, history.runs()).local.tolist() == [[0.125, 0.125]]


def test_what_is_not_finite_in_values_is_infinite_in_the_history():
    rows = case_rows("c", "fp32")
    spoilt = dataclasses.replace(rows[5].local, nonfinite=3)
    changed = [dataclasses.replace(rows[5], local=spoilt)]
    assert record_of(result(0, changed)).entries[0].local.ratio == math.inf
    assert math.isfinite(record_of(result(0, rows[5:6])).entries[0].local.ratio)


@pytest.mark.parametrize(("broken", "said"), [
    (RunResult([], {"when": "2026-01-01"}), "no rows"),
    (RunResult(case_rows("a", "b") * 2, {"when": "2026-01-01"}), "twice"),
    (RunResult(case_rows("a", "b"), {}), "no 'when'"),
    (RunResult(case_rows("a", "b"), {"when": "yesterday"}), "no time"),
])  # fmt: skip
def test_a_run_that_cannot_be_remembered_says_why(broken, said):
    with pytest.raises(ParityError, match=said):
        record_of(broken, "x.json")


def test_provenance_is_read_flat_and_in_tables():
    nested = {
        "when": "2026-01-01T00:00:00Z",
        "commit": "c",
        "versions": {"mindspore": "2.10.0"},
        "device": {"soc": "910B", "cann": "8.0", "driver": "24.1", "name": "Ascend:0"},
    }
    flat = {"when": "2026-01-01T00:00:00Z", "commit": "c", "mindspore": "2.10.0", "device": "CPU"}
    one = record_of(RunResult(case_rows("a", "b"), nested)).environment
    other = record_of(RunResult(case_rows("a", "b"), flat)).environment
    assert (one.soc, one.cann, one.driver, one.device) == ("910B", "8.0", "24.1", "Ascend")
    assert (other.soc, other.mindspore, other.device) == ("none", "2.10.0", "CPU")
    assert "soc: 910B -> none" in one.differences(other)


def test_removing_runs_removes_what_only_they_were_about(url, tmp_path):
    history = History(url)
    history.append(record(0, {"gone": 0.5, "stays": 0.5}, mindspore="2.9"))
    history.append(record(1, {"stays": 0.5}))
    history.remove([history.runs()[0].id])
    found = load(history, history.runs())
    assert [key.point for key in found.keys] == ["stays"]
    file = sqlite3.connect(tmp_path / "deep" / "history.sqlite")
    for table in ("run", "series", "environment", "entry"):
        assert file.execute(f"select count(*) from parity_{table}").fetchone() == (1,), table
    file.close()


WRITER = """
import sys
from parity.history.database import History
from parity.tests.history_runs import record
name, nights = sys.argv[2], range(int(sys.argv[3]))
for night in nights:
    points = {f"point{n}": 0.5 for n in range(200)} | {f"{name}{night}": 0.5}
    History(sys.argv[1]).append(record(night, points, commit=name))
    print(night, flush=True)
"""


def writer(url, name, nights):
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, url, name, str(nights)], stdout=subprocess.PIPE, text=True
    )


def test_four_processes_write_at_once(url):
    running = [writer(url, f"w{n}", 4) for n in range(4)]
    assert [one.wait(120) for one in running] == [0] * 4
    for one in running:
        one.stdout.close()
    history = History(url)
    runs = history.runs()
    assert len(runs) == 16
    assert {one.entries for one in runs} == {201}
    found = load(history, runs)
    assert len(found.keys) == 200 + 16
    assert (found.verdicts[[k.point.startswith("point") for k in found.keys]] == 0).all()


def test_a_killed_writer_leaves_whole_runs(url):
    process = writer(url, "w", 10_000)
    for _ in range(3):
        process.stdout.readline()
    time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait(10)
    process.stdout.close()
    history = History(url)
    runs = history.runs()
    assert len(runs) >= 3
    for one in runs:
        assert (load(history, [one]).verdicts != ABSENT).sum() == one.entries == 201
    assert history.append(record(20_000, {"a": 0.5}))


def test_a_failure_in_the_middle_of_a_run_leaves_nothing(url):
    history = History(url)
    history.append(record(0, {"a": 0.5}))
    huge = dataclasses.replace(record(1, {}).environment, soc="new")
    entry = record(1, {"b": 0.5}).entries[0]
    broken = Entry(dataclasses.replace(entry.key, firing=2**70), 0, entry.verdict, None, None)
    bad = dataclasses.replace(record(1, {}), environment=huge, entries=(entry, broken))
    with pytest.raises(ParityError, match="history"):
        history.append(bad)
    assert len(history.runs()) == 1
    assert [key.point for key in load(history, history.runs()).keys] == ["a"]


def test_a_locked_database_is_one_clear_error(url):
    History(url).append(record(0, {"a": 0.5}))
    other = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(ParityError, match="locked: another process is writing"):
        History(url, wait=0.1).append(record(1, {"a": 0.5}))
    other.close()


def test_a_damaged_file_is_one_clear_error(tmp_path):
    file = tmp_path / "h.sqlite"
    file.write_text("no database at all, but a long enough text to be looked into" * 40)
    with pytest.raises(ParityError, match="not a database: it is another file"):
        History(as_url(file)).append(record(0, {"a": 0.5}))
    assert file.read_text().startswith("no database")


def test_a_half_overwritten_file_is_one_clear_error(tmp_path):
    file = tmp_path / "h.sqlite"
    history = History(as_url(file))
    history.append(record(0, {f"point{n}": 0.5 for n in range(500)}))
    history.engine.dispose()
    content = bytearray(file.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    file.write_bytes(content)
    with pytest.raises(ParityError, match="malformed: move it away"):
        History(as_url(file)).append(record(1, {"a": 0.5}))


def test_a_read_only_database_is_one_clear_error(tmp_path):
    file = tmp_path / "h.sqlite"
    History(as_url(file)).append(record(0, {"a": 0.5}))
    history = History(f"sqlite:///file:{file}?mode=ro&uri=true")
    with pytest.raises(ParityError, match="readonly database: make the file"):
        history.append(record(1, {"a": 0.5}))
    assert len(history.runs()) == 1


def test_a_folder_in_the_way_is_one_clear_error(tmp_path):
    with pytest.raises(ParityError, match="unable to open database file: see that its folder"):
        History(as_url(tmp_path)).append(record(0, {"a": 0.5}))


def test_reading_makes_no_file(tmp_path):
    with pytest.raises(ParityError, match="no history at"):
        History(as_url(tmp_path / "h.sqlite")).runs()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("url", "said"), [
    ("nosuch://x/y", "neither a file nor a URL"),
    ("mysql+nosuchdriver://x/y", "neither a file nor a URL"),
    ("oracle+oracledb://x/y", "needs a driver"),
])  # fmt: skip
def test_a_bad_url_says_what_one_looks_like(url, said):
    with pytest.raises(ParityError, match=said):
        History(url)


def test_a_password_is_never_shown():
    url = "postgresql+psycopg://me:secret@127.0.0.1:1/none?connect_timeout=1"
    with pytest.raises(ParityError, match="history") as told:
        History(url).append(record(0, {"a": 0.5}))
    assert "secret" not in str(told.value)


def test_a_failing_report_keeps_its_failures(url):
    history = History(url)
    run = result(0, failing().rows)
    history.append(record_of(run))
    found = load(history, history.runs())
    counts = {name: int((found.verdicts == n).sum()) for n, name in enumerate(VERDICTS)}
    assert counts == run.counts
    assert history.runs()[0].when == START


def test_the_file_is_where_it_was_said(tmp_path, monkeypatch):
    from parity.history.place import history_url

    monkeypatch.setenv("PARITY_HISTORY", str(tmp_path / "x.sqlite"))
    assert history_url(None) == as_url(tmp_path / "x.sqlite")
    assert history_url("none") is None
    assert history_url("a.sqlite") == as_url(Path("a.sqlite"))
    assert history_url("postgresql+psycopg://h/n") == "postgresql+psycopg://h/n"
    monkeypatch.setenv("PARITY_HISTORY", "none")
    assert history_url(None) is None
    monkeypatch.delenv("PARITY_HISTORY")
    assert history_url(None).endswith("parity/history.sqlite")
