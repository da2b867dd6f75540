"""Finished trials on disk, one small file each, so that a run that was stopped goes on."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from parity.core.errors import ParityError
from parity.core.files import file_hash, temporary_beside
from parity.core.store import json_hash
from parity.provenance import version
from parity.selftest.outcome import Outcome
from parity.selftest.plan import Task
from parity.selftest.trial import Trial
from parity.session import Session
from parity.settings import HERE

FOLDER = "trials"
MAX_BYTES = 1 << 20
PACKAGES = ("mindspore", "numpy", "pillow", "tokenizers", "safetensors")
ELSEWHERE = ("report", "bench", "suites", "tests")
"""Folders of parity that no trial's outcome depends on."""
PRESENTATION = ("command", "csv_table", "job", "plan", "pool", "rates", "readme", "result", "table")
"""The same of the modules beside this one."""


class Records:
    """Trials in a folder; one that was made by other sources, versions or gates does not count."""

    def __init__(self, folder: Path, session: Session) -> None:
        self.folder, self.session = folder / FOLDER, session
        self._shared = json_hash(
            {
                "sources": sources_hash(),
                "versions": {name: version(name) for name in PACKAGES},
                "python": platform.python_version(),
            }
        )

    def key(self, task: Task) -> str:
        """Hash of everything that the outcome of ``task`` depends on."""
        cases = {case.name: case for case in self.session.cases}
        bundles = [
            self.session.references.folder(cases[name], task.dtype).name for name in task.cases
        ]
        gates = self.session.gates_for(task.dtype, "")
        key = [self._shared, task.fault, task.dtype, bundles, file_hash(Path(gates.source))]
        return json_hash(key)

    def read(self, task: Task) -> Trial | None:
        """The trial, if it was finished; ``None`` for a file of another key, or damaged."""
        path = self.folder / f"{task.name}.json"
        try:
            if path.stat().st_size > MAX_BYTES:
                return None
            data = json.loads(path.read_text(encoding="utf-8"))
            return trial_from(data["trial"]) if data["key"] == self.key(task) else None
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None  # it is made again

    def write(self, task: Task, trial: Trial) -> None:
        """Keep a finished trial.

        Raises:
            ParityError: the folder cannot be written.
        """
        data = {"key": self.key(task), "trial": asdict(trial)}
        path = self.folder / f"{task.name}.json"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ParityError(f"cannot write {self.folder}: {error.strerror}") from error
        with temporary_beside(path) as temporary:
            temporary.write_text(json.dumps(data, indent=1), encoding="utf-8")


def trial_from(data: Mapping[str, Any]) -> Trial:
    """A trial as `dataclasses.asdict` made plain data of it.

    Raises:
        KeyError, TypeError: it is none.
    """
    outcomes = {name: Outcome(**found) for name, found in data["outcomes"].items()}
    return Trial(**{**data, "outcomes": outcomes, "beyond": tuple(data["beyond"])})


def sources_hash() -> str:
    """Hash of every source that may change an outcome: the harness's and the port's."""
    ours = [p for p in HERE.rglob("*.py") if p.relative_to(HERE).parts[0] not in ELSEWHERE]
    ours = [p for p in ours if p.parent.name != "selftest" or p.stem not in PRESENTATION]
    port = (HERE.parent / "qwen2vl_ms").rglob("*.py")
    found = sorted(path for path in (*ours, *port) if "tests" not in path.parts)
    return json_hash([(str(path.relative_to(HERE.parent)), file_hash(path)) for path in found])
