"""Removing bundles that no run would use any more.

A bundle is kept while its name is one that the present checkpoint, cases, sources and versions
give, and for some days after its last use. What is removed can be captured again.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from parity.core.errors import ParityError
from parity.core.files import locked
from parity.core.numerics import PRECISIONS
from parity.core.store import MANIFEST, TENSORS, last_used
from parity.session import Session
from parity.settings import Settings

DAYS = 14.0
DAY = 86400.0
BUNDLE_FILES = {MANIFEST, TENSORS}


@dataclass(frozen=True)
class Stale:
    """A bundle that may go."""

    folder: Path
    size: int
    """In bytes."""
    days: float
    """Since its last use."""


def stale_bundles(settings: Settings, days: float = DAYS) -> list[Stale]:
    """The bundles that no run would use and that were not used for ``days``, oldest first.

    Raises:
        ParityError: the settings name something that is not there.
    """
    session = Session(settings)
    current = {
        session.references.folder(case, dtype) for case in session.cases for dtype in PRECISIONS
    }
    now = time.time()
    found = [
        Stale(folder, size_of(folder), (now - last_used(folder)) / DAY)
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


def size_of(folder: Path) -> int:
    """Bytes in the files of a folder."""
    return sum(path.stat().st_size for path in folder.iterdir())


def remove(stale: Stale, days: float = DAYS) -> bool:
    """Remove a bundle under its lock; return whether it is gone.

    It stays if another process holds its lock, or has used it in the meantime. It is moved aside
    first, so that a reader finds all of it or none. (Its lock file stays: it is empty, and taking
    it from under a process that waits for it would let two in.)
    """
    try:
        with locked(stale.folder, seconds=0):
            if not stale.folder.exists() or (time.time() - last_used(stale.folder)) / DAY <= days:
                return False
            aside = Path(tempfile.mkdtemp(prefix=f".{stale.folder.name}.", dir=stale.folder.parent))
            stale.folder.replace(aside / "old")
            shutil.rmtree(aside)
    except ParityError:
        return False  # somebody makes it anew at this moment
    except OSError as error:
        raise ParityError(
            f"cannot remove {stale.folder}: {error.strerror or error}; remove it by hand"
        ) from error
    return True
