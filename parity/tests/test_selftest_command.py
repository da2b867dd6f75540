"""The command as its users run it: stopped in the middle, gone on with, and made blind."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from parity.core.tolerance import DEFAULT_GATES

ROOT = Path(__file__).parent.parent.parent
FAULTS = ("ln-eps", "gelu-tanh-merger", "quick-gelu-as-gelu", "gqa-tile")
DTYPES = ("fp32", "bf16")


def command(folder, *options):
    faults = [part for name in FAULTS for part in ("--fault", name)]
    dtypes = [part for name in DTYPES for part in ("--dtype", name)]
    return [sys.executable, "-m", "parity", "selftest", "--report", str(folder),
            *(options or (*faults, *dtypes))]  # fmt: skip


def start(folder, *options):
    return subprocess.Popen(
        command(folder, *options), cwd=ROOT, text=True, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip


def children(pid):
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def kill_when(process, reached):
    """Kill a process without a chance to tidy up, once ``reached()``; return its children."""
    ends = time.monotonic() + 120
    while not reached():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < ends
        time.sleep(0.05)
    pids = children(process.pid)
    process.kill()
    process.wait()
    process.stderr.close()
    return pids


def gone(pid):
    """Whether a process has ended; one whose parent was killed may wait for init as a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] == "Z"
    except OSError:
        return True


def test_a_run_that_is_killed_goes_on_where_it_was(tmp_path):
    trials = tmp_path / "trials"
    started = start(tmp_path)
    kill_when(started, lambda: len(list(trials.glob("*.json"))) >= 3)
    kept = {path: path.stat().st_mtime_ns for path in trials.glob("*.json")}
    assert all(json.loads(path.read_text())["trial"] for path in kept), "none is half-written"
    assert 3 <= len(kept) < len(FAULTS) * len(DTYPES)
    done = subprocess.run(command(tmp_path), cwd=ROOT, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert kept.items() <= {p: p.stat().st_mtime_ns for p in trials.glob("*.json")}.items()
    check_report(tmp_path, done.stdout)


def check_report(folder, printed):
    """Four faults in two dtypes: all that can be seen are found, at their own points."""
    assert "| **this harness** | 100 %, 100 %; 0 of 1 | 100 %, 100 %; 0 of 1 |" in printed
    assert "NOT MET" not in printed
    data = json.loads((folder / "selftest.json").read_text())
    assert {(t["fault"], t["dtype"]) for t in data["trials"] if t["fault"]} == {
        (fault, dtype) for fault in FAULTS for dtype in DTYPES
    }
    assert (
        "| ln-eps | `visual.blocks.0.norm1` | single-image | not visible |"
        in (folder / "selftest.md").read_text()
    )
    assert len((folder / "selftest.csv").read_text().splitlines()) == 1 + 10 * 6


@pytest.fixture
def open_gates(tmp_path):
    """The committed gates, every one of them so wide that nothing fails."""
    folder = tmp_path / "gates"
    folder.mkdir()
    for path in DEFAULT_GATES.glob("*.toml"):
        text = re.sub(r"(\w+) = [\d.e+]+(?=,| \})", r"\1 = 1e300", path.read_text())
        text = re.sub(r"(?m)^sha256 = .*\n", "", text)  # as gates that are written by hand
        (folder / path.name).write_text(text)
    return folder


def test_a_blind_harness_reports_what_it_misses(tmp_path, open_gates):
    options = "--fault", "scatter-batch", "--dtype", "fp32", "--gates", str(open_gates)
    done = subprocess.run(
        command(tmp_path, *options), cwd=ROOT, text=True, capture_output=True, check=False
    )
    assert done.returncode == 1, done.stderr
    assert "fp32 scatter-batch: missed: language_model.inputs_embeds reaches" in done.stdout
    assert "NOT MET  fp32: visible faults detected, at least 100%: 0 of 1" in done.stdout


def test_workers_end_with_a_parent_that_is_killed(tmp_path):
    started = start(tmp_path, "--fault", "gqa-tile", "-n", "2")
    workers = kill_when(started, lambda: sum(map(works, children(started.pid))) == 2)
    ends = time.monotonic() + 20
    while not all(map(gone, workers)):
        assert time.monotonic() < ends, workers
        time.sleep(0.1)


def test_a_worker_that_dies_is_one_clear_error(tmp_path):
    started = start(tmp_path, "--fault", "gqa-tile", "-n", "2")
    ends = time.monotonic() + 60
    while not (workers := [pid for pid in children(started.pid) if works(pid)]):
        assert time.monotonic() < ends
        time.sleep(0.05)
    os.kill(int(workers[0]), signal.SIGKILL)
    _, errors = started.communicate(timeout=120)
    assert started.returncode == 2
    assert "error: a worker process died" in " ".join(errors.split())
    assert "Traceback" not in errors


def works(pid):
    """Whether a child is one of the pool, and not what Python keeps beside it."""
    return b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()


def test_ctrl_c_ends_it_in_one_line(tmp_path):
    started = start(tmp_path)
    while not list(tmp_path.glob("trials/*.json")):
        assert started.poll() is None, started.stderr.read()
        time.sleep(0.05)
    os.killpg(started.pid, signal.SIGINT)
    _, errors = started.communicate(timeout=60)
    assert started.returncode == 130
    assert "the same command goes on from here" in errors
    assert "Traceback" not in errors


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--fault", "nonsense"], "no fault is named 'nonsense'"),
        (["--dtype", "fp8"], "unknown dtype 'fp8'"),
        (["--readme", "--fault", "rms-eps"], "--readme is for all faults in all dtypes"),
        (["--checkpoint", "/nonexistent"], "/nonexistent/config.json"),
    ],
)
def test_what_cannot_run_is_one_clear_error(tmp_path, options, words):
    done = subprocess.run(command(tmp_path / "r", *options), cwd=ROOT, text=True,
                          capture_output=True, check=False)  # fmt: skip
    assert done.returncode == 2
    assert words in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "r").exists()
