"""Removing bundles that no run would use any more.

A bundle is kept while its name is one that the present checkpoint, cases, sources and versions
give, and for some days after its last use. What is removed can be captured again.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from parity.core.numerics import PRECISIONS
from parity.core.stale import Stale, age, size_of
from parity.core.store import MANIFEST, TENSORS
from parity.session import Session
from parity.settings import Settings

DAYS = 14.0
BUNDLE_FILES = {MANIFEST, TENSORS}


def stale_bundles(settings: Settings, days: float = DAYS) -> list[Stale]:
    """The bundles that no run would use and that were not used for ``days``, oldest first.

    Raises:
        ParityError: the settings name something that is not there.
    """
    session = Session(settings)
    current = {
        session.references.folder(case, dtype) for case in session.cases for dtype in PRECISIONS
    }
    found = [
        Stale(folder, size_of(folder), age(folder))
        for folder in bundle_folders(settings.bundles)
        if folder not in current
    ]
    return sorted((one for one in found if one.days > days), key=lambda one: -one.days)


def bundle_folders(place: Path) -> Iterator[Path]:
    """Folders in ``place`` that hold a bundle's files and nothing else."""
    if not place.is_dir():
        return
    for folder in sorted(place.iterdir()):
        if folder.is_symlink() or not folder.is_dir() or folder.name.startswith("."):
            continue
        names = {path.name for path in folder.iterdir()}
        if names and names <= BUNDLE_FILES:
            yield folder
