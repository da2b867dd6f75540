"""A run that is ended keeps what is finished, leaves nobody behind, and goes on with --resume."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from parity.tests.test_workers import alive

ROOT = Path(__file__).parent.parent.parent


def command(tmp_path, *more, candidate="Waiting"):
    return [sys.executable, "-m", "parity", "run", "--case", "single-image", "--case", "text-only",
            "--candidate", f"parity.tests.quick_candidates:{candidate}",
            "--report", str(tmp_path / "report"), *more]  # fmt: skip


def run(tmp_path, *more, **options):
    return subprocess.run(command(tmp_path, *more, **options), cwd=ROOT, env=environment(tmp_path),
                          capture_output=True, text=True, check=False)  # fmt: skip


def environment(tmp_path):
    return {**os.environ, "QUICK_WAITS": str(tmp_path / "waits")}


def progress(tmp_path):
    """The folders of runs in progress."""
    return sorted(tmp_path.glob(".report.progress-*"))


def until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def children(pid):
    """Processes that a process has started, and those that they have."""
    found = [int(one) for path in Path(f"/proc/{pid}/task").glob("*/children")
             for one in path.read_text().split()]  # fmt: skip
    return [*found, *(one for child in found for one in children(child))]


def end(tmp_path, number):
    """End a run by a signal while it is at its second case; return its status and error output."""
    (tmp_path / "waits").touch()
    with subprocess.Popen(command(tmp_path), cwd=ROOT, env=environment(tmp_path),
                          stderr=subprocess.PIPE, text=True,
                          preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)
                          ) as process:  # fmt: skip
        until(lambda: list(tmp_path.glob(".report.progress-*/0000.part")))
        started = children(process.pid)
        assert len(started) >= 2  # the worker and its guard
        process.send_signal(number)
        _, errors = process.communicate(timeout=30)
    until(lambda: not any(map(alive, started)), 5)
    (tmp_path / "waits").unlink()
    assert not (tmp_path / "report").exists()
    return process.returncode, errors


def report(tmp_path):
    return json.loads((tmp_path / "report" / "rows.json").read_text())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -signal.SIGKILL)],
)
def test_an_ended_run_goes_on(tmp_path, number, status):
    returned, errors = end(tmp_path, number)
    assert returned == status
    assert ("1 finished part kept: the same command with --resume" in errors) == (status > 0)
    done = run(tmp_path, "--resume")
    assert done.returncode == 1, done.stderr
    assert "resumed: 1 of 3 parts" in done.stderr
    found = report(tmp_path)
    told = found["provenance"]["resumed"]
    assert told[0] == "1 of 3 parts"
    assert told[1].startswith("single-image fp32 (finished 2")
    assert progress(tmp_path) == []
    assert run(tmp_path).returncode == 1
    fresh = report(tmp_path)
    assert "resumed" not in fresh["provenance"]
    for name in ("rows", "details", "ledger", "kernels", "inputs", "sources", "not_compared"):
        assert found[name] == fresh[name], name


def test_nothing_to_resume_is_refused(tmp_path):
    done = run(tmp_path, "--resume")
    assert done.returncode == 2
    assert "there is no interrupted run beside" in " ".join(done.stderr.split())
    assert progress(tmp_path) == []


@pytest.mark.slow
def test_a_run_of_other_settings_is_refused_by_name(tmp_path):
    end(tmp_path, signal.SIGTERM)
    done = run(tmp_path, "--resume", "--level", "block")
    assert done.returncode == 2
    text = " ".join(done.stderr.split())
    assert "no interrupted run fits this one" in text
    assert "level (then module, now block)" in text
    assert len(progress(tmp_path)) == 1


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["truncated", "flipped", "another unit's", "empty"])
def test_a_damaged_part_is_made_again_and_named(tmp_path, damage):
    end(tmp_path, signal.SIGTERM)
    (left,) = progress(tmp_path)
    path, data = left / "0000.part", (left / "0000.part").read_bytes()
    digit = data.index(b'"order": 7') + 9
    flipped = data[:digit] + b"9" + data[digit + 1 :]
    changed = {"truncated": data[:-100], "flipped": flipped, "another unit's": data,
               "empty": b""}[damage]  # fmt: skip
    (left / "0001.part" if damage == "another unit's" else path).write_bytes(changed)
    done = run(tmp_path, "--resume")
    assert done.returncode == 1, done.stderr
    assert "run again: " in done.stderr
    (told,) = report(tmp_path)["provenance"]["damaged parts"]
    name = "0001.part" if damage == "another unit's" else "0000.part"
    assert name in told
    assert len(report(tmp_path)["rows"]) == 142


@pytest.mark.slow
def test_a_finished_run_takes_what_was_begun_of_it_away(tmp_path):
    end(tmp_path, signal.SIGKILL)
    assert run(tmp_path).returncode == 1
    assert progress(tmp_path) == []


def test_the_parent_loads_no_framework(tmp_path):
    code = ("import sys; from parity.job import run_job; from parity.settings import Settings; "
            "from pathlib import Path; run_job(Settings(cases=('text-only',), plant='mean-std', "
            "candidate='parity.tests.quick_candidates:Quick'), [], Path(sys.argv[1])); "
            "print('loaded:', *{'mindspore', 'torch'} & set(sys.modules))")  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "report")], cwd=ROOT,
                          capture_output=True, text=True, check=True)  # fmt: skip
    assert done.stdout.splitlines()[-1] == "loaded:"
