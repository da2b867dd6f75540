"""The workflows pass their linters, and what the linters are for is caught when it is planted."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from ruamel.yaml import YAML

from parity.__main__ import app
from parity.nightly.cells import cells

ROOT = Path(__file__).parents[2]
WORKFLOWS = ROOT / ".github" / "workflows"
LINT = ROOT / ".ci" / "lint-workflows"
FILES = sorted(WORKFLOWS.glob("*.yml"))
PIN = re.compile(r"^[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$")
CI = "ci.yml"


def lint(folder):
    """Run the command that `make check` runs."""
    place = os.environ | {"BIN": str(Path(sys.executable).parent)}
    return subprocess.run(
        [LINT, folder], env=place, capture_output=True, text=True, check=False, timeout=120
    )


@pytest.fixture
def copied(tmp_path):
    """The workflows in a folder of their own."""
    return Path(shutil.copytree(WORKFLOWS, tmp_path / "workflows"))


def test_the_workflows_are_clean():
    done = lint(WORKFLOWS)
    assert done.returncode == 0, done.stdout + done.stderr


def test_make_check_runs_the_same_command():
    done = subprocess.run(
        ["make", "-n", "check"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "BIN=.venv/bin .ci/lint-workflows\n" in done.stdout


@pytest.mark.parametrize(
    ("sound", "faulty", "told"),
    [
        pytest.param("timeout-minutes: 20", "timeout: 20", "timeout", id="unknown-key"),
        pytest.param(
            "run: make check",
            'run: make check RUN_ARGS="${{ github.event.pull_request.title }}"',
            "template-injection",
            id="template-injection",
        ),
        pytest.param(
            "checkout@de0fac2e4500dabe0009e67214ff5f5447ce83dd # v6.0.2",
            "checkout@v6",
            "unpinned-uses",
            id="unpinned-action",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "        with:\n          persist-credentials: false\n",
            "",
            "artipacked",
            id="credentials-kept",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "permissions: {}",
            "permissions: write-all",
            "excessive-permissions",
            id="write-all",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "  pull_request:\n",
            "  pull_request_target:\n",
            "dangerous-triggers",
            id="dangerous-trigger",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_planted_fault_is_caught(copied, sound, faulty, told):
    text = (copied / CI).read_text(encoding="utf-8")
    assert sound in text
    (copied / CI).write_text(text.replace(sound, faulty, 1), encoding="utf-8")
    done = lint(copied)
    assert done.returncode == 1 or 11 <= done.returncode <= 14, done.stdout + done.stderr
    assert told in done.stdout + done.stderr


def test_a_folder_without_workflows_is_no_success(tmp_path):
    done = lint(tmp_path)
    assert done.returncode == 2
    assert "holds no workflow" in done.stderr


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_actions_are_pinned_no_credentials_stay_and_jobs_end(path):
    text = path.read_text(encoding="utf-8")
    used = re.findall(r"uses: (.+)$", text, re.MULTILINE)
    assert used
    assert [one for one in used if not PIN.match(one)] == []
    assert text.count("actions/checkout@") == text.count("persist-credentials: false")
    jobs = text.partition("\njobs:\n")[2]
    assert len(re.findall(r"^  [\w-]+:$", jobs, re.MULTILINE)) == jobs.count("timeout-minutes:")


def test_an_action_has_one_version_everywhere():
    found = {}
    for path in FILES:
        for name, pin in re.findall(r"uses: ([\w./-]+)@(.+)$", path.read_text(), re.MULTILINE):
            found.setdefault(name, set()).add(pin)
    assert {name: pins for name, pins in found.items() if len(pins) > 1} == {}


def steps(name):
    """The shell commands of a workflow's steps."""
    jobs = YAML(typ="safe").load(WORKFLOWS / name)["jobs"].values()
    return [step["run"] for job in jobs for step in job["steps"] if "run" in step]


def unknown(command):
    """Options of a ``python -m parity`` command line that the command does not have."""
    words = shlex.split(command.partition(" -m parity ")[2])
    found = typer.main.get_command(app)
    while hasattr(found, "commands"):
        found = found.commands[words.pop(0)]
    there = {option for one in found.params for option in one.opts}
    return [word for word in words if word.startswith("-") and word not in there]


def test_the_nightly_workflow_runs_commands_that_exist():
    text = "\n".join(steps("nightly-ascend.yml"))
    commands = re.findall(r"\S*python -m parity (?:nightly) .*", text)
    assert len(commands) == 2
    assert [unknown(one) for one in commands] == [[], []]
    assert unknown(f"{commands[1]} --no-such-option") == ["--no-such-option"]
    for name in re.findall(r"python -m (parity\.[\w.]+)", text):
        assert (ROOT / f"{name.replace('.', '/')}.py").is_file(), name
    for path in re.findall(r"python (\.ci/\S+)", text):
        assert (ROOT / path).is_file(), path


def test_the_matrix_is_what_the_night_knows():
    done = subprocess.run(
        [sys.executable, "-S", "-m", "parity.nightly.cells"], cwd=ROOT, capture_output=True,
        text=True, check=True,
    )  # fmt: skip
    (line,) = done.stdout.splitlines()
    matrix = json.loads(line)["include"]
    assert [tuple(one.values()) for one in matrix] == [(c.dtype, c.mode, c.size) for c in cells()]
    used = set(re.findall(r"matrix\.(\w+)", (WORKFLOWS / "nightly-ascend.yml").read_text()))
    assert used == set(matrix[0])
