"""The benchmark: its arithmetic, its workers (real ones, on a small photograph), its table."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from parity.bench import checkpoints, inputs
from parity.bench.contestants import CONTESTANTS, OURS, Contestant, able, mindnlp
from parity.bench.facts import counted
from parity.bench.items import ITEMS, MEMORY, PICTURE, select
from parity.bench.memory import peak_memory
from parity.bench.mindspore_profile import _inside, plain_name
from parity.bench.profiling import COPIES, DISPATCH, ELEMENTWISE, kind_of, lines_of, parts
from parity.bench.protocol import Worker, WorkerError, cpus
from parity.bench.ratios import Spread, check_same, met, relative_error, round_ratios
from parity.bench.rounds import (
    ADDED,
    SECONDS,
    TOTAL,
    Figures,
    Plan,
    Report,
    Result,
    measure,
    rotated,
)
from parity.bench.table import failures, markdown, rows_of, tables_of
from parity.core.errors import ParityError
from parity.tests.test_cli import refused

ROOT = Path(__file__).parent.parent.parent
RUNNERS = "parity.tests.bench_runners"
PORT = next(c for c in CONTESTANTS if c.name == "port-pictures")
PHOTO = next(item for item in ITEMS if item.name == "photo")


def odd(name):
    """The port's picture contestant with something wrong about it."""
    return Contestant(name.lower(), name, PICTURE, f"{RUNNERS}:{name}", team=OURS)


# Arithmetic


def test_a_spread_is_median_and_range():
    assert Spread.of([3.0, 1.0, 2.0, 10.0]) == Spread(2.5, 1.0, 10.0)


@pytest.mark.parametrize("values", [[], [1.0, 0.0], [1.0, -1.0], [float("nan")], [float("inf")]])
def test_a_spread_of_what_is_no_measurement_is_refused(values):
    with pytest.raises(ParityError):
        Spread.of(values)


def test_ratios_are_taken_within_rounds():
    """Not of medians: a slow round slows everybody in it."""
    assert round_ratios([2.0, 40.0, 6.0], [1.0, 10.0, 2.0]) == [2.0, 4.0, 3.0]


@pytest.mark.parametrize("baseline", [[1.0, 1.0], [1.0, 1.0, 0.0], [1.0, 1.0, float("nan")]])
def test_ratios_of_other_rounds_are_refused(baseline):
    with pytest.raises(ParityError):
        round_ratios([1.0, 1.0, 1.0], baseline)


@pytest.mark.parametrize(("median", "reached"), [(1.5, True), (1.51, False), (np.nan, False)])
def test_a_goal_is_met_by_the_median(median, reached):
    assert met(Spread(median, 0.1, 99.0), 1.5) is reached


def test_the_relative_error_is_of_norms():
    reference = np.array([[3.0, 4.0]], np.float32)
    assert relative_error(reference + np.array([[0.0, 0.5]], np.float32), reference) == 0.1
    assert relative_error(reference, reference) == 0.0


@pytest.mark.parametrize(
    ("found", "reference", "word"),
    [([1.0, 2.0], [1.0], "shape"), ([1.0], [0.0], "norm"), ([1.0], [float("nan")], "norm")],
)
def test_what_cannot_be_compared_is_refused(found, reference, word):
    with pytest.raises(ParityError, match=word):
        relative_error(np.array(found), np.array(reference))


@pytest.mark.parametrize("error", [2e-4, float("nan"), float("inf")])
def test_another_result_is_refused(error):
    check_same(9e-5, 1e-4)
    with pytest.raises(ParityError, match="something else"):
        check_same(error, 1e-4)


def test_every_contestant_begins_a_round():
    assert [rotated([1, 2, 3], turn)[0] for turn in range(4)] == [1, 2, 3, 1]
    assert sorted(rotated([1, 2, 3], 2)) == [1, 2, 3]
    assert rotated([], 1) == []


# Items, contestants and weights


def test_the_issues_items_are_there_at_their_sizes():
    sizes = {item.name: dict(item.size) for item in ITEMS}
    assert sizes["vision-block"]["grid_height"] * sizes["vision-block"]["grid_width"] == 1024
    assert sizes["prefill"]["tokens"] == sizes["decode"]["tokens"] == 512
    assert sizes["memory"] == {"grid_height": 98, "grid_width": 146}  # of 1372x2044 pixels
    assert (sizes["photo"]["height"], sizes["photo"]["width"]) == (14 * 98, 14 * 146)
    assert {item.name: item.goal for item in ITEMS if item.goal} == {
        "vision-block": 1.5, "prefill": 1.5, "decode": 1.5, "photo": 1.0, "photo-resized": 1.0,
        "memory": 1.2,
    }  # fmt: skip


@pytest.mark.parametrize("quick", [False, True])
def test_titles_tell_the_sizes_that_are_taken(quick):
    titles = [item.title(quick) for item in ITEMS]
    assert not any("{" in title for title in titles)
    assert any("1024 patches" in title for title in titles) is not quick
    assert any("1372x2044 (14308 patches)" in title for title in titles) is not quick


def test_items_are_selected_in_their_own_order():
    assert [item.name for item in select(["memory", "prefill"])] == ["prefill", "memory"]
    assert select([]) == list(ITEMS)
    with pytest.raises(ParityError, match="no item 'prefil'"):
        select(["prefil"])


def test_the_baseline_of_every_item_is_the_reference():
    for item in ITEMS:
        names = [c.name for c in able(item, CONTESTANTS)]
        assert names[0] in ("eager", "sdpa", "torchvision")
        assert len(names) > 2
    memory = next(item for item in ITEMS if item.measure == MEMORY)
    assert "13 GB" in memory.absent["eager"]


def test_mindnlp_needs_an_interpreter(tmp_path):
    with pytest.raises(ParityError, match="bench-mindnlp"):
        mindnlp(tmp_path / "python")
    assert mindnlp(Path(sys.executable)).python == sys.executable


def test_the_checkpoints_have_the_published_widths():
    vision = checkpoints.parameters(checkpoints.SHAPES["vision"])
    assert vision["visual.blocks.1.attn.qkv.weight"] == (3840, 1280)
    assert vision["visual.blocks.0.mlp.fc1.weight"] == (5120, 1280)
    decoder = checkpoints.parameters(checkpoints.SHAPES["decoder"])
    assert decoder["model.layers.1.mlp.gate_proj.weight"] == (8960, 1536)
    assert decoder["model.layers.0.self_attn.k_proj.weight"] == (256, 1536)


def test_weights_follow_from_names_alone():
    first = checkpoints.weight("a.weight", (64, 32))
    assert np.array_equal(first, checkpoints.weight("a.weight", (64, 32)))
    assert not np.array_equal(first, checkpoints.weight("b.weight", (64, 32)))
    assert first.std() == pytest.approx(32**-0.5, rel=0.1)
    assert checkpoints.weight("n.weight", (500,)).mean() == pytest.approx(1.0, abs=0.02)
    assert checkpoints.weight("n.bias", (500,)).mean() == pytest.approx(0.0, abs=0.02)


def test_a_checkpoint_is_one_the_port_can_read(tmp_path):
    from safetensors import safe_open

    from qwen2vl_ms import Qwen2VLConfig

    folder = checkpoints.folder_of("toy", tmp_path)
    assert Qwen2VLConfig.from_pretrained(folder).text_config.hidden_size == 256
    with safe_open(folder / "model.safetensors", "np") as file:
        found = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    assert found == checkpoints.parameters(checkpoints.SHAPES["toy"])


def test_texts_hold_plain_tokens_and_begin_alike():
    assert inputs.tokens(600).min() >= inputs.FIRST_TOKEN
    assert inputs.tokens(600).max() < inputs.LAST_TOKEN
    assert np.array_equal(inputs.tokens(600)[:, :48], inputs.tokens(48))


# Memory


@pytest.mark.parametrize("size", [0, 64 * 2**20])
def test_memory_that_a_call_takes_is_seen(size):
    result, before, peak = peak_memory(lambda: np.ones(size, np.uint8).sum())
    assert result == size
    # Less by a little: pages that were there before count for it too.
    assert 0.95 * size <= peak - before < size + 16 * 2**20


# Workers


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


# The table

FACTS = {"machine": "m", "threads": "2 threads", "versions": "v 1", "rounds": "3 rounds",
         "command": "python -m parity.bench"}  # fmt: skip
EAGER, SDPA, OURS_NOW = (next(c for c in CONTESTANTS if c.name == name)
                         for name in ("eager", "sdpa", "port"))  # fmt: skip


def told(ours, goal_item="vision-block", error=1e-6):
    item = next(item for item in ITEMS if item.name == goal_item)
    figures = {
        "eager": Figures({SECONDS: [0.1, 0.2, 0.1]}, 0.0),
        "sdpa": Figures({SECONDS: [0.1, 0.1, 0.1]}, 1e-7),
        "port": Figures({SECONDS: ours}, error),
    }
    return Result(item, (EAGER, SDPA, OURS_NOW), figures)


def test_the_table_shows_ratios_range_and_goal():
    ((head, (cells,)),) = tables_of([told([0.15, 0.2, 0.1])])
    assert head == ["", "Hugging Face eager", "Hugging Face sdpa", "this port", "goal"]
    assert cells == ["vision block, 1024 patches", "1 (100 ms)", "1.00 (0.50 to 1.00)",
                     "1.00 (1.00 to 1.50) met", "1.5 or less"]  # fmt: skip
    ((_, (cells,)),) = tables_of([told([0.2, 0.4, 0.2])])
    assert cells[3] == "2.00 (2.00 to 2.00) not met"


def test_small_sizes_meet_no_goal():
    ((_, (cells,)),) = tables_of([replace(told([0.15, 0.2, 0.1]), quick=True)])
    assert cells[3:] == ["1.00 (1.00 to 1.50)", "-"]


def test_what_has_failed_is_shown_and_what_is_left_out_has_a_reason():
    result = told([0.1, 0.1, 0.1])
    result.figures["port"] = Figures(failure="this port: broken")
    memory = Result(next(i for i in ITEMS if i.name == "memory"), (SDPA,),
                    {"sdpa": Figures({ADDED: [1e6], TOTAL: [2e9]})})  # fmt: skip
    text = markdown([result, memory], FACTS)
    assert "| failed |" in text
    assert "1 (1 MB)" in text
    assert "1 (2.00 GB)" in text
    assert "memory leaves out eager, mindnlp: one matrix of its scores" in text
    assert failures([result, memory]) == ["vision-block: this port: broken"]


def test_markdown_says_how_it_was_measured():
    text = markdown([told([0.1, 0.1, 0.1], error=2e-6)], FACTS)
    assert text.startswith("| ")
    assert "median (range) over 3 rounds. m; 2 threads. v 1." in text
    assert "models Hugging Face sdpa 1e-07, this port 2e-06" in text
    assert text.endswith("Made by `python -m parity.bench`.")
    json.dumps(told([0.1, 0.1, 0.1]).as_json())


def test_one_thing_is_not_several():
    assert [counted(1, "round"), counted(4, "round")] == ["1 round", "4 rounds"]


# The profile


@pytest.mark.parametrize(
    ("kernel", "kind"),
    [("BatchMatMul", "matrix products"), ("Softmax", "softmax"), ("LayerNorm", "norms"),
     ("Transpose", "layout"), ("AddExt", ELEMENTWISE), ("Cast", "casts"),
     ("BroadcastTo", "layout")],
)  # fmt: skip
def test_kernels_are_of_a_kind(kernel, kind):
    assert kind_of(kernel) == kind


def test_kernels_are_counted_by_run_and_plain_name():
    events = [
        {"name": "Default/BiasAdd-op1", "ts": "1000.0", "dur": "500000.0"},
        {"name": "BiasAdd", "ts": "1001.0", "dur": "250000.0"},
        {"name": "MatMul", "ts": "2000.0", "dur": "1.0"},
    ]
    assert _inside((1_000_000, 2_000_000), events) == {"BiasAdd": (2, 0.75)}
    assert _inside((2_000_000, 3_000_000), events) == {"MatMul": (1, 1e-6)}
    assert plain_name("Default/network-A/MatMul-op12") == "MatMul"


def test_a_runs_time_is_split_completely():
    kernels = {"MatMul": (4, 0.5), "Mul": (2, 0.1), "Add": (1, 0.05)}
    found = {"seconds": [1.0, 1.0, 1.0], "kernels": [kernels] * 3}
    least = {"seconds": [0.25, 0.25], "kernels": [{"MatMul": (4, 0.05)}] * 2}
    made = {part.kind: part for part in parts(found, least)}
    assert sum(part.seconds for part in made.values()) == pytest.approx(1.0)
    assert made[DISPATCH].seconds == pytest.approx(0.2)
    assert made[COPIES].seconds == pytest.approx(0.15)
    assert made[ELEMENTWISE].names == ("Mul x2", "Add x1")
    title, first, *_ = lines_of("block", parts(found, least))
    assert title == "block: 1000.0 ms under the profiler"
    assert first.split()[:4] == ["50.0%", "500.00", "ms", "matrix"]


def test_dispatch_is_never_more_than_what_is_left():
    found = {"seconds": [1.0], "kernels": [{"MatMul": (1, 0.9)}]}
    least = {"seconds": [1.0], "kernels": [{"MatMul": (1, 0.1)}]}
    made = {part.kind: part.seconds for part in parts(found, least)}
    assert made[DISPATCH] == pytest.approx(0.1)
    assert made[COPIES] == 0.0


# The command line


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
