"""Killing processes: what a careless one leaves behind is noticed; the harness leaves nothing."""

import random
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from parity.core.errors import ParityError
from parity.reliability import killing, material
from parity.reliability.__main__ import app
from parity.reliability.aftermath import Place, leftovers, make_old
from parity.reliability.killing import Work, kill_once

SLOW = """
import sys, time
from pathlib import Path
folder = Path({root!r}) / "bundles" / "b"
folder.mkdir(parents=True)
(folder.parent / ".unfinished").touch()
with (folder / "manifest.json").open("w") as file:
    for _ in range(1000):
        file.write("{{")
        file.flush()
        time.sleep(0.01)
"""
HARMLESS = """
import time
from pathlib import Path
Path({root!r}, "bundles").mkdir()
Path({root!r}, "bundles", ".unfinished").touch()
time.sleep(60)
"""
PARENT = """
import subprocess, sys, time
from pathlib import Path
Path({root!r}, "bundles").mkdir()
Path({root!r}, "bundles", ".unfinished").touch()
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
time.sleep(60)
"""


class Always(random.Random):
    """Chance that always chooses the first write, and a moment of half a second."""

    def random(self):
        return 0.0

    def uniform(self, a, b):
        return 0.5


def killed(tmp_path, code):
    place = Place(tmp_path)
    work = Work("w", lambda place: [sys.executable, "-c", code.format(root=str(tmp_path))])
    return kill_once(work, place, 5.0, Always())


def test_a_process_that_writes_in_place_is_found(tmp_path):
    found = killed(tmp_path, SLOW)
    assert found.writing
    assert any("half a bundle" in text for text in found.wrong)


def test_a_process_that_outlives_its_parent_is_found_and_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(killing, "ORPHANS", 0.2)
    found = killed(tmp_path, PARENT)
    assert [text for text in found.wrong if "went on without" in text]


def test_a_harmless_process_is_not(tmp_path):
    assert killed(tmp_path, HARMLESS).wrong == []


def test_leftovers_are_what_begins_with_a_dot(tmp_path):
    place = Place(tmp_path)
    for path in (
        place.bundles / ".b.x",
        place.reports / "runs" / ".run.new-1",
        place.bundles / "b",
    ):
        path.mkdir(parents=True)
    (place.reports / "runs" / ".lock").touch()
    assert sorted(path.name for path in leftovers(place)) == [".b.x", ".run.new-1"]
    make_old(leftovers(place))
    assert all(path.stat().st_mtime < place.bundles.stat().st_mtime for path in leftovers(place))


def test_the_commands_are_those_of_this_harness(tmp_path):
    done = subprocess.run(material.command(["--help"]), cwd=tmp_path, text=True, check=True,
                          env=material.environment(), capture_output=True)  # fmt: skip
    assert "python -m parity run" in done.stdout


def command(*arguments):
    return subprocess.run([sys.executable, "-m", "parity.reliability", *arguments],
                          capture_output=True, text=True, check=False)  # fmt: skip


@pytest.mark.slow
def test_three_kills_leave_nothing_that_is_believed(tmp_path):
    done = command("kill", "--count", "3", "--folder", str(tmp_path / "kill"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("| 1 |") >= 3
    again = command("kill", "--count", "3", "--folder", str(tmp_path / "kill"))
    assert again.stdout == done.stdout


@pytest.mark.slow
def test_real_files_are_not_believed_when_they_are_damaged():
    done = command("corrupt", "--count", "25")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("| 25 |") == 5


@pytest.mark.parametrize("name", ["kill", "corrupt", "fuzz", "places"])
def test_help_teaches(name):
    done = CliRunner().invoke(app, [name, "--help"])
    assert done.exit_code == 0
    assert len(done.output) > 800


def test_a_reader_that_is_not_there_is_refused():
    done = CliRunner().invoke(app, ["fuzz", "--reader", "poem"])
    assert isinstance(done.exception, ParityError)
    assert "no reader is named poem" in str(done.exception)
