"""Real candidates that end in the middle of a block: said where, and the other case still runs."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
FILE = "deadly_candidates.py"
BEFORE, PLACE = "visual.blocks.1.norm2", "visual.blocks.1.mlp.fc1"


def run(tmp_path, candidate, *more):
    """The finished process, and its rows by case, of a case with an image and one without."""
    done = subprocess.run(
        [sys.executable, "-m", "parity", "run", "--case", "single-image", "--case", "text-only",
         "--candidate", f"parity.tests.deadly_candidates:{candidate}", *more,
         "--report", str(tmp_path / "report")],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    rows = json.loads((tmp_path / "report" / "rows.json").read_text())["rows"]
    return done, {case: [row for row in rows if row["case"] == case]
                  for case in ("single-image", "text-only")}  # fmt: skip


def verdicts(rows):
    return {row["verdict"] for row in rows}


@pytest.mark.slow
def test_the_healthy_twin_passes(tmp_path):
    done, rows = run(tmp_path, "Sabotaged")
    assert done.returncode == 0, done.stderr
    assert [len(found) for found in rows.values()] == [95, 47]
    assert all(verdicts(found) == {"PASS"} for found in rows.values())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("candidate", "options", "how", "step"),
    [
        (
            "Stuck",
            ("--timeout", "30"),
            "hung: stopped after 30 s, at deadly_candidates.py:",
            "free",
        ),
        ("Gone", (), "ended with exit status 3", "forced"),
        ("Crashing", (), f"was killed by SIGSEGV, at {FILE}:", "forced"),
    ],
)
def test_a_candidate_that_ends_its_process(tmp_path, candidate, options, how, step):
    done, rows = run(tmp_path, candidate, *options)
    assert done.returncode == 1, done.stderr
    assert verdicts(rows["text-only"]) == {"PASS"}
    assert len(rows["single-image"]) == 95
    assert verdicts(rows["single-image"]) == {"MISSING", "VICTIM"}
    (row,) = (row for row in rows["single-image"] if row["verdict"] == "MISSING")
    assert row["point"] == PLACE
    assert row["message"].startswith(f"the candidate {how}")
    assert row["message"].endswith(f"in the {step} run, after {BEFORE}")
    assert {row.get("cause") for row in rows["single-image"]} == {None, PLACE}
    assert f"first MISSING: {PLACE}" in done.stdout.splitlines()[-1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("candidate", "why"),
    [
        ("Throwing", f"ValueError: no such operator ({FILE}:"),
        ("Starving", "MemoryError: Unable to allocate 2.00 GiB"),
        ("StarvingInside", "RuntimeError: Allocate memory failed"),
    ],
)
def test_a_candidate_that_throws(tmp_path, candidate, why):
    """It lives, so that what it had computed before is compared, in both of its runs."""
    done, rows = run(tmp_path, candidate)
    assert done.returncode == 1, done.stderr
    assert verdicts(rows["text-only"]) == {"PASS"}
    verdict = {row["point"]: row["verdict"] for row in rows["single-image"]}
    assert verdict[BEFORE] == "PASS"
    failed = next(row for row in rows["single-image"] if row["verdict"] != "PASS")
    assert (failed["point"], failed["verdict"]) == (PLACE, "MISSING")
    assert failed["message"].startswith(f"not reached, the candidate stopped with {why}")


@pytest.mark.slow
def test_a_candidate_that_leaves_no_memory(tmp_path):
    """Whatever runs out of it, it is said, and the next worker has enough."""
    done, rows = run(tmp_path, "StarvingTheRun")
    assert done.returncode == 1, done.stderr
    assert verdicts(rows["text-only"]) == {"PASS"}
    assert "PASS" not in verdicts(rows["single-image"])


@pytest.mark.slow
def test_a_hanging_candidate_is_shown_by_pytest_itself():
    """The plugin runs in process: after some time pytest prints where everything is, and ends."""
    command = [
        sys.executable, "-m", "pytest", "parity/suites", "-q", "-k", "input_ids", "--case",
        "single-image", "--candidate", "parity.tests.quick_candidates:Hanging",
        "-o", "faulthandler_timeout=20", "-o", "faulthandler_exit_on_timeout=true",
    ]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "quick_candidates.py" in done.stderr
    assert "in misbehave" in done.stderr
