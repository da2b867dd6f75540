"""Put a new folder in the place of an old one so that nobody ever sees half of either."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_NOT_HERE = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP)


def put_in_place(new: Path, target: Path, aside: Path) -> None:
    """Rename ``new`` to ``target``; what was there is at ``aside`` afterwards.

    On Linux the two folders trade places in one step of the kernel. Elsewhere, and on file systems
    that cannot, the old folder steps aside first, and steps back if the new one cannot follow: a
    process killed between the two renames leaves the old folder whole at ``aside``.

    Args:
        new: Finished folder, on the same file system as ``target``.
        target: Where it belongs. May exist.
        aside: Free name beside them for the old folder.

    Raises:
        OSError: A rename failed; ``target`` is what it was.
    """
    if _onto_nothing(new, target):
        return
    if _exchange(new, target):
        new.rename(aside)
    else:
        _two_renames(new, target, aside)


def _onto_nothing(new: Path, target: Path) -> bool:
    """Rename ``new`` to ``target`` if nothing is there; False if something is, or appears."""
    if target.exists():
        return False
    try:
        new.rename(target)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):  # another process was faster
            return False
        raise
    return True


def _two_renames(new: Path, target: Path, aside: Path) -> None:
    """Replace ``target`` in two steps, going back if the second fails."""
    target.rename(aside)
    try:
        new.rename(target)
    except BaseException:
        with suppress(OSError):
            aside.rename(target)
        raise


def _exchange(one: Path, other: Path) -> bool:
    """Let two folders trade names in one step; False where the system has no such call."""
    rename = _renameat2()
    if rename is None:
        return False
    paths = os.fsencode(one), os.fsencode(other)
    if rename(_AT_FDCWD, paths[0], _AT_FDCWD, paths[1], _RENAME_EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in _NOT_HERE:
        return False
    raise OSError(code, os.strerror(code), str(other))


@lru_cache(maxsize=1)
def _renameat2() -> Callable[..., int] | None:
    """Return the C library's ``renameat2``, which Python has no name for, if there is one."""
    try:
        function = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError, TypeError):  # TypeError: Windows has no library of no name
        return None
    function.argtypes = [
        ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint,
    ]  # fmt: skip
    function.restype = ctypes.c_int
    found: Callable[..., int] = function
    return found
