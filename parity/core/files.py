"""Files and folders that several processes share: replaced in one step, made under a lock."""

from __future__ import annotations

import errno
import glob
import hashlib
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from parity.core.errors import ParityError

LOCK_SECONDS = 3600.0
ABANDONED = 3600.0
"""Seconds after which what a process did not finish is taken to be nobody's."""


@contextmanager
def temporary_beside(path: Path) -> Iterator[Path]:
    """A file to write, which takes ``path``'s place when the block ends well.

    Raises:
        ParityError: the place cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    _remove_abandoned(path)
    try:
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise ParityError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        with suppress(OSError):  # a read-only place says so even of what is not there
            temporary.unlink()


def _remove_abandoned(path: Path) -> None:
    """Remove what killed processes were writing for ``path`` an hour or more ago."""
    for found in path.parent.glob(f".{glob.escape(path.name)}.*"):
        with suppress(OSError):
            if found.suffix[1:].isdigit() and is_abandoned(found):
                found.unlink()


def is_abandoned(path: Path) -> bool:
    """Whether nobody has touched something for an hour; what is from the future counts as old.

    Raises:
        OSError: it is not there.
    """
    return abs(time.time() - path.lstat().st_mtime) > ABANDONED


def replace_folder(staging: Path, folder: Path) -> None:
    """Put ``staging`` in the place of ``folder``; readers see the old one or the new one."""
    if folder.exists():
        old = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        folder.replace(old / "old")
        staging.replace(folder)
        shutil.rmtree(old, ignore_errors=True)
    else:
        staging.replace(folder)


@contextmanager
def locked(folder: Path, seconds: float = LOCK_SECONDS) -> Iterator[None]:
    """Hold the lock of the bundle ``folder``, so that one process at a time makes or removes it.

    The operating system drops the lock with its holder, so a killed process blocks nobody.

    Raises:
        ParityError: the place cannot be written, or another process holds the lock for longer
            than ``seconds``.
    """
    lock = FileLock(f"{folder}.lock", timeout=seconds)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise ParityError(
            f"another process has been making {folder} for {seconds:.0f} s; end it, or use "
            "another place with --bundles"
        ) from None
    except OSError as error:
        raise ParityError(
            f"cannot write to {folder.parent}: {error.strerror or error}; name another place, or "
            "free some space"
        ) from error
    try:
        for leftover in folder.parent.glob(f".{glob.escape(folder.name)}.*"):
            shutil.rmtree(leftover, ignore_errors=True)  # of a process that was killed
        yield
    finally:
        lock.release()


def read_text(path: Path, most: int) -> str:
    """The UTF-8 text of a file that anybody may have written.

    A pipe would be waited for and a device read for ever, so neither is opened.

    Args:
        path: the file.
        most: bytes it may have.

    Raises:
        OSError: it cannot be read, is no regular file, or has more than ``most`` bytes.
        UnicodeDecodeError: it is no UTF-8; a ``ValueError``, as what a parser raises.
    """
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "it is no regular file", str(path))
    if found.st_size > most:
        raise OSError(errno.EFBIG, f"it has more than {most:,} bytes", str(path))
    with path.open("rb") as file:
        return file.read(found.st_size).decode("utf-8")


def file_hash(path: Path) -> str:
    """SHA-256 of a file's content, as hexadecimal.

    Raises:
        ParityError: the file cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise ParityError(f"cannot read {path}: {error.strerror}") from error
    return digest.hexdigest()
