"""``python -m parity.bench``: help, errors, interruption, and whole runs."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from parity.bench.items import ITEMS
from parity.bench.profiling import DISPATCH
from parity.tests.test_cli import refused

ROOT = Path(__file__).parent.parent.parent


def bench(*arguments):
    command = [sys.executable, "-m", "parity.bench", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_help_teaches():
    done = bench("--help")
    assert done.returncode == 0
    for word in ("--quick", "--mindnlp", "--markdown", "--json", "profile", "vision-block"):
        assert word in done.stdout


@pytest.mark.parametrize(
    ("arguments", "word"),
    [(["--only", "vison"], "vision-block"), (["--mindnlp", "/nowhere/python"], "/nowhere/python")],
)
def test_a_run_that_cannot_be_made_is_one_error(arguments, word):
    refused(bench(*arguments), word)


def children(pid):
    """Processes whose parent is ``pid``."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has just ended
        if int(fields[1]) == pid:
            found.append(int(stat.parent.name))
    return found


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_leaves_no_worker(sent):
    command = [sys.executable, "-m", "parity.bench", "--quick", "--only", "photo", "--rounds", "9"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True) as run:  # fmt: skip
        until = time.monotonic() + 60
        while not (workers := children(run.pid)) and run.poll() is None:
            assert time.monotonic() < until
            time.sleep(0.05)
        run.send_signal(sent)
        errors = run.communicate(timeout=60)[1]
    assert run.returncode != 0
    assert "Traceback" not in errors
    assert workers
    assert not [pid for pid in workers if Path(f"/proc/{pid}").exists()]


@pytest.mark.slow
def test_a_run_that_is_stopped_shows_what_it_has(tmp_path):
    """Stopped in its second item, it still tells of the first."""
    command = [sys.executable, "-m", "parity.bench", "--quick", "--rounds", "1", "--markdown",
               "--only", "photo", "--only", "photo-resized",
               "--json", str(tmp_path / "found.json")]  # fmt: skip
    variables = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True, env=variables) as run:  # fmt: skip
        until = time.monotonic() + 100
        while not list(tmp_path.glob("parity-bench-*/photo-resized.png")):
            assert run.poll() is None, run.stderr.read()
            assert time.monotonic() < until
            time.sleep(0.001)
        run.send_signal(signal.SIGINT)
        output, errors = run.communicate(timeout=60)
    assert run.returncode != 0
    assert "Traceback" not in errors
    assert "stopped before the end, without photo-resized" in errors
    assert "| preprocessing a 336x504 photograph, size kept |" in output
    assert "resized |" not in output
    data = json.loads((tmp_path / "found.json").read_text())
    assert [result["item"]["name"] for result in data["results"]] == ["photo"]


@pytest.mark.slow
def test_a_whole_run_of_port_and_reference(tmp_path):
    """Every framework, every item that is timed, small: all compute the same."""
    done = bench("--quick", "--rounds", "1", "--json", tmp_path / "all.json", "--markdown")
    assert done.returncode == 0, done.stderr
    data = json.loads((tmp_path / "all.json").read_text())
    assert [result["item"]["name"] for result in data["results"]] == [i.name for i in ITEMS]
    for result in data["results"]:
        figures = result["figures"]
        assert figures[result["baseline"]]["error"] == 0.0
        assert all(one["error"] <= result["item"]["largest_error"] for one in figures.values())
        assert all(
            len(series) == 1 for one in figures.values() for series in one["series"].values()
        )
    assert "SMALL SIZES" in done.stdout


@pytest.mark.slow
def test_a_profile_of_the_port():
    done = bench("profile", "--quick", "--only", "vision-block")
    assert done.returncode == 0, done.stderr
    assert "matrix products" in done.stdout
    assert DISPATCH in done.stdout
