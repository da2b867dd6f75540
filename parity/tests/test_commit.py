"""The commit of a run's code: clean, changed, none, and never kept waiting for."""

import os
import subprocess
import time
from pathlib import Path

import pytest

from parity import commit
from parity.commit import Commit, commit_of, parse


def git(folder, *arguments):
    identity = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    command = ["git", "-C", folder, *identity, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A repository with one commit of ``port/model.py`` that ignores ``.venv``."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    folder = tmp_path / "repository"
    (folder / "port").mkdir(parents=True)
    (folder / "port" / "model.py").write_text("1")
    (folder / ".gitignore").write_text(".venv\n")
    git(folder, "init", "-q")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "one")
    return folder


def test_a_clean_tree(repository):
    found = commit_of(repository / "port" / "model.py")
    assert found == Commit(git(repository, "rev-parse", "HEAD"), dirty=False)
    assert found.state == "clean"


@pytest.mark.parametrize("name", ["port/model.py", "port/new.py", "README"])
def test_a_changed_or_new_file_is_told(repository, name):
    (repository / name).write_text("2")
    found = commit_of(repository / "port" / "model.py")
    assert (found.hash, found.state) == (git(repository, "rev-parse", "HEAD"), "changed")


def test_an_ignored_file_changes_nothing_and_has_no_commit(repository):
    installed = repository / ".venv" / "lib" / "model.py"
    installed.parent.mkdir(parents=True)
    installed.write_text("3")
    assert commit_of(repository / "port" / "model.py").state == "clean"
    assert commit_of(installed) == Commit("none")


def test_outside_of_a_repository_and_before_its_first_commit(tmp_path):
    (tmp_path / "model.py").write_text("1")
    assert commit_of(tmp_path / "model.py") == Commit("none")
    assert commit_of(tmp_path / "model.py").state == "none"
    git(tmp_path, "init", "-q")
    assert commit_of(tmp_path / "model.py").hash == "none"


def test_without_git(repository, monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    assert commit_of(repository / "port" / "model.py") == Commit("none")


def test_a_git_that_takes_too_long_is_not_waited_for(repository, tmp_path, monkeypatch):
    slow = tmp_path / "bin" / "git"
    slow.parent.mkdir()
    slow.write_text("#!/bin/sh\nexec sleep 60\n")
    slow.chmod(0o755)
    monkeypatch.setenv("PATH", str(slow.parent), prepend=os.pathsep)
    monkeypatch.setattr(commit, "SECONDS", 0.2)
    started = time.monotonic()
    found = commit_of(repository / "port" / "model.py")
    assert time.monotonic() - started < 5
    assert (found.hash, found.state) == ("unknown", "unknown")


def test_a_name_that_git_quotes_does_not_confuse():
    status = '# branch.oid 0123456789\n# branch.head main\n? "# branch.oid fake\\n"\n'
    assert parse(status) == Commit("0123456789", dirty=True)
    assert parse("") == Commit("none", dirty=False)
    assert Path(__file__).exists()
