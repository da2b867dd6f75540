"""The commands about the history, and what a run does for it."""

import dataclasses
import json
from datetime import timedelta

import pytest
from typer.testing import CliRunner

from parity.__main__ import app
from parity.core.errors import ParityError
from parity.core.rows import RunResult
from parity.history.database import History
from parity.history.place import as_url
from parity.history.recording import remember
from parity.history.retention import surplus
from parity.report.rows_io import to_json
from parity.tests.history_runs import START, record, result
from parity.tests.report_runs import case_rows


@pytest.fixture
def file(tmp_path):
    return tmp_path / "history.sqlite"


def run(*arguments):
    return CliRunner().invoke(app, list(map(str, arguments)))


def write(folder, found):
    folder.mkdir(parents=True)
    (folder / "rows.json").write_text(to_json(found))


def test_importing_twice_changes_nothing(tmp_path, file):
    for night in range(3):
        write(tmp_path / "runs" / str(night), result(night))
    (tmp_path / "runs" / "latest").symlink_to("2")
    first = run("history", "import", tmp_path / "runs", "--history", file)
    assert first.exit_code == 0, first.output
    assert first.output.endswith("3 added, 0 already there, 0 passed over, 0 unreadable\n")
    again = run("history", "import", tmp_path / "runs", tmp_path / "runs/1", "--history", file)
    assert again.output.endswith("0 added, 3 already there, 0 passed over, 0 unreadable\n")
    assert len(History(as_url(file)).runs()) == 3


def test_a_run_and_its_own_json_are_the_same_run(tmp_path, file):
    said = []
    remember(result(), str(file), (), said.append)
    write(tmp_path / "run", result())
    assert "1 already there" in run("history", "import", tmp_path / "run", "--history", file).output
    assert said[0].startswith("history: recorded as ")


def test_format_3_is_imported_as_the_same_run(tmp_path, file):
    write(tmp_path / "new", result())
    older = json.loads((tmp_path / "new" / "rows.json").read_text())
    older["format"] = 3
    for key in ("details", "inputs", "sources", "sha256"):
        older.pop(key, None)
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "rows.json").write_text(json.dumps(older))
    assert "1 added" in run("history", "import", tmp_path / "old", "--history", file).output
    assert "1 already" in run("history", "import", tmp_path / "new", "--history", file).output


def test_what_cannot_be_imported_is_named_and_the_rest_is(tmp_path, file):
    write(tmp_path / "a", result())
    write(tmp_path / "b", result(1, **{"planted fault": "ln-eps"}))
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "rows.json").write_text("{")
    done = run("history", "import", tmp_path, "--history", file)
    assert done.exit_code == 2
    assert done.output.endswith("1 added, 0 already there, 1 passed over, 1 unreadable\n")
    assert f"{tmp_path}/c/rows.json: unreadable" in done.output
    with pytest.raises(ParityError, match="holds no rows"):
        CliRunner().invoke(
            app, ["history", "import", str(tmp_path / "nothing"), "--history", str(file)],
            catch_exceptions=False,
        )  # fmt: skip


def test_listing_says_when_what_and_where(file):
    History(as_url(file)).append(record(0, {"a": 0.5}))
    done = run("history", "list", "--history", file)
    assert "2026-01-01 03:00" in done.output
    assert "MindSpore 2.10.0" in done.output
    assert "1 of 1 runs" in done.output


def runs_of(*nights, environment="2.10.0"):
    database = [record(night, {"a": 0.5}, mindspore=environment) for night in nights]
    return [dataclasses.replace(one) for one in database]


@pytest.mark.parametrize(("days", "count", "left"), [
    (10.0, None, [90, 95, 99]),
    (None, 2, [95, 99]),
    (1.0, 1, [99]),
    (0.5, 4, [50, 90, 95, 99]),
    (1000.0, 1, [1, 50, 90, 95, 99]),
])  # fmt: skip
def test_what_neither_option_keeps_goes(file, days, count, left):
    history = History(as_url(file))
    for one in runs_of(1, 50, 90, 95, 99):
        history.append(one)
    runs = history.runs()
    gone = surplus(runs, START + timedelta(days=100), days, count)
    assert [(one.when - START).days for one in runs if one not in gone] == left


def test_each_environment_keeps_its_own(file):
    history = History(as_url(file))
    for one in (*runs_of(1, 2, environment="2.9"), *runs_of(3, 4)):
        history.append(one)
    gone = surplus(history.runs(), START, None, 1)
    assert [(one.when - START).days for one in gone] == [1, 3]


def test_pruning_removes_and_says_so(file):
    history = History(as_url(file))
    for one in runs_of(1, 2, 3):
        history.append(one)
    tried = run("history", "prune", "--keep-runs", "1", "--dry-run", "--history", file)
    assert tried.output.endswith("2 of 3 runs would go\n")
    assert len(history.runs()) == 3
    assert run("history", "prune", "--keep-runs", "1", "--history", file).exit_code == 0
    assert [(one.when - START).days for one in history.runs()] == [3]
    with pytest.raises(ParityError, match="say what to keep"):
        CliRunner().invoke(app, ["history", "prune"], catch_exceptions=False)


@pytest.mark.parametrize(("found", "without", "named", "said"), [
    (RunResult(case_rows("a", "b"), {"when": "2026-01-01"}, invalid=["x"]), (), True, "proof"),
    (result(), ("visual.merger",), True, "'visual.merger' was left out"),
    (RunResult([], {"when": "2026-01-01"}), (), True, "nothing was compared"),
    (result(0, **{"planted fault": "ln-eps"}), (), False, "'ln-eps' was planted"),
    (result(0, **{"numerics model": "hf32-conv"}), (), False, "'hf32-conv' was imitated"),
])  # fmt: skip
def test_what_others_may_not_be_compared_with_is_not_recorded(
    found, without, named, said, file, monkeypatch
):
    monkeypatch.setenv("PARITY_HISTORY", str(file))
    lines = []
    remember(found, str(file) if named else None, without, lines.append)
    assert len(lines) == 1
    assert said in lines[0]
    assert not file.exists()


def test_a_planted_fault_is_recorded_where_it_was_asked_for(file):
    lines = []
    remember(result(0, **{"planted fault": "ln-eps"}), str(file), (), lines.append)
    assert len(History(as_url(file)).runs()) == 1


def test_a_history_that_cannot_be_written_is_one_line(tmp_path):
    lines = []
    remember(result(), str(tmp_path), (), lines.append)
    assert len(lines) == 1
    assert lines[0].startswith("history: not recorded: the history")


def test_no_history_says_nothing(monkeypatch):
    lines = []
    remember(result(), "none", (), lines.append)
    assert lines == []
