"""Bad places and times: what is tried there, and that the trials would notice."""

import os
import subprocess
import sys
import time

import pytest

from parity.core.errors import ParityError
from parity.core.files import ABANDONED, locked, temporary_beside
from parity.reliability import trials, writers
from parity.reliability.aftermath import Place, complaints, make_old
from parity.reliability.small_place import SmallPlace
from parity.reliability.trials import clock_back, full_disk, other_versions, read_only
from parity.workers.in_progress import surplus


def wrong(found):
    return [one.wrong for one in found if one.wrong]


def test_a_full_disk_costs_nothing_that_was_there(tmp_path):
    found = list(full_disk(tmp_path / "small", 3))
    assert wrong(found) == []
    assert sum(one.refused for one in found) >= 3
    assert sum(not one.refused for one in found) > 4


@pytest.mark.parametrize("kind", [read_only, clock_back, other_versions])
def test_nothing_is_wrong_there(tmp_path, kind):
    assert wrong(kind(tmp_path / "place")) == []


def test_older_and_newer_files_are_refused(tmp_path):
    assert sum(one.refused for one in other_versions(tmp_path)) == 17


@pytest.fixture
def careless(monkeypatch):
    """Somebody who writes into the file itself."""

    def write(place, number):
        folder = place.bundles / f"b-{number}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "manifest.json").write_text("x" * (1 << 18))

    monkeypatch.setattr(trials, "WRITES", {"careless": write})


def test_half_a_file_would_be_noticed(tmp_path, careless):
    said = wrong(full_disk(tmp_path / "small", 4))
    assert any("half a bundle" in text for text in said)
    assert any("No space left" in text or "too large" in text for text in said)


def test_a_small_place_can_be_limited_without_mounting(tmp_path, monkeypatch):
    monkeypatch.setattr("parity.reliability.small_place._runs", lambda *command: False)
    place = SmallPlace(tmp_path / "small")
    assert not place.mounted
    with place.room(5000), pytest.raises(OSError, match="too large"):
        (place.folder / "a").write_bytes(bytes(5001))
    (place.folder / "a").write_bytes(bytes(5001))
    with pytest.raises(ParityError, match="cannot be made read-only"), place.read_only():
        pass


def whole(tmp_path):
    place = Place(tmp_path)
    for write in writers.WRITES.values():
        write(place, 0)
    return place


def spoil_bundle(place):
    path = next(place.bundles.glob("*/tensors.safetensors"))
    path.write_bytes(path.read_bytes()[:-9])


def spoil_rows(place):
    path = next(place.reports.glob("runs/2*/rows.json"))
    path.write_text(path.read_text().replace("GUILTY", "PASS"))


def spoil_page(place):
    path = next(place.reports.glob("runs/2*/index.html"))
    path.write_bytes(path.read_bytes()[:-400])


def spoil_link(place):
    (place.reports / "latest").unlink()
    (place.reports / "latest").symlink_to("runs/20200101T000000.000Z-abcdef")


def spoil_history(place):
    data = bytearray(place.history.read_bytes())
    data[len(data) // 2 :] = bytes(len(data) - len(data) // 2)
    place.history.write_bytes(bytes(data))


def lose_file(place):
    next(place.reports.glob("runs/2*/junit.xml")).unlink()


@pytest.mark.parametrize(
    "spoil", [spoil_bundle, spoil_rows, spoil_page, spoil_link, spoil_history, lose_file]
)
def test_whatever_is_half_there_is_complained_about(tmp_path, spoil):
    place = whole(tmp_path)
    assert complaints(place) == []
    spoil(place)
    assert len(complaints(place)) == 1


def test_a_lock_that_is_held_is_complained_about(tmp_path):
    place = whole(tmp_path)
    with locked(place.bundles / "b-0"):
        code = ("import sys; from pathlib import Path; from parity.reliability.aftermath import *;"
                "print(complaints(Place(Path(sys.argv[1]))))")  # fmt: skip
        done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True,
                              text=True, check=True)  # fmt: skip
    assert "held by nobody alive" in done.stdout
    assert complaints(place) == []


# What was found.


def test_a_read_only_place_is_told_as_such(tmp_path):
    """Removing the temporary file raised an error of its own, in place of the clear one."""
    small = SmallPlace(tmp_path / "small")
    if not small.mounted:
        pytest.skip("mounting takes the rights of root")
    try:
        with small.read_only():
            for place in (temporary_beside, locked):
                told = pytest.raises(ParityError, match="Read-only file system")
                with told, place(small.folder / "gates.toml") as temporary:
                    temporary.write_text("x")
    finally:
        small.close()


def test_an_error_inside_of_a_lock_is_not_taken_for_one_of_the_lock(tmp_path):
    with pytest.raises(PermissionError, match="mine"), locked(tmp_path / "b"):
        raise PermissionError("mine")
    with locked(tmp_path / "b", seconds=0):
        pass


@pytest.mark.parametrize("age", [ABANDONED + 60, -(ABANDONED + 60)])
def test_what_a_killed_process_was_writing_goes_after_an_hour(tmp_path, age):
    """It stayed for ever; and what was from the future would have stayed until then."""
    mine, other, notes = (tmp_path / name for name in (".a.99999", ".b.99999", ".a.notes"))
    for path in (mine, other, notes):
        path.touch()
        os.utime(path, (time.time() - age, time.time() - age))
    young = tmp_path / ".a.99998"
    young.touch()
    with temporary_beside(tmp_path / "a") as temporary:
        temporary.write_text("x")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".a.99998", ".a.notes", ".b.99999", "a"
    ]  # fmt: skip


def test_what_a_killed_run_left_beside_the_report_goes_after_an_hour(tmp_path):
    """Found by killing: a link that was being tried, and a run in progress without any part."""
    place = whole(tmp_path)
    link = place.reports / ".run.link-0123456789ab"
    link.symlink_to("runs")
    begun = place.reports / ".latest.progress-20200101T000000-abcdef"
    begun.mkdir()
    assert surplus(place.reports / "latest") == []
    make_old([link, begun])
    writers.report(place, 1)
    assert not link.is_symlink()
    assert surplus(place.reports / "latest") == [begun]
