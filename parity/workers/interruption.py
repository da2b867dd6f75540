"""Ending in order when the system asks for it, as on Ctrl-C."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGHUP)


@contextmanager
def ended_in_order() -> Iterator[None]:
    """For the time of the block have signals that ask to end raise `SystemExit`.

    As after Ctrl-C, whatever is open is then closed on the way.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # Python has only the main thread react to signals
        return
    before = {one: signal.signal(one, _end) for one in SIGNALS if _is_usual(one)}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def _is_usual(one: signal.Signals) -> bool:
    """Whether nobody has said what is to happen (``nohup`` has a hangup ignored)."""
    return signal.getsignal(one) is signal.SIG_DFL


def _end(number: int, frame: FrameType | None) -> None:
    """End with the status that a shell gives to a signal."""
    sys.exit(128 + number)
