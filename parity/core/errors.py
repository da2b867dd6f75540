"""Errors a user can act on, and how any other exception is told."""

from __future__ import annotations

import traceback
from pathlib import Path


class ParityError(Exception):
    """The run could not be made (exit status 2): the message names the thing and the fix."""


class BundleError(ParityError):
    """A bundle on disk is missing, damaged, or was made by another version."""


class CaseError(ParityError):
    """A case, or a file it names, cannot be used."""


def describe_exception(error: BaseException) -> str:
    """An exception in one line: type, message, and the last line of somebody's own code in it.

    Frames of installed packages are passed over, since the fault is rarely there.
    """
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "site-packages" not in frame.filename] or frames
    where = f" ({Path(own[-1].filename).name}:{own[-1].lineno})" if own else ""
    text = " ".join(str(error).split())[:500] or "no message"
    return f"{type(error).__name__}: {text}{where}"
