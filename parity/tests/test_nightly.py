"""The night as it runs on a host with an NPU, here on CPU: from a bundle, to an exit status.

A broken machine never reads as broken parity: each way in which it can break is broken here.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from parity.nightly import machine_error
from parity.nightly.cells import Cell
from parity.nightly.outcome import BROKEN, COULD_NOT_RUN, FILE, PARITY, read_outcome
from parity.report.rows_io import read_json
from parity.workers.in_progress import interrupted

ROOT = Path(__file__).parents[2]
CELL = Cell("fp32", "pynative", "tiny")
ONE = ["--dtype", "fp32", "--mode", "pynative", "--size", "tiny", "--case", "single-image"]
UNFORESEEN = """
import sys
class Wrong:
    def find_spec(self, name, path=None, target=None):
        if name == "parity.workers.gather":
            1 / 0
sys.meta_path.insert(0, Wrong())
"""
HIDDEN = """
import os, sys
class Lost:
    def find_spec(self, name, path=None, target=None):
        if name == "mindspore" and os.path.exists(os.environ["PARITY_TEST_LOST"]):
            raise ImportError("the driver does not answer")
sys.meta_path.insert(0, Lost())
"""


def parity(*words, **environment):
    """Run a command as the workflow does: exit status, and what it said."""
    place = {k: v for k, v in os.environ.items() if not k.startswith(("GITHUB_", "PARITY_"))}
    place |= {"PYTHONPATH": str(ROOT), **environment}
    done = subprocess.run(
        [sys.executable, "-m", "parity", *map(str, words)], cwd=ROOT, env=place,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=600,
    )  # fmt: skip
    return done.returncode, done.stdout


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    """What the machine with PyTorch hands over."""
    place = tmp_path_factory.mktemp("bundles")
    status, said = parity("nightly", "bundle", "--size", "tiny", "--case", "single-image", "--tar",
                          "-o", place)  # fmt: skip
    assert status == 0, said
    assert [path.name for path in place.iterdir()] == ["tiny.tar"]
    return place


@pytest.mark.slow
def test_a_good_night_then_a_bad_one_then_the_rest(bundles, tmp_path):
    night, summary = tmp_path / "night", tmp_path / "job-summary.md"
    options = ["nightly", "run", *ONE, "--bundles", bundles, "-o", night]
    status, said = parity(*options, "--mode", "graph", GITHUB_STEP_SUMMARY=str(summary))
    assert status == PARITY, said
    compiled = read_outcome(night / "fp32-graph-tiny" / FILE)
    assert (compiled.cell.mode, compiled.status) == ("graph", PARITY)
    assert {path.name for path in (night / "history").glob("*.sqlite")} == {
        "fp32-graph-tiny.sqlite", f"{CELL.name}.sqlite"
    }  # fmt: skip
    good = read_outcome(night / CELL.name / FILE)
    assert (good.cell, good.status, good.guilty) == (CELL, PARITY, None)
    assert good.trend.startswith("trend: steady")
    assert {path.name for path in (night / CELL.name).iterdir()} == {
        "report", "trend.html", "run.log", "trend.log", FILE
    }  # fmt: skip
    assert {"index.html", "rows.json", "junit.xml"} <= {
        path.name for path in (night / CELL.name / "report").iterdir()
    }
    assert "nightly: parity, 2 runs" in (night / "summary.md").read_text()
    assert "nightly: parity, 2 runs" in summary.read_text()
    assert not (night / "issue.md").exists()

    status, said = parity(*options, "--plant", "quick-gelu-as-gelu")
    bad = read_outcome(night / CELL.name / FILE)
    assert status == bad.status == BROKEN, said
    assert bad.guilty.point == "visual.blocks.2.mlp"
    assert bad.guilty.again == (
        "python -m parity nightly run --dtype fp32 --mode pynative --size tiny --device CPU "
        "--case single-image --plant quick-gelu-as-gelu"
    )
    assert "visual.blocks.2.mlp" in bad.trend, "the history of the night before was carried on"
    text = (night / "issue.md").read_text()
    assert "visual.blocks.2.mlp" in text
    assert bad.guilty.again in text

    told = parity(*options, "--plant", "quick-gelu-as-gelu", "--resume")
    assert told[0] == BROKEN
    assert "parity verdict" not in told[1], "what is finished is taken over"


@pytest.mark.slow
def test_a_device_that_is_lost_in_the_middle_is_not_the_ports_fault(bundles, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(HIDDEN)
    marker = tmp_path / "lost"
    options = ["nightly", "run", *ONE, "--bundles", bundles, "-o", tmp_path / "night",
               "--candidate", "parity.tests.nightly_candidates:LosesItsDevice"]  # fmt: skip
    place = {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}", "PARITY_TEST_LOST": str(marker)}
    status, said = parity(*options, **place)
    assert marker.exists(), said
    found = read_outcome(tmp_path / "night" / CELL.name / FILE)
    assert (status, found.trouble) == (COULD_NOT_RUN, machine_error.DEVICE_LOST), said
    assert "The port was not judged" in (tmp_path / "night" / "issue.md").read_text()

    (tmp_path / "sitecustomize.py").unlink()
    marker.unlink()
    status, said = parity(*options, **place)
    found = read_outcome(tmp_path / "night" / CELL.name / FILE)
    assert (status, found.status) == (BROKEN, BROKEN), "the same throw on a device that is there"
    assert "device is lost" in " ".join(found.guilty.message.split())


@pytest.mark.slow
def test_so_is_one_that_is_there_again(bundles, tmp_path):
    """A driver resets what hung: the device computes, and the run was lost all the same."""
    status, said = parity(
        "nightly", "run", *ONE, "--bundles", bundles, "-o", tmp_path / "night", "--candidate",
        "parity.tests.nightly_candidates:LosesItForAMoment",
        PARITY_TEST_LOST=str(tmp_path / "lost"),
    )  # fmt: skip
    found = read_outcome(tmp_path / "night" / CELL.name / FILE)
    assert (status, found.trouble) == (COULD_NOT_RUN, machine_error.DEVICE_LOST), said
    assert "507010" in found.sentence


@pytest.mark.slow
def test_a_run_that_is_killed_has_no_verdict(bundles, tmp_path):
    status, said = parity(
        "nightly", "run", *ONE, "--bundles", bundles, "-o", tmp_path / "night",
        "--candidate", "parity.tests.nightly_candidates:EndsTheRun",
    )  # fmt: skip
    found = read_outcome(tmp_path / "night" / CELL.name / FILE)
    assert (status, found.trouble) == (COULD_NOT_RUN, machine_error.RUN_ENDED), said
    assert "SIGKILL" in found.sentence


@pytest.mark.slow
def test_an_interrupted_night_goes_on(tmp_path):
    """As a cancelled job and its repetition on the same host: what is finished is not run again."""
    options = ["nightly", "run", *ONE, "--case", "text-only", "-o", tmp_path]
    command = [sys.executable, "-m", "parity", *map(str, options)]
    place = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, env=place, stdout=subprocess.PIPE, text=True) as night:
        for line in night.stdout:
            if line.startswith("1/3 "):
                night.terminate()
    folder = tmp_path / CELL.name
    assert night.returncode == 128 + signal.SIGTERM
    assert not (folder / FILE).exists(), "no outcome"
    assert len(interrupted(folder / "report")) == 1

    status, said = parity(*options, "--resume")
    assert status == PARITY, said
    assert "1/3 " not in (folder / "run.log").read_text()
    rows = read_json(folder / "report" / "rows.json").rows
    assert {row.case for row in rows} == {"single-image", "text-only"}
    assert interrupted(folder / "report") == []


@pytest.mark.slow
def test_a_traceback_is_no_verdict_although_its_status_is_1(bundles, tmp_path):
    """Python's own status for an exception nobody foresaw is the one of broken parity."""
    (tmp_path / "sitecustomize.py").write_text(UNFORESEEN)
    status, said = parity("nightly", "run", *ONE, "--bundles", bundles, "-o", tmp_path / "night",
                          PYTHONPATH=f"{tmp_path}{os.pathsep}{ROOT}")  # fmt: skip
    found = read_outcome(tmp_path / "night" / CELL.name / FILE)
    assert (status, found.trouble) == (COULD_NOT_RUN, machine_error.RUN_ENDED), said
    assert "it ended with status 1; it last said: ZeroDivisionError" in found.sentence


@pytest.mark.slow
def test_each_thing_that_is_missing_has_a_name(bundles, tmp_path):
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    whole = bytearray((bundles / "tiny.tar").read_bytes())
    whole[len(whole) // 2] ^= 1
    (damaged / "tiny.tar").write_bytes(whole)
    there = ["--bundles", bundles]
    for name, options in {
        machine_error.NO_BUNDLE: ["--bundles", tmp_path / "nowhere"],
        machine_error.DAMAGED_BUNDLE: ["--bundles", damaged],
        machine_error.NO_HISTORY: [*there, "--history", "postgresql+psycopg://p@127.0.0.1:1/p"],
        machine_error.NO_DEVICE: [*there, "--device", "Ascend:0"],
    }.items():
        status, said = parity("nightly", "run", *ONE, *options, "-o", tmp_path / name,
                              XDG_CACHE_HOME=str(tmp_path / "cache"))  # fmt: skip
        data = json.loads((tmp_path / name / CELL.name / FILE).read_text())
        assert (status, data["trouble"]) == (COULD_NOT_RUN, name), said
        assert not (tmp_path / name / CELL.name / "report").exists(), "nothing was run"


def test_a_name_that_nobody_knows(tmp_path):
    status, said = parity("nightly", "run", "--size", "vast", "-o", tmp_path)
    assert (status, said) == (2, "error: the nightly does not know 'vast'; there are: tiny, wide\n")


def test_a_folder_of_somebody_else_is_left_alone(tmp_path):
    theirs = tmp_path / CELL.name / "thesis.tex"
    theirs.parent.mkdir()
    theirs.touch()
    status, said = parity("nightly", "run", *ONE, "-o", tmp_path)
    assert status == 2
    assert "thesis.tex is not a nightly run's" in said
    assert theirs.exists()
