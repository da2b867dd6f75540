"""A folder with little room, or that cannot be written: a file system of its own where that may be.

Mounting takes the rights of root. Elsewhere the size of files is limited instead, which stops a
writer in the middle all the same; nothing stands in for a read-only file system.
"""

from __future__ import annotations

import gc
import os
import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from parity.core.errors import ParityError

SIZE = 64 << 20
"""Bytes of the file system; what is not to be free is filled."""
BLOCK = 4096
BALLAST = "ballast"


class SmallPlace:
    """A folder whose free room can be set."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        options = ["-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(folder)]
        self.mounted = _runs("mount", *options)

    @property
    def how(self) -> str:
        """How the room is limited."""
        return "tmpfs" if self.mounted else "limit on the size of files"

    @contextmanager
    def room(self, bytes_: int) -> Iterator[None]:
        """Let so many bytes be free."""
        if not self.mounted:
            soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_, hard))
            try:
                yield
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            return
        self._fill(bytes_)
        try:
            yield
        finally:
            (self.folder / BALLAST).unlink()

    def _fill(self, left: int) -> None:
        """Leave ``left`` bytes free."""
        found = os.statvfs(self.folder)
        with (self.folder / BALLAST).open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, max(BLOCK, found.f_bavail * found.f_frsize - left))

    @contextmanager
    def read_only(self) -> Iterator[None]:
        """Let nothing be written, by root neither; only where it is mounted.

        Raises:
            ParityError: somebody still has a file in it open for writing.
        """
        gc.collect()  # closes what a traceback kept
        if not self.mounted or not _runs("mount", "-o", "remount,ro", str(self.folder)):
            raise ParityError(f"{self.folder} cannot be made read-only")
        try:
            yield
        finally:
            _runs("mount", "-o", "remount,rw", str(self.folder))

    def close(self) -> None:
        """Take it away."""
        if self.mounted:
            _runs("umount", "-l", str(self.folder))


def _runs(*command: str) -> bool:
    """Whether a command ends well."""
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False
