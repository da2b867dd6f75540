"""Damaged files are never believed, and the command that says so would notice if they were."""

from collections import Counter

import numpy as np
import pytest

from parity.core import gates_file
from parity.core.errors import ParityError
from parity.core.store import BundleWriter, ReferenceFiring
from parity.core.tolerance import DEFAULT_GATES
from parity.history import measured
from parity.history.database import History
from parity.history.place import as_url
from parity.reliability.damage import Kept, Outcome, damage
from parity.reliability.material import GATES, of_bundle, of_gates, of_history, of_rows
from parity.report import rows_io
from parity.report.rows_io import to_json
from parity.tests.history_runs import record
from parity.tests.report_runs import failing

TRIALS = 40


def kept_bundle(folder):
    writer = BundleWriter({"case": "a"})
    value = np.random.default_rng(0).standard_normal((8, 8)).astype(np.float32)
    truth = value * np.float64(1 + 1e-9)
    writer.points["a"] = [
        ReferenceFiring(writer.add(value), "float32", writer.add_residual(truth, value))
    ]
    writer.write(folder / "bundle")
    return of_bundle(folder / "bundle")


def kept_rows(folder):
    result = failing()
    result.rows = result.rows[:12]
    (folder / "rows.json").write_text(to_json(result))
    return of_rows(folder / "rows.json")


def kept_history(folder):
    history = History(as_url(folder / "history.sqlite"))
    for night in range(3):
        history.append(record(night, {f"point {n}": 0.5 + n + night for n in range(150)}))
    return of_history(folder / "history.sqlite")


def kept_gates(folder):
    (folder / GATES).write_bytes((DEFAULT_GATES / GATES).read_bytes())
    return of_gates(folder / GATES)


def outcomes(kept, count=TRIALS):
    before = kept.path.read_bytes()
    found = damage(kept, count, 0, lambda name: None)
    assert kept.path.read_bytes() == before
    assert found.outcomes.total() == count
    assert bool(found.findings) == any(not one.harmless for one in found.outcomes)
    return found.outcomes


def test_a_damaged_bundle_is_never_believed(tmp_path):
    for kept in kept_bundle(tmp_path):
        found = outcomes(kept)
        assert set(found) <= {Outcome.REFUSED, Outcome.EQUAL}
        assert found[Outcome.REFUSED] > TRIALS / 2


@pytest.mark.parametrize("make", [kept_rows, kept_history, kept_gates])
def test_a_damaged_file_is_never_believed(tmp_path, make):
    found = outcomes(make(tmp_path))
    assert set(found) <= {Outcome.REFUSED, Outcome.EQUAL}
    assert found[Outcome.REFUSED]


@pytest.mark.parametrize(
    ("make", "where", "check"),
    [
        (kept_rows, rows_io, "_check_hash"),
        (kept_gates, gates_file, "_check_hash"),
        (kept_history, measured, "check_entries"),
    ],
)
def test_it_would_be_without_its_hash(tmp_path, monkeypatch, make, where, check):
    """Seen by the same trials: so the hash is what refuses, and a believed file is noticed."""
    kept = make(tmp_path)
    monkeypatch.setattr(where, check, lambda *arguments: None)
    assert outcomes(kept, 80)[Outcome.BELIEVED]


def test_a_run_that_vanishes_from_the_history_is_noticed(tmp_path):
    kept = kept_history(tmp_path)
    history = History(as_url(kept.path))
    with history.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM parity_run WHERE id = 2")
    with pytest.raises(ParityError, match=r"list of runs is not the one.*history import"):
        history.runs()
    for write in (lambda: history.append(record(9, {"a": 1.0})), lambda: history.remove([1])):
        with pytest.raises(ParityError, match="list of runs is not the one"):
            write()  # which would make a checksum of what is there now


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("UPDATE parity_run SET passed = 0 WHERE id = 1", "list of runs"),
        ("UPDATE parity_environment SET soc = 'other'", "the environment"),
        ("UPDATE parity_entry SET local = local + 0.5 WHERE run = 3 AND series = 7", "run 3"),
        ("UPDATE parity_gate SET value = 2", "run 1"),
        ("DELETE FROM parity_entry WHERE run = 2 AND series = 1", "run 2"),
        ("UPDATE parity_series SET point = 'other' WHERE id = 3", "the name of a row"),
        ("UPDATE parity_series SET point = x'00ff' WHERE id = 3", "a row's name is no text"),
        ("UPDATE parity_series SET place = place + 4 WHERE id = 3", "list of runs"),
        ("UPDATE parity_environment SET soc = x'00ff'", "the environment"),
    ],
)
def test_a_change_of_one_value_in_the_history_is_noticed(tmp_path, change, said):
    kept = kept_history(tmp_path)
    sound = kept.read()
    with History(as_url(kept.path)).engine.begin() as connection:
        connection.exec_driver_sql(change)
    with pytest.raises(ParityError, match=f"the history is damaged: .*{said}"):
        kept.read()
    assert sound


def test_runs_that_were_kept_before_there_were_checksums_are_read(tmp_path):
    kept = kept_history(tmp_path)
    history = History(as_url(kept.path))
    sound = kept.read()
    with history.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE parity_run SET checksum = NULL")
        connection.exec_driver_sql("UPDATE parity_schema SET checksum = NULL")
    assert str(kept.read()).split("point 0")[1] == str(sound).split("point 0")[1]
    assert history.append(record(9, {"a": 1.0}))
    assert [bool(run.checksum) for run in history.runs()] == [False, False, False, True]


def test_a_message_of_the_database_that_is_no_text_is_told(tmp_path):
    """Found by damaging: SQLite quotes its broken schema byte by byte."""
    kept = kept_history(tmp_path)
    data = kept.path.read_bytes()
    place = data.index(b"REFERENCES") - 1
    kept.path.write_bytes(data[:place] + b"\xa0" + data[place + 1 :])
    with pytest.raises(ParityError, match=r"malformed database schema.*move it away"):
        kept.read()


def test_numbers_of_any_size_take_no_room(tmp_path):
    """A flipped bit of a row's number makes it 2**60, say."""
    kept = kept_history(tmp_path)
    with History(as_url(kept.path)).engine.begin() as connection:
        connection.exec_driver_sql(f"UPDATE parity_gate SET id = {2**60}")
        connection.exec_driver_sql(f"UPDATE parity_series SET id = {2**61} WHERE id = 3")
    with pytest.raises(ParityError, match="is damaged"):
        kept.read()


def test_a_reader_that_crashes_or_names_nothing_is_a_finding(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(bytes(64))

    def read(error):
        def reading():
            if path.read_bytes() != bytes(64):
                raise error
            return "sound"

        return Kept("file", path, reading)

    assert outcomes(read(ParityError("it is bad"))) == Counter({Outcome.UNNAMED: TRIALS})
    assert outcomes(read(ParityError(f"{path} is bad"))) == Counter({Outcome.REFUSED: TRIALS})
    assert outcomes(read(KeyError("x"))) == Counter({Outcome.CRASHED: TRIALS})
    believed = Kept("file", path, lambda: path.read_bytes())
    assert outcomes(believed) == Counter({Outcome.BELIEVED: TRIALS})
    assert outcomes(Kept("file", path, lambda: 0)) == Counter({Outcome.EQUAL: TRIALS})


def test_the_same_seed_makes_the_same_damage(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(bytes(range(200)))
    seen = []
    kept = Kept("file", path, lambda: seen.append(path.read_bytes()))
    for seed in (1, 1, 2):
        damage(kept, 25, seed, lambda name: None)
    thirds = [seen[n * 26 : n * 26 + 26] for n in range(3)]
    assert thirds[0] == thirds[1] != thirds[2]
    sizes = {len(one) for one in thirds[0][1:]}
    assert len(sizes) > 1
    assert 200 in sizes
