"""Real runs of the real model: recorded, repeated to the bit, and a planted fault alarms."""

import os
import subprocess
import sys

import numpy as np
import pytest

from parity.history.database import History
from parity.history.measured import load
from parity.history.place import as_url

pytestmark = pytest.mark.slow


def parity(folder, *arguments, **variables):
    """A command in a process of its own, as a nightly job runs it."""
    return subprocess.run(
        [sys.executable, "-m", "parity", *arguments, "--history", str(folder / "history.sqlite")],
        capture_output=True, text=True, timeout=600, env={**os.environ, **variables},
    )  # fmt: skip


def test_real_runs_are_recorded_repeat_themselves_and_show_a_fault(tmp_path):
    report = ("--case", "text-only", "--report", str(tmp_path / "report"))
    for threads in ("1", "3"):
        done = parity(tmp_path, "run", *report, OMP_NUM_THREADS=threads)
        assert done.returncode == 0, done.stderr
        assert "history: recorded as" in done.stderr
    page = ("-o", str(tmp_path / "trend.html"))
    steady = parity(tmp_path, "trend", "--gate", "--run", str(tmp_path / "report"), *page)
    assert steady.returncode == 0, steady.stdout + steady.stderr
    assert parity(tmp_path, "run", *report, "--plant", "rms-eps").returncode == 1
    worse = parity(tmp_path, "trend", "--gate", "--run", str(tmp_path / "report"), *page)
    assert worse.returncode == 1
    assert "GUILTY" in worse.stdout

    history = History(as_url(tmp_path / "history.sqlite"))
    found = load(history, history.runs())
    assert found.local.shape[1] == 3
    assert np.isfinite(found.local[:, 0]).sum() > 40
    for used in (found.local, found.end):
        np.testing.assert_array_equal(used[:, 0], used[:, 1])  # another number of threads
    assert (found.local[:, 2] > 1).any()
