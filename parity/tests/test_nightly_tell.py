"""What the night says: outcomes survive the way to another machine, and no text becomes markup."""

import json
import os
import shutil
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from parity.core.errors import ParityError
from parity.nightly import machine_error
from parity.nightly.cells import Cell, cells
from parity.nightly.issue import LABEL, gathered
from parity.nightly.outcome import (
    BROKEN,
    COULD_NOT_RUN,
    FILE,
    PARITY,
    Guilty,
    Outcome,
    no_result,
    overall,
    read_outcome,
    write_outcome,
)
from parity.nightly.tell import issue, summary, title

ROOT = Path(__file__).parents[2]
CELL = Cell("fp32", "pynative", "tiny")
GUILTY = Guilty(
    "visual.blocks.2.mlp",
    "two-images",
    "GUILTY",
    "first guilty: visual.blocks.2.mlp\n  ratio 3,000,000",
    "python -m parity nightly run --case two-images",
)
GOOD = Outcome(CELL, PARITY, "Every point passes.", trend="trend: steady", seconds=75.0)
BAD = replace(GOOD, status=BROKEN, sentence="First guilty: visual.blocks.2.mlp.", guilty=GUILTY)
LOST = Outcome(CELL, COULD_NOT_RUN, "device-lost: Ascend:0: no answer", machine_error.DEVICE_LOST)
HOSTILE = "x`]<img src=x onerror=alert(1)>| @everyone **b** [a](https://evil.example) \x1b[31m\n# h"


def other(outcome, **cell):
    return replace(outcome, cell=replace(outcome.cell, **cell))


@pytest.mark.parametrize("outcome", [GOOD, BAD, LOST, no_result(CELL)], ids=lambda one: one.status)
def test_an_outcome_reads_back_equal(tmp_path, outcome):
    write_outcome(outcome, tmp_path)
    assert read_outcome(tmp_path / FILE) == outcome


@pytest.mark.parametrize(
    "change",
    [
        {"format": 2},
        {"format_name": "parity-rows"},
        {"status": 3},
        {"status": True},
        {"status": "0"},
        {"seconds": "long"},
        {"trouble": "gremlins", "status": 2},
        {"trouble": "no-device", "status": 0},
        {"sentence": 5},
        {"sentence": "x" * 20_001},
        {"cell": {"dtype": "fp32", "mode": "pynative"}},
        {"cell": None},
        {"guilty": {"point": "x"}},
        {"extra": ""},
    ],
    ids=str,
)
def test_a_file_that_is_no_outcome_is_refused(tmp_path, change):
    write_outcome(GOOD, tmp_path)
    data = json.loads((tmp_path / FILE).read_text())
    (tmp_path / FILE).write_text(json.dumps({**data, **change}))
    with pytest.raises(ParityError, match="is not the outcome of a nightly run"):
        read_outcome(tmp_path / FILE)


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 5000, "null"])
def test_so_is_anything_else(tmp_path, text):
    (tmp_path / FILE).write_text(text)
    with pytest.raises(ParityError, match="is not the outcome"):
        read_outcome(tmp_path / FILE)


@pytest.mark.parametrize(
    ("found", "status"),
    [
        ([], COULD_NOT_RUN),
        ([GOOD], PARITY),
        ([GOOD, LOST], COULD_NOT_RUN),
        ([GOOD, BAD, LOST], BROKEN),
    ],
)
def test_the_status_of_a_night(found, status):
    assert overall(found) == status


def test_the_first_guilty_point_leads():
    text = issue([GOOD, other(LOST, mode="graph"), other(BAD, dtype="bf16")], "https://x.example/1")
    assert (
        title([BAD]) == "nightly: parity broken, GUILTY visual.blocks.2.mlp in fp32-pynative-tiny"
    )
    assert "First: `bf16-pynative-tiny`" in text
    assert "ratio 3,000,000" in text
    assert "python -m parity nightly run --case two-images" in text
    assert "[the job](https://x.example/1)" in text
    assert "not about the code" not in text


def test_a_broken_machine_never_reads_as_broken_parity():
    text = issue([GOOD, other(LOST, mode="graph")])
    assert title([GOOD, LOST]) == "nightly: could not run (device-lost)"
    assert "The port was not judged" in text
    assert machine_error.KNOWN[machine_error.DEVICE_LOST] in text
    assert "not about the code" in text
    assert "broken" not in text


def test_a_run_without_a_verdict_accuses_nobody():
    text = issue([replace(LOST, trouble=machine_error.RUN_ENDED)])
    assert "whether the code or the machine is to blame, its log says" in text
    assert "not about the code" not in text


def test_a_trend_that_got_worse_is_told_without_a_point():
    worse = replace(GOOD, status=BROKEN, trend="trend: 1 of 95 series worse\nWORSE x: ...")
    assert title([worse]).startswith("nightly: parity broken, the trend got worse in")
    assert "WORSE x" in issue([worse])


def test_hostile_texts_stay_texts():
    guilty = Guilty(*[HOSTILE] * 5)
    bad = Outcome(Cell(HOSTILE, "pynative", "tiny"), BROKEN, HOSTILE, guilty=guilty, trend=HOSTILE,
                  commit=HOSTILE, device=HOSTILE)  # fmt: skip
    lost = Outcome(CELL, COULD_NOT_RUN, HOSTILE, machine_error.NO_DEVICE)
    for text in (issue([bad, lost]), issue([lost]), summary([bad, lost])):
        assert "\x1b" not in text
        tokens = MarkdownIt("commonmark").enable("table").parse(text)
        inline = [child for token in tokens for child in token.children or ()]
        kinds = {token.type for token in [*tokens, *inline]}
        assert not kinds & {"html_inline", "html_block", "link_open", "image", "strong_open"}
        assert "@everyone" not in "".join(one.content for one in inline if one.type == "text")
        assert len([one for one in tokens if one.type == "heading_open"]) <= 2
    assert "\n" not in title([bad])
    assert len(title([bad])) <= 256


def test_a_run_that_left_nothing_is_counted(tmp_path):
    folder = tmp_path / "night-fp32-pynative-tiny" / "nightly" / CELL.name
    folder.mkdir(parents=True)
    write_outcome(GOOD, folder)
    found = gathered(tmp_path, cells())
    assert len(found) == 16
    assert [one.cell for one in found if one.status == PARITY] == [CELL]
    assert {one.trouble for one in found if one.status != PARITY} == {machine_error.NO_RESULT}
    assert overall(gathered(tmp_path / "nowhere", cells())) == COULD_NOT_RUN
    shutil.copytree(folder, tmp_path / "again")
    with pytest.raises(ParityError, match="second outcome of fp32-pynative-tiny"):
        gathered(tmp_path, cells())


GH = """#!{python}
import json, sys, pathlib
log = pathlib.Path({log!r})
words = sys.argv[1:]
if "--body-file" in words:
    place = words.index("--body-file") + 1
    words[place] = pathlib.Path(words[place]).read_text()
with log.open("a") as file:
    file.write(json.dumps(words) + "\\n")
if words[:2] == ["issue", "list"]:
    print({issues!r})
if words[1] == {failing!r}:
    sys.exit("HTTP 403: Resource not accessible")
"""


@pytest.fixture
def tell(tmp_path):
    """Tell a night to a stand-in for `gh`: exit status, the calls it got, and what was said."""

    def run(outcome, *issues, failing="", python=(sys.executable, "-S")):
        night, log, bin_ = tmp_path / "night", tmp_path / "log", tmp_path / "bin"
        for cell in cells():
            (night / cell.name).mkdir(parents=True)
            write_outcome(replace(outcome if cell == CELL else GOOD, cell=cell), night / cell.name)
        bin_.mkdir()
        fake = bin_ / "gh"
        there = json.dumps([{"number": n, "title": text} for n, text in issues])
        fake.write_text(
            GH.format(python=sys.executable, log=str(log), issues=there, failing=failing)
        )
        fake.chmod(fake.stat().st_mode | stat.S_IXUSR)
        place = {"PATH": f"{bin_}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            [*python, "-m", "parity.nightly.issue", night, "--link", "https://x.example/1"],
            env=place, capture_output=True, text=True, check=False,
        )  # fmt: skip
        calls = [json.loads(line) for line in log.read_text().splitlines()]
        return done.returncode, calls, done.stdout + done.stderr

    return run


def test_a_broken_night_opens_one_issue(tell):
    status, calls, _ = tell(BAD)
    assert status == BROKEN
    assert [one[:2] for one in calls] == [
        ["issue", "list"],
        ["label", "create"],
        ["issue", "create"],
    ]
    assert title([BAD]) in calls[-1]
    assert calls[-1][calls[-1].index("--label") + 1] == LABEL
    assert "ratio 3,000,000" in calls[-1][-1]


def test_the_oldest_open_issue_is_brought_up_to_date(tell):
    status, calls, _ = tell(BAD, (9, "nightly: parity broken, x"), (7, title([BAD])))
    assert status == BROKEN
    assert [one[:3] for one in calls[1:]] == [["issue", "edit", "7"]]
    assert "ratio 3,000,000" in calls[-1][-1]


def test_another_point_is_said_in_a_comment(tell):
    _, calls, _ = tell(BAD, (7, "nightly: parity broken, GUILTY lm_head in fp32-pynative-tiny"))
    assert [one[:3] for one in calls[1:]] == [["issue", "comment", "7"], ["issue", "edit", "7"]]
    assert "visual.blocks.2.mlp" in calls[1][-1]


def test_a_lost_machine_leaves_the_point_where_it_was(tell):
    status, calls, said = tell(LOST, (7, title([BAD])))
    assert status == COULD_NOT_RUN
    assert [one[:3] for one in calls[1:]] == [["issue", "comment", "7"]]
    assert "stays about parity" in said


def test_parity_closes_the_issue(tell):
    status, calls, _ = tell(GOOD, (7, title([BAD])))
    assert status == PARITY
    assert [one[:3] for one in calls[1:]] == [["issue", "comment", "7"], ["issue", "close", "7"]]
    assert "parity, 16 runs" in calls[1][-1]


def test_nothing_is_done_about_a_good_night(tell):
    status, calls, said = tell(GOOD)
    assert (status, len(calls)) == (PARITY, 1)
    assert "none is needed" in said


def test_an_issue_that_cannot_be_written_is_an_error(tell):
    status, _, said = tell(BAD, failing="create")
    assert status == COULD_NOT_RUN
    assert "error: gh label create failed: HTTP 403" in said
