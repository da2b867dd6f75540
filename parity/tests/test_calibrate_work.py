"""Sharing the work of calibrating: killed and taken up again, and by two processes at once.

What is measured is stood in for by a line in a log; locks, files and processes are the real ones.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from parity import calibrate_work
from parity.calibration_data import Plan, Record, load, load_faults, read, write
from parity.core.errors import ParityError
from parity.settings import Settings

SETTINGS = Settings(cases=("text-only", "long-text"), dtypes=("fp32", "bf16"))
SEEDS = 3
PROGRAM = """
import sys, time
from pathlib import Path
from parity import calibrate_work
from parity.calibration_data import Plan, Record
from parity.references import References
from parity.settings import Settings
from parity.tests.test_calibrate_work import SEEDS, SETTINGS

place, seconds = Path(sys.argv[1]), float(sys.argv[2])

def note(seed, case, dtype, fault=None):
    with (place / "log").open("a") as log:
        log.write(f"{seed} {case.name} {dtype} {fault}\\n")
    time.sleep(seconds)
    return Record(seed, case.name, dtype, "CPU", "trained", {}, [], fault)

def make(settings, seed, folder):
    folder.mkdir(parents=True)
    (folder / "weights").touch()
    return settings

calibrate_work.seeded = make
calibrate_work.measure = lambda session, case, dtype, seed, weights: note(seed, case, dtype)
calibrate_work.measure_fault = lambda session, case, dtype, fault: note(0, case, dtype, fault)
References.capture = lambda references, wanted: None
calibrate_work.work(Plan(SETTINGS, SEEDS, place))
"""


@pytest.fixture
def plan(tmp_path):
    return Plan(SETTINGS, SEEDS, tmp_path)


def start(plan, seconds):
    return subprocess.Popen([sys.executable, "-c", PROGRAM, str(plan.place), str(seconds)])


def log(plan):
    path = plan.place / "log"
    return path.read_text().splitlines() if path.exists() else []


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it takes too long"
        time.sleep(0.02)


def test_a_killed_calibration_goes_on_where_it_was(plan):
    process = start(plan, 0.2)
    wait_for(lambda: calibrate_work.done(plan) >= 3)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert list((plan.place / "seeds").iterdir()) != []
    before = calibrate_work.done(plan)
    started = len(log(plan))
    assert before < calibrate_work.total(plan)
    assert start(plan, 0).wait() == 0
    assert calibrate_work.done(plan) == calibrate_work.total(plan)
    # What was being measured when it was killed is measured again, and nothing else is.
    assert len(log(plan)) - started == calibrate_work.total(plan) - before
    assert set(Counter(log(plan)).values()) <= {1, 2}
    assert sum(count == 2 for count in Counter(log(plan)).values()) <= 1
    assert len(load(plan)) + len(load_faults(plan)) == calibrate_work.total(plan)
    assert [path for path in plan.place.rglob(".*.json*") if path.is_file()] == []
    assert list((plan.place / "seeds").iterdir()) == [], "what a seed needs goes with it"


def test_two_at_once_share_the_work(plan):
    processes = [start(plan, 0.02) for _ in range(2)]
    assert [process.wait() for process in processes] == [0, 0]
    assert calibrate_work.done(plan) == calibrate_work.total(plan)
    assert set(Counter(log(plan)).values()) == {1}
    assert len(log(plan)) == calibrate_work.total(plan)


def test_measurements_are_those_of_the_inputs_the_sources_and_the_device(plan, tmp_path):
    case = plan.session.cases[0]
    path = plan.seed_path(case, "fp32", 1)
    assert path == Plan(SETTINGS, 9, tmp_path).seed_path(case, "fp32", 1)
    others = [
        Plan(replace(SETTINGS, device="Ascend:0"), SEEDS, tmp_path),
        Plan(replace(SETTINGS, candidate="a.b:C"), SEEDS, tmp_path),
    ]
    paths = {other.seed_path(case, "fp32", 1) for other in others}
    assert (
        len({path, *paths, plan.seed_path(case, "bf16", 1), plan.seed_path(case, "fp32", 2)}) == 5
    )
    assert plan.fault_path(case, "fp32", "rms-eps").parent != path.parent


@pytest.mark.parametrize("content", ["", "{", "[]", '{"seed": 1}', "[" * 100000])
def test_a_measurement_that_is_damaged_is_named(tmp_path, content):
    path = tmp_path / "seed-001.json"
    path.write_text(content)
    with pytest.raises(ParityError, match=r"seed-001.json is damaged: .*; delete it"):
        read(path)


def test_what_is_kept_is_what_was_measured(tmp_path):
    record = Record(1, "a", "fp32", "CPU", "random", {"x": {"local": {"row": [1.5, float("inf")]}}},
                    ["y: SHAPE, no"], "rms-eps")  # fmt: skip
    write(tmp_path / "deep" / "one.json", record)
    assert read(tmp_path / "deep" / "one.json") == record


CLI = [sys.executable, "-m", "parity", "calibrate", "--case", "text-only", "--dtype", "fp32",
       "--seeds", "2"]  # fmt: skip


@pytest.mark.slow
def test_the_command_is_killed_and_run_again(tmp_path):
    """With the real port, from the shell: no worker outlives it, and nothing is measured twice."""
    env = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    command = [*CLI, "--gates", str(tmp_path / "gates"), "--bundles", str(Settings().bundles)]
    place = tmp_path / "cache" / "parity" / "calibration"

    def files():
        return {path: path.stat().st_mtime_ns for path in place.glob("*/*.json")}

    process = subprocess.Popen(command, env=env)
    wait_for(lambda: len(files()) >= 2, 300)
    workers = [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children")
               .read_text().split()]  # fmt: skip
    process.send_signal(signal.SIGKILL)
    process.wait()
    wait_for(lambda: not any(_alive(pid) for pid in workers), 120)
    before = files()
    assert all(json.loads(path.read_text()) for path in before)
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stderr
    assert "held out" in done.stdout
    assert before.items() <= files().items()
    assert (tmp_path / "gates" / "CPU-fp32.toml").is_file()
    again = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert again.stdout == done.stdout


def _alive(pid):
    """Whether a process runs; one that nobody waits for any more does not."""
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
