"""The measuring of the harness's own cost: what is timed, and how it is told."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from parity.bench.checkpoints import folder_of
from parity.bench.harness import Line, run, table
from parity.bench.harness_sizes import IMAGE, SIZES, declared, in_turn, prompt
from parity.core.errors import ParityError

ROOT = Path(__file__).parent.parent.parent


def test_contestants_take_turns_and_their_first_run_is_not_timed():
    seen = []
    taken = in_turn({"a": lambda: seen.append("a"), "b": lambda: seen.append("b")}, 2)
    assert seen == ["a", "b"] * 3
    assert {name: len(seconds) for name, seconds in taken.items()} == {"a": 2, "b": 2}
    assert all(second > 0 for seconds in taken.values() for second in seconds)


def test_a_line_tells_ratio_range_and_goal():
    slow = Line("a", "b", [3.0, 4.0, 2.0], [2.0, 2.0, 2.0], goal=1.15)
    assert slow.cells == ("a", "b", "2 s", "1.50 (1.00 to 2.00)", "1.15 or less, not met")
    assert Line("a", "b", [2.0], [2.0], goal=1.15).cells[-1] == "1.15 or less, met"
    assert Line("a", "b", [2.0], [2.0]).cells[-1] == "-"


@pytest.mark.parametrize("seconds", [[], [1.0, 2.0], [float("nan")], [0.0]])
def test_a_figure_that_is_none_is_refused(seconds):
    with pytest.raises(ParityError):
        _ = Line("a", "b", seconds, [1.0]).cells


def test_the_table_is_markdown():
    lines = table([Line("a", "b", [2.0], [1.0])]).splitlines()
    assert len(lines) == 3
    assert all(line.count("|") == 6 for line in lines)


@pytest.mark.parametrize("name", SIZES)
def test_a_prompt_holds_as_many_image_tokens_as_its_image_has_features(name):
    found = prompt(SIZES[name])
    patches = int(np.prod(found["image_grid_thw"]))
    assert found["pixel_values"].shape == (patches, 1176)
    assert np.count_nonzero(found["input_ids"] == IMAGE) == patches // 4
    assert found["input_ids"].shape == found["mm_token_type_ids"].shape


def test_block_points_are_fewer_than_module_points(tmp_path):
    folder = folder_of("toy", tmp_path)
    block, module = (declared(folder, level) for level in ("block", "module"))
    assert 10 < len(block) < len(module)
    assert not [point for point in module if "video" in point.name]


def test_what_fails_is_told():
    with pytest.raises(ParityError, match=r"failed: .*no such thing"):
        run("-c", "raise SystemExit('no such thing')")


def test_a_run_that_stops_is_not_timed():
    from parity.bench.mindspore_harness import finished
    from parity.core.trace import Trace

    finished(Trace())
    with pytest.raises(ParityError, match="out of memory"):
        finished(Trace(stopped="out of memory"))


@pytest.mark.slow
def test_the_command_measures_everything_in_small():
    command = [sys.executable, "-m", "parity.bench.harness", "--quick", "--rounds", "1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith("|")]
    assert len(lines) == 2 + 3 + 4 + 2 + 1 + 2
    assert all(re.search(r"\d+\.\d\d \(\d+\.\d\d to \d+\.\d\d\)", line) for line in lines[2:])
