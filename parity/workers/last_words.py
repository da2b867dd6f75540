"""How a process ended, in words, and where it was when it did."""

from __future__ import annotations

import re
import signal
import sysconfig
from collections.abc import Iterable
from pathlib import Path

_FRAME = re.compile(r'  File "(?P<file>[^"]+)", line (?P<line>\d+) in (?P<name>\S+)')
_HEADING = re.compile(r"(Stack|Current thread 0x\S+.*|Thread 0x\S+.*) \(most recent call first\):")


def words_for(status: int, ran_out: bool) -> str:
    """What became of a process, after its subject.

    Args:
        status: as `subprocess` has it, a signal as a negative number.
        ran_out: whether the system has killed some process for lack of memory meanwhile.
    """
    if status >= 0:
        return f"ended with exit status {status}"
    name = signal.Signals(-status).name
    if -status != signal.SIGKILL:
        return f"was killed by {name}"
    if ran_out:
        return f"ran out of memory: the system killed it ({name})"
    return f"was killed by {name}, as the system does when memory runs out"


def oom_kills() -> int:
    """How many processes Linux has killed so far because memory ran out; 0 elsewhere."""
    try:
        lines = Path("/proc/vmstat").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)


def place_in(printed: Iterable[str]) -> str:
    """The innermost line of somebody's own code in the last traceback that was printed, if any.

    What `faulthandler` prints, of a crash or because it was asked: the innermost frame first.
    """
    frames: list[tuple[str, str, str]] = []
    for line in printed:
        if _HEADING.fullmatch(line):
            frames = []
        elif found := _FRAME.match(line):
            frames.append((found["file"], found["line"], found["name"]))
    if not frames:
        return ""
    installed = ("site-packages", sysconfig.get_paths()["stdlib"])
    own = [frame for frame in frames if not any(place in frame[0] for place in installed)]
    file, line, name = (own or frames)[0]
    return f", at {Path(file).name}:{line} in {name}"
