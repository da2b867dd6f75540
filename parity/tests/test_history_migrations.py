"""Databases of earlier versions are brought up to the present one; those of later ones refused."""

import multiprocessing
import shutil
import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import create_engine, inspect

from parity.core.errors import ParityError
from parity.history import tables
from parity.history.database import History
from parity.history.measured import load
from parity.history.migrations import STEPS
from parity.history.place import as_url
from parity.tests.history_runs import record

OLD = Path(__file__).parent / "data" / "history-schema-1.sqlite"


@pytest.fixture
def old(tmp_path):
    return Path(shutil.copy(OLD, tmp_path / "history.sqlite"))


def columns(file):
    """Tables with their columns and types, keys and indexes."""
    found = inspect(create_engine(as_url(file)))
    return {
        table: (
            sorted((one["name"], str(one["type"]), one["nullable"])
                   for one in found.get_columns(table)),
            found.get_pk_constraint(table)["constrained_columns"],
            sorted(one["name"] for one in found.get_indexes(table)),
        )
        for table in found.get_table_names()
    }  # fmt: skip


def test_an_old_database_keeps_what_it_holds(old):
    """The file was written by the first version, before there were migrations."""
    history = History(as_url(old))
    runs = history.runs()
    assert [one.commit for one in runs] == ["commit0", "commit1", "commit2", "commit3"]
    assert [one.environment.mindspore for one in runs] == ["2.10.0"] * 3 + ["2.11.0"]
    assert all(one.facts == {} for one in runs)
    found = load(history, runs[:3])
    assert found.local.shape == (12, 3)
    assert (found.verdicts == 0).all()
    assert (found.local[:, 0] == found.local[:, 2])[3:].all()


def test_an_old_database_can_be_added_to(old):
    History(as_url(old)).append(record(9, {"a": 0.5}))
    assert len(History(as_url(old)).runs()) == 5


def test_a_migrated_database_is_like_a_new_one(old, tmp_path):
    History(as_url(old)).runs()
    new = tmp_path / "new.sqlite"
    History(as_url(new)).append(record(0, {"a": 0.5}))
    assert columns(old) == columns(new)
    assert columns(OLD) != columns(new)


def test_there_is_a_step_to_every_version():
    assert sorted(STEPS) == list(range(2, tables.VERSION + 1))


def test_a_newer_database_is_refused_and_left_alone(old):
    connection = sqlite3.connect(old)
    connection.execute("UPDATE parity_schema SET version = 99")
    connection.commit()
    connection.close()
    before = old.read_bytes()
    for use in (lambda h: h.runs(), lambda h: h.append(record(0, {"a": 0.5}))):
        with pytest.raises(ParityError, match="schema 99 and this version of parity knows schema"):
            use(History(as_url(old)))
    assert old.read_bytes() == before


def test_a_step_that_fails_leaves_the_old_database(old, monkeypatch):
    def fail(connection):
        connection.exec_driver_sql("ALTER TABLE parity_run ADD COLUMN facts TEXT")
        connection.exec_driver_sql("no SQL")

    monkeypatch.setitem(STEPS, 2, fail)
    with pytest.raises(ParityError, match="syntax error"):
        History(as_url(old)).runs()
    assert columns(old) == columns(OLD)
    monkeypatch.undo()
    assert len(History(as_url(old)).runs()) == 4


def append(url, night):
    History(url).append(record(night, {"a": 0.5}))


def test_processes_that_migrate_at_once_all_succeed(old):
    work = [multiprocessing.get_context("spawn").Process(target=append, args=(as_url(old), night))
            for night in range(20, 23)]  # fmt: skip
    for one in work:
        one.start()
    for one in work:
        one.join(120)
    assert [one.exitcode for one in work] == [0, 0, 0]
    assert len(History(as_url(old)).runs()) == 7
