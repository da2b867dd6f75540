"""The benchmark's table: ratios with their range, goals, failures, how it was measured."""

import json
from dataclasses import replace

from parity.bench.contestants import CONTESTANTS
from parity.bench.facts import counted
from parity.bench.items import ITEMS
from parity.bench.rounds import (
    ADDED,
    SECONDS,
    TOTAL,
    Figures,
    Result,
)
from parity.bench.table import failures, markdown, tables_of

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
