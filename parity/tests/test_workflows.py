"""The workflows pass their linters, and what the linters are for is caught when it is planted."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

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
