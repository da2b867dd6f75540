"""What tar files of portable bundles held, in the user's cache: unpacked once, gone when unused."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from parity.core.errors import ParityError
from parity.core.portable import MANIFEST
from parity.core.stale import Stale, age, remove, size_of

DAYS = 3.0
"""A night brings a bundle of a gigabyte; unpacking one again takes seconds."""
_NAME = re.compile(r"[0-9a-f]{64}")


def default_place() -> Path:
    """The user's cache folder for what tar files held."""
    import platformdirs

    return Path(platformdirs.user_cache_dir("parity")) / "portable"


def unused(place: Path, days: float = DAYS) -> Iterator[Stale]:
    """The unpacked bundles in ``place`` that were not used for ``days``."""
    for folder in sorted(place.iterdir()) if place.is_dir() else ():
        ours = _NAME.fullmatch(folder.name) and (folder / MANIFEST).is_file()
        if ours and not folder.is_symlink() and (old := age(folder)) > days:
            yield Stale(folder, size_of(folder), old)


def let_go_of_unused(place: Path) -> None:
    """Remove the unpacked bundles that nobody has used for some days, as far as they let us."""
    for stale in unused(place):
        with suppress(ParityError):  # no reason not to run
            remove(stale, DAYS)
