"""The benchmark's workers, real ones on a small photograph: turns, memory, what goes wrong."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from parity.bench.contestants import CONTESTANTS, OURS, Contestant
from parity.bench.items import ITEMS, MEMORY, PICTURE
from parity.bench.memory import peak_memory
from parity.bench.protocol import Worker, WorkerError, cpus
from parity.bench.rounds import (
    ADDED,
    SECONDS,
    TOTAL,
    Plan,
    Report,
    measure,
)
from parity.bench.table import failures, rows_of

RUNNERS = "parity.tests.bench_runners"
PORT = next(c for c in CONTESTANTS if c.name == "port-pictures")
PHOTO = next(item for item in ITEMS if item.name == "photo")


def odd(name):
    """The port's picture contestant with something wrong about it."""
    return Contestant(name.lower(), name, PICTURE, f"{RUNNERS}:{name}", team=OURS)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    return tmp_path_factory.mktemp("bench")


def plan_of(scratch, *contestants, rounds=2):
    return Plan(contestants, rounds, 1, True, scratch)


def test_contestants_take_turns_on_a_real_item(scratch):
    done: list[str] = []
    plan = replace(plan_of(scratch, PORT, replace(PORT, name="again")), step=done.append)
    report = Report()
    (result,) = measure([PHOTO], plan, report)
    assert [len(f.series[SECONDS]) for f in result.figures.values()] == [2, 2]
    assert all(f.error == 0.0 and f.failure is None for f in result.figures.values())
    assert len(done) == plan.steps([PHOTO]) == 6
    assert report.results == {"photo": result}
    assert set(report.versions) == {"port-pictures", "again"}
    assert report.versions["again"]["numpy"] == np.__version__
    assert failures([result]) == []
    pixels = np.load(scratch / "photo-again.npy")
    assert pixels.shape == (336 * 504 // 196, 1176)
    assert 0.5 < pixels.std() < 2


def test_memory_is_measured_in_a_process_of_its_own(scratch):
    item = replace(PHOTO, name="memory-of-photo", measure=MEMORY)
    (result,) = measure([item], plan_of(scratch, PORT), Report())
    series = result.figures["port-pictures"].series
    assert series[TOTAL][0] > series[ADDED][0] > 336 * 504 * 2 * 3 * 4  # the floats it returns
    added, total = rows_of(result)
    assert "MB" in added.cell(PORT)
    assert "the whole process" in total.title


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Wrong", ["Wrong: its result is off by 1.0e-02", "something else"]),
        ("Killed", ["Killed's process was ended by signal 9", "memory"]),
        ("Leaving", ["ended with exit status 7", "the allocator is out of luck"]),
        ("Unable", ["Unable: ValueError: no such processor"]),
        ("Missing", ["Missing: AttributeError"]),
    ],
)
def test_what_goes_wrong_is_one_line_and_the_others_go_on(scratch, name, words):
    item = replace(PHOTO, largest_error=1e-3)
    results = measure(
        [item, replace(item, name="next")], plan_of(scratch, PORT, odd(name)), Report()
    )
    assert all(not r.figures["port-pictures"].failure for r in results)
    assert all(len(r.figures["port-pictures"].series[SECONDS]) == 2 for r in results)
    lines = failures(results)
    assert [line.partition(":")[0] for line in lines] == ["photo", "next"]
    assert all("\n" not in line and word in line for line in lines for word in words)
    assert rows_of(results[0])[0].cell(odd(name)) == "failed"


def test_nobody_is_measured_without_a_baseline(scratch):
    (result,) = measure([PHOTO], plan_of(scratch / "..", odd("Killed"), PORT), Report())
    assert "no result to compare with" in failures([result])[1]
    assert rows_of(result)[0].cell(PORT) == "failed"


def test_a_worker_that_does_not_answer_is_ended(scratch):
    with Worker(odd("Slow"), 1, scratch / "slow.log") as worker:
        worker.patience = 0.5
        with pytest.raises(WorkerError, match="has not answered for 0 s"):
            worker.ask("prepare", **plan_of(scratch).request(PHOTO), save="x")
        assert worker._process.poll() is not None
        with pytest.raises(WorkerError, match="ended before"):
            worker.ask("run")


def test_answers_are_not_mixed_with_what_a_framework_prints(scratch):
    with Worker(odd("Loud"), 1, scratch / "loud.log") as worker:
        saved = str(scratch / "loud.npy")
        assert worker.ask("prepare", **plan_of(scratch).request(PHOTO), save=saved) == {}
        with pytest.raises(WorkerError, match="no task 'prefill' here; there are: photo"):
            worker.ask("prepare", **plan_of(scratch).request(PHOTO) | {"task": "prefill"}, save="x")
        with pytest.raises(WorkerError, match="nothing was prepared"):
            worker.ask("run")
    assert "another" in (scratch / "loud.log").read_text()


def test_workers_get_the_threads_and_processors_of_the_plan(scratch):
    with Worker(PORT, 1, scratch / "threads.log") as worker:
        pid = worker._process.pid
        variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        assert b"OMP_NUM_THREADS=1" in variables
        assert sorted(os.sched_getaffinity(pid)) == cpus(1)
    assert not Path(f"/proc/{pid}").exists()


@pytest.mark.parametrize("size", [0, 64 * 2**20])
def test_memory_that_a_call_takes_is_seen(size):
    result, before, peak = peak_memory(lambda: np.ones(size, np.uint8).sum())
    assert result == size
    # Less by a little: pages that were there before count for it too.
    assert 0.95 * size <= peak - before < size + 16 * 2**20
