"""Which commit the code that a run compared was at, and whether it had been changed since."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

NONE, UNKNOWN = "none", "unknown"
SECONDS = 2.0
"""That git may take: a run is not kept waiting by a huge repository or a slow disk."""


@dataclass(frozen=True)
class Commit:
    """What git says of a file's repository."""

    hash: str
    """40 hexadecimal digits; ``none`` outside of a repository, ``unknown`` if git did not say."""
    dirty: bool | None = None
    """Whether files differ from the commit or are new, but for ignored ones; ``None``: unknown."""

    @property
    def state(self) -> str:
        """``clean``, ``changed``, ``unknown``, or ``none`` where there is no commit."""
        if self.hash == NONE:
            return NONE
        return UNKNOWN if self.dirty is None else "changed" if self.dirty else "clean"


def commit_of(file: Path) -> Commit:
    """The commit of the repository that holds ``file``.

    A file that the repository ignores (a package installed in a ``.venv`` inside it) is not held.
    """
    try:
        if _git(file.parent, "check-ignore", "--quiet", str(file)).returncode != 1:
            return Commit(NONE)  # 0: ignored; 128: no repository
        done = _git(file.parent, "status", "--porcelain=v2", "--branch")
    except FileNotFoundError:
        return Commit(NONE)  # no git here
    except (OSError, subprocess.TimeoutExpired):
        return Commit(UNKNOWN)
    return parse(done.stdout) if done.returncode == 0 else Commit(UNKNOWN)


def parse(status: str) -> Commit:
    """Read the output of ``git status --porcelain=v2 --branch``."""
    lines = status.splitlines()
    found = [line.split()[-1] for line in lines if line.startswith("# branch.oid ")]
    # A repository without any commit says "(initial)".
    name = found[0] if found and not found[0].startswith("(") else NONE
    return Commit(name, any(not line.startswith("#") for line in lines))


def _git(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run git for reading; it takes no lock and asks nothing."""
    return subprocess.run(
        ["git", "--no-optional-locks", "-C", str(folder), *arguments],
        capture_output=True, text=True, errors="replace", timeout=SECONDS, check=False,
        env={**os.environ, "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"},
    )  # fmt: skip
