"""Pruning: only what no run would use and nobody used for long goes, and no locked bundle."""

import os
import shutil
import subprocess
import sys
import time

import pytest

from parity.core.files import locked
from parity.core.rows import RunResult
from parity.core.stale import DAY, remove
from parity.core.store import MANIFEST, TENSORS
from parity.prune import DAYS, bundle_folders, stale_bundles
from parity.runs import finished, publish
from parity.session import Session
from parity.settings import Settings
from parity.tests.report_runs import row

OLD = 30 * DAY


@pytest.fixture
def place(tmp_path):
    """A place with a bundle that a run would use, two that none would, and foreign folders."""
    session = Session(Settings(bundles=tmp_path / "bundles", cases=("text-only",)))
    current = session.references.folder(session.cases[0], "ascend-mixed")
    for folder in (
        current,
        tmp_path / "bundles" / "old-fp32-1",
        tmp_path / "bundles" / "new-fp32-2",
    ):
        folder.mkdir(parents=True)
        (folder / MANIFEST).write_text("{}")
        (folder / TENSORS).write_bytes(bytes(1000))
        age(folder, OLD)
    age(tmp_path / "bundles" / "new-fp32-2", DAY)
    thesis = tmp_path / "bundles" / "thesis"
    thesis.mkdir()
    (thesis / "chapter.txt").write_text("years of work")
    (thesis / MANIFEST).write_text("{}")
    age(thesis, OLD)
    (tmp_path / "bundles" / "empty").mkdir()
    return tmp_path / "bundles"


def age(folder, seconds):
    then = time.time() - seconds
    for path in (*folder.iterdir(), folder):
        os.utime(path, (then, then))


def names(place):
    return sorted(path.name for path in place.iterdir() if path.is_dir())


def stale(place, **options):
    return stale_bundles(Settings(bundles=place), **options)


def test_only_an_old_bundle_that_no_run_would_use_is_stale(place):
    (one,) = stale(place)
    assert one.folder.name == "old-fp32-1"
    assert one.size == 1002
    assert one.days == pytest.approx(30, abs=0.01)
    assert [s.folder.name for s in stale(place, days=0.5)] == ["old-fp32-1", "new-fp32-2"]


def test_the_bundles_of_every_precision_are_kept_whatever_their_age(place):
    kept = [folder for folder in bundle_folders(place) if "text-only" in folder.name]
    assert len(kept) == 1
    assert kept[0] not in {one.folder for one in stale(place, days=0)}
    renamed = kept[0].with_name(kept[0].name[:-1] + "x")
    kept[0].rename(renamed)
    assert renamed in {one.folder for one in stale(place, days=0)}


def test_removing_takes_the_folder_and_nothing_else(place):
    before = names(place)
    (one,) = stale(place)
    assert remove(one, DAYS)
    assert names(place) == [name for name in before if name != "old-fp32-1"]
    assert (place / "thesis" / "chapter.txt").exists()
    assert not remove(one, DAYS), "it is gone already"


def test_what_was_used_since_it_was_listed_stays(place):
    (one,) = stale(place)
    os.utime(one.folder / MANIFEST)
    assert not remove(one, DAYS)
    assert one.folder.exists()


HOLD = """
import sys
from pathlib import Path
from parity.core.files import locked
with locked(Path(sys.argv[1])):
    print("locked", flush=True)
    sys.stdin.read()
"""


def test_a_locked_bundle_stays(place):
    (one,) = stale(place)
    command = [sys.executable, "-c", HOLD, str(one.folder)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout.readline() == "locked\n"
        assert not remove(one, DAYS)
        assert one.folder.exists()
        holder.stdin.close()
    assert remove(one, DAYS)


def test_a_link_is_not_followed(place, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    shutil.move(place / "old-fp32-1", elsewhere)
    (place / "old-fp32-1").symlink_to(elsewhere)
    assert stale(place) == []
    assert (elsewhere / TENSORS).exists()


def test_a_place_that_is_not_there_has_nothing_to_remove(tmp_path):
    assert stale(tmp_path / "nowhere") == []


def parity(*arguments):
    """The command, with the folder of its first argument's place for the user's cache."""
    command = [sys.executable, "-m", "parity", "prune", *map(str, arguments)]
    cache = os.environ | {"XDG_CACHE_HOME": str(arguments[1].parent)}
    return subprocess.run(command, capture_output=True, text=True, check=True, env=cache).stdout


def test_the_command_lists_then_removes(place):
    before = names(place)
    listed = parity("--bundles", place, "--dry-run")
    assert "old-fp32-1" in listed
    assert "0.0 MB would go" in listed
    assert names(place) == before
    assert "removed" in parity("--bundles", place)
    assert "old-fp32-1" not in names(place)


def test_the_command_keeps_the_newest_runs(place, tmp_path):
    reports = tmp_path / "reports"
    for case in "abc":
        publish(RunResult([row(0, "lm_head", case=case)]), reports)
    every = finished(reports)
    options = ("--bundles", place, "--reports", reports, "--runs", 2)
    assert f"{every[0].name}  would go" in parity(*options, "--dry-run")
    assert finished(reports) == every
    (every[0] / "notes.md").write_text("mine")
    assert f"{every[0].name}  kept, holds a file of yours" in parity(*options)
    (every[0] / "notes.md").unlink()
    assert f"{every[0].name}  removed" in parity(*options)
    assert finished(reports) == every[1:]


def test_what_a_tar_file_held_goes_when_nobody_has_used_it_for_long(place):
    portable = place.parent / "parity" / "portable"
    old, new, foreign = (portable / name for name in ("0" * 64, "1" * 64, "thesis"))
    for folder in (old, new, foreign):
        (folder / "cases").mkdir(parents=True)
        (folder / MANIFEST).write_text("{}")
        (folder / "cases" / "a.png").write_bytes(bytes(2_000_000))
        age(folder, OLD)
    age(new, DAY)
    assert "2.0 MB" in parity("--bundles", place, "--dry-run")
    assert old.exists()
    parity("--bundles", place)
    assert [one.exists() for one in (old, new, foreign)] == [False, True, True]


def test_a_lock_can_be_taken_again_after_pruning(place):
    (one,) = stale(place)
    assert remove(one, DAYS)
    with locked(one.folder, seconds=0):
        one.folder.mkdir()
