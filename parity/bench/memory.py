"""The most memory a call takes, as Linux counts it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from parity.core.errors import ParityError

T = TypeVar("T")
STATUS = Path("/proc/self/status")
RESET = Path("/proc/self/clear_refs")


def peak_memory(call: Callable[[], T]) -> tuple[T, int, int]:
    """Call, and say what memory was resident before, and at most during the call.

    Call it in a process that has not done the same before: allocators keep what they once had.

    Returns:
        The call's result, bytes before, bytes at the peak.

    Raises:
        ParityError: this system does not count it.
    """
    try:
        RESET.write_text("5", encoding="ascii")  # "5" resets the high-water mark (man 5 proc)
        before = _resident("VmRSS")
        result = call()
        return result, before, _resident("VmHWM")
    except OSError as error:
        raise ParityError(
            f"peak memory is read from {STATUS} after a write to {RESET}, which Linux has and "
            f"this system refuses ({error.strerror}): leave the item out with --only"
        ) from error


def _resident(entry: str) -> int:
    """Bytes, by the name of the entry of the status file, which counts in kB."""
    for line in STATUS.read_text(encoding="ascii").splitlines():
        name, _, value = line.partition(":")
        if name == entry:
            return int(value.split()[0]) * 1024
    raise ParityError(f"{STATUS} says nothing of {entry}: leave the item out with --only")
