"""Bundles in a cache that nobody has used for long: how old and large they are, and letting go."""

from __future__ import annotations

import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from parity.core.errors import ParityError
from parity.core.files import locked
from parity.core.store import last_used

DAY = 86400.0


@dataclass(frozen=True)
class Stale:
    """A bundle that may go: its files can be made, or unpacked, again."""

    folder: Path
    size: int
    """In bytes."""
    days: float
    """Since its last use."""


def age(folder: Path) -> float:
    """Days since a bundle was used, or made."""
    return (time.time() - last_used(folder)) / DAY


def size_of(folder: Path) -> int:
    """Bytes in the files of a folder, and of the folders in it."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def remove(stale: Stale, days: float) -> bool:
    """Remove a bundle under its lock; return whether it is gone.

    It stays if another process holds its lock, or has used it in the meantime. It is moved aside
    first, so that a reader finds all of it or none. (Its lock file stays: it is empty, and taking
    it from under a process that waits for it would let two in.)
    """
    try:
        with locked(stale.folder, seconds=0):
            if not stale.folder.exists() or age(stale.folder) <= days:
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
