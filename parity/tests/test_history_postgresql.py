"""A team's history: a real PostgreSQL, in a cluster of its own that goes away with the test."""

import contextlib
import dataclasses
import importlib.util
import multiprocessing
import os
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from parity.__main__ import app
from parity.core.errors import ParityError
from parity.core.rows import Verdict
from parity.history.database import History
from parity.history.measured import ABSENT, load
from parity.history.record import Figure, record_of
from parity.tests.history_runs import record, result
from parity.tests.report_runs import case_rows, hostile, odd_numbers

pytestmark = pytest.mark.slow
UNPRIVILEGED = "nobody"
"""Runs the server where the tests are run by root, which PostgreSQL refuses to be."""


def tool(name):
    """A program of PostgreSQL: Debian keeps them out of the path."""
    places = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return str(places[-1]) if places else shutil.which(name)


def run(*command):
    user = UNPRIVILEGED if os.geteuid() == 0 else None
    done = subprocess.run(command, user=user, capture_output=True, text=True, timeout=120, cwd="/")
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"


@pytest.fixture(scope="module")
def server():
    """The URL of a running server, without a database's name."""
    if tool("initdb") is None:
        pytest.skip("needs PostgreSQL: apt-get install postgresql")
    if importlib.util.find_spec("psycopg") is None:
        pytest.skip("needs psycopg: pip install 'psycopg[binary]'")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder = Path(tempfile.mkdtemp(prefix="parity-postgresql-"))
    if os.geteuid() == 0:
        shutil.chown(folder, UNPRIVILEGED)
    data = str(folder / "data")
    options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
    try:
        run(tool("initdb"), "-D", data, "-U", "parity", "-A", "trust", "--no-sync",
            "-E", "UTF8", "--no-locale")  # fmt: skip
        run(tool("pg_ctl"), "-D", data, "-w", "-l", str(folder / "log"), "-o", options, "start")
        try:
            yield f"postgresql+psycopg://parity@127.0.0.1:{port}"
        finally:
            run(tool("pg_ctl"), "-D", data, "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def url(server, request):
    """A new database."""
    import psycopg

    name = f"test_{abs(hash(request.node.name)):x}"
    plain = server.replace("+psycopg", "") + "/postgres"
    with contextlib.closing(psycopg.connect(plain, autocommit=True)) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return f"{server}/{name}"


def test_runs_come_out_as_they_went_in(url):
    history = History(url)
    odd = dataclasses.replace(
        record(1, {}),
        entries=tuple(
            dataclasses.replace(entry, local=Figure("row", ratio, 2.0), verdict=verdict)
            for entry, ratio, verdict in zip(
                record(1, {"a": 1, "b": 1, "c": 1, "d": 1}).entries,
                (float("nan"), float("inf"), 0.0, 1e-45),
                (Verdict.NONFINITE, Verdict.GUILTY, Verdict.PASS, Verdict.ABSENT),
                strict=True,
            )
        ),
    )
    assert history.append(odd)
    assert not history.append(odd)
    (info,) = history.runs()
    assert (info.digest, info.environment, info.when) == (odd.digest, odd.environment, odd.when)
    found = load(history, [info])
    used = [entry.local.used for entry in odd.entries]
    np.testing.assert_array_equal(found.local[:, 0], np.float32(used))
    assert found.verdicts[:, 0].tolist() == [8, 1, 0, 11]
    assert np.isnan(found.end).all()


def test_hostile_names_are_only_text(url):
    history = History(url)
    names = ("x" * 10_000, "'; DROP TABLE parity_run; --", "a\0b", "\ud800", "\\0;")
    for night, name in enumerate(names):
        assert history.append(record_of(result(night, case_rows(name, "fp32")[:5])))
    history.append(record_of(result(9, hostile().rows)))
    history.append(record_of(result(10, odd_numbers().rows)))
    found = load(history, history.runs())
    assert set(names) <= {key.case for key in found.keys}
    assert len(history.runs()) == len(names) + 2


def work(url, name):
    for night in range(3):
        points = {f"point{n}": 0.5 for n in range(100)} | {f"{name}{night}": 0.5}
        History(url).append(record(night, points, commit=name))


def test_four_processes_make_the_tables_and_write_at_once(url):
    spawn = multiprocessing.get_context("spawn")
    running = [spawn.Process(target=work, args=(url, f"w{n}")) for n in range(4)]
    for one in running:
        one.start()
    for one in running:
        one.join(300)
    assert [one.exitcode for one in running] == [0] * 4
    history = History(url)
    runs = history.runs()
    assert len(runs) == 12
    found = load(history, runs)
    assert len(found.keys) == 100 + 12
    assert ((found.verdicts != ABSENT).sum(axis=0) == 101).all()


def test_a_failure_in_the_middle_leaves_nothing(url):
    history = History(url)
    history.append(record(0, {"a": 0.5}))
    good, bad = record(1, {"b": 0.5, "c": 0.5}).entries
    bad = dataclasses.replace(bad, key=dataclasses.replace(bad.key, firing=2**70))
    with pytest.raises(ParityError, match="history postgresql"):
        history.append(dataclasses.replace(record(1, {}), entries=(good, bad)))
    assert [key.point for key in load(history, history.runs()).keys] == ["a"]


def test_an_old_schema_is_migrated_and_a_newer_one_refused(url):
    history = History(url)
    history.append(record(0, {"a": 0.5}))
    with history.engine.begin() as connection:  # as the first version made it
        connection.exec_driver_sql("ALTER TABLE parity_run DROP COLUMN facts")
        connection.exec_driver_sql("ALTER TABLE parity_run DROP COLUMN checksum")
        connection.exec_driver_sql("ALTER TABLE parity_schema DROP COLUMN checksum")
        connection.exec_driver_sql("UPDATE parity_schema SET version = 1")
    migrated = History(url)
    assert [one.facts for one in migrated.runs()] == [{}]
    assert migrated.append(record(1, {"a": 0.5}))
    with history.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE parity_schema SET version = 99")
    with pytest.raises(ParityError, match="schema 99"):
        History(url).runs()


def test_the_commands_work_with_it(url, tmp_path):
    history = History(url)
    for night in range(10):
        history.append(record(night, {"a": 0.3, "b": 0.3 if night < 8 else 0.9}))

    def invoke(*arguments):
        return CliRunner().invoke(app, [*map(str, arguments), "--history", url])

    done = invoke("trend", "--gate", "-o", tmp_path / "trend.html")
    assert done.exit_code == 1, done.output
    assert "WORSE b in case, fp32" in done.output
    assert "10 of 10 runs" in invoke("history", "list").output
    assert "7 of 10 runs removed" in invoke("history", "prune", "--keep-runs", 3).output
    assert len(history.runs()) == 3
