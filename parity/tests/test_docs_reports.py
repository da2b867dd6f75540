"""The examples of docs/reports.md run as they stand, in order, where nothing else is."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from parity.report.write import FILES
from parity.runs import finished

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reports.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(sh|python)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


def example(kind, text, folder):
    """Run one block; what it prints."""
    command = ["bash", "-euo", "pipefail", "-c", text] if kind == "sh" else [sys.executable, "-c"]
    command = command if kind == "sh" else [*command, text]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    place = os.environ | {"PYTHONPATH": str(ROOT), "PATH": path}
    place = {name: value for name, value in place.items() if not name.startswith("GITHUB_")}
    done = subprocess.run(
        command, cwd=folder, env=place, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.slow
def test_every_example_runs(tmp_path):
    pytest.importorskip("pyarrow")
    printed = [example(kind, text, tmp_path) for kind, text in BLOCKS]
    assert len(printed) == 6
    assert printed[0].startswith("parity verdict: PASSED: ")
    assert "passed at " in printed[1]
    assert "local.worst.use_of_gate" in printed[3]
    assert re.match(r"\d\d tests 0 failures 0 errors\n$", printed[4])
    assert "::error file=qwen2vl_ms/vision.py,line=" in printed[5]
    assert len(finished(tmp_path / "reports")) == 2


def test_the_page_names_every_file_of_a_report():
    listed = re.findall(r"^      ([\w.]+) ", PAGE, re.MULTILINE)
    assert sorted(listed) == sorted(FILES)
