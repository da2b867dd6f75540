"""Runs in progress on disk: whose they are, which one is gone on with, and when they go."""

import os
import subprocess
import sys
import time
from contextlib import suppress

import pytest

from parity.core.errors import ParityError
from parity.workers.in_progress import (
    DAY,
    KEPT,
    begin,
    in_progress,
    interrupted,
    let_go,
    resume,
    surplus,
)

ONE, OTHER = {"dtypes": ["fp32"], "code": "a"}, {"dtypes": ["bf16"], "code": "a"}


@pytest.fixture
def place(tmp_path):
    return tmp_path / "reports" / "latest"


def left(place, depends=ONE, parts=1):
    """A run in progress whose process has gone."""
    run = begin(place, depends)
    for number in range(parts):
        (run.folder / f"{number:04d}.part").write_text("finished")
    run.end(keep=True)
    return run.folder


def test_what_is_worked_on_is_not_interrupted(place):
    run = begin(place, ONE)
    assert interrupted(place) == []
    with pytest.raises(ParityError, match="no interrupted run beside"):
        resume(place, ONE)
    assert not let_go(run.folder)
    run.end(keep=True)
    assert interrupted(place) == [run.folder]


def test_the_newest_of_the_same_is_gone_on_with(place):
    first = left(place)
    other = left(place, OTHER)
    run = resume(place, ONE)
    assert run.folder == first
    assert interrupted(place) == [other]
    run.end(keep=False)
    assert not first.exists()


def test_what_differs_is_named(place):
    left(place, OTHER)
    with pytest.raises(ParityError, match=r"differs in dtypes \(then \['bf16'\], now \['fp32'\]\)"):
        resume(place, ONE)


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"dtypes": ["fp32"]}'])
def test_a_damaged_description_fits_nothing(place, text):
    (left(place) / "run.json").write_text(text)
    with pytest.raises(ParityError, match="no interrupted run fits"):
        resume(place, ONE)


def end_early(place, parts, said):
    """Be interrupted after so many parts; return the folder."""
    with suppress(KeyboardInterrupt), in_progress(place, ONE, False, said.append) as run:
        for number in range(parts):
            (run.folder / f"{number:04d}.part").touch()
        raise KeyboardInterrupt
    return run.folder


def test_a_run_that_ends_early_is_kept_if_a_part_is_finished(place):
    said = []
    assert not end_early(place, 0, said).exists()
    assert said == []
    assert end_early(place, 1, said).exists()
    assert said == ["1 finished part kept: the same command with --resume goes on"]


def test_a_finished_run_takes_its_own_with_it_and_keeps_the_newest_of_others(place):
    mine, said = left(place, parts=2), []
    others = [left(place, OTHER) for _ in range(KEPT + 2)]
    with in_progress(place, ONE, False, said.append) as run:
        assert mine.exists()
    assert said == ["there is an interrupted run like this one: --resume would save 2 parts"]
    assert not run.folder.exists()
    assert interrupted(place) == others[-KEPT:]


def test_old_ones_and_unfinished_beginnings_go(place):
    old, fresh = left(place), left(place)
    before = time.time() - 15 * DAY
    os.utime(old, (before, before))
    assert surplus(place) == [old]
    assert let_go(old)
    (fresh / "notes.md").write_text("mine")
    assert not let_go(fresh)
    assert (fresh / "notes.md").exists()


def test_the_command_removes_what_is_too_old(place, tmp_path):
    old = left(place)
    command = [sys.executable, "-m", "parity", "prune", "--reports", str(place.parent),
               "--bundles", str(tmp_path / "bundles"), "--days", "1"]  # fmt: skip
    for options, ago, there in ((), 0, True), (("--dry-run",), 2, True), ((), 2, False):
        os.utime(old, (time.time() - ago * DAY,) * 2)
        done = subprocess.run([*command, *options], capture_output=True, text=True, check=True)
        assert (old.name in done.stdout) == (ago > 0)
        assert old.exists() == there
