"""All that a run's numbers depend on, by name: two runs that agree in it give the same rows."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

from parity.core.files import file_hash
from parity.core.store import json_hash
from parity.environment import recorded
from parity.provenance import candidate_file, gates_used, versions
from parity.report.plain_io import encode
from parity.session import Session
from parity.settings import HERE, Settings


def depends(session: Session) -> dict[str, object]:
    """Settings, references, gates, code, versions and machine of a run, as JSON.

    Args:
        session: its references are captured.

    Raises:
        ParityError: a file cannot be read.
    """
    settings, overrides = session.settings, session.settings.overrides
    return {
        **{one.name: encode(getattr(settings, one.name)) for one in fields(settings)},
        "references": _references(session),
        "gates": gates_used(session)["gates"],
        "overrides": None if overrides is None else file_hash(overrides),
        "code": json_hash([file_hash(path) for path in sorted(_sources(settings))]),
        "versions": versions(),
        "machine": [platform.node(), platform.machine(), os.cpu_count()],
        "environment": recorded(os.environ),
    }


def _references(session: Session) -> list[str]:
    """The hash of every bundle, which holds those of all tensors."""
    return [session.references.hash(case, dtype)
            for dtype in session.settings.dtypes for case in session.cases]  # fmt: skip


def _sources(settings: Settings) -> Iterator[Path]:
    """The files of the harness, of the port, and of the package that the candidate is in."""
    first = candidate_file(settings)
    tests = "tests" in settings.candidate.partition(":")[0].split(".")
    for place in {HERE, HERE.parent / "qwen2vl_ms", *([first.parent] if _package(first) else [])}:
        files = (path.relative_to(place) for path in place.rglob("*.py"))
        yield from (place / path for path in files if tests or "tests" not in path.parts)
    if not _package(first):
        yield first


def _package(file: Path) -> bool:
    return file.name == "__init__.py"
