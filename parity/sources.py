"""Which lines of the candidate and which classes of the reference a run's points stand for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from parity.core.points import Point
from parity.core.sources import Source
from parity.core.store import Bundle
from parity.settings import HERE
from parity.subjects.reference_classes import reference_source

ROOT = HERE.parent


def sources_of(candidate: Any, points: list[Point], bundle: Bundle) -> dict[str, Source]:
    """Every point's source; the candidate's side is left open if it does not tell.

    Args:
        candidate: may have a method ``sources(points)``, which names files by their full paths.
        points: the declared ones.
        bundle: names the versions of the reference's packages.
    """
    tell = getattr(candidate, "sources", None)
    found: dict[str, Source] = {} if tell is None else tell(points)
    versions = bundle.provenance.get("reference")
    known = versions if isinstance(versions, dict) else {}
    return {
        point.name: reference_source(_relative(found.get(point.name, Source())), point.name, known)
        for point in points
    }


def _relative(source: Source) -> Source:
    """``source`` with files as they are called in the repository."""
    return replace(source, candidate_file=_place(source.candidate_file),
                   built_file=_place(source.built_file))  # fmt: skip


def _place(file: str | None) -> str | None:
    """A path from the repository's root, or from the current folder; as it is outside of both."""
    if file is None:
        return None
    path = Path(file).resolve()
    for root in (ROOT, Path.cwd()):
        if path.is_relative_to(root):
            return path.relative_to(root).as_posix()
    return path.as_posix()
