"""Is the machine fit for the night? Every check names what is wrong, before a run takes hours."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from parity.core.errors import ParityError
from parity.nightly.asked import Asked, checkpoint_of
from parity.nightly.cells import Cell
from parity.nightly.machine_error import (
    DAMAGED_BUNDLE,
    NO_BUNDLE,
    NO_DEVICE,
    NO_HISTORY,
    NO_MINDSPORE,
    NO_SPACE,
    RUN_ENDED,
    MachineError,
)
from parity.settings import CANDIDATES, Settings

ROOM = 64 << 20
"""Bytes that a run has to be able to write: report, logs, trend and history, several times over."""
SECONDS = 300.0
"""For MindSpore to be imported and to start a device, which takes a minute when CANN compiles."""


def check(asked: Asked, cell: Cell) -> None:
    """Check all that a run of ``cell`` needs, what is quick first.

    Raises:
        MachineError: something is missing; its name says what.
    """
    check_space(asked.output, ROOM)
    with _named(NO_SPACE):
        checkpoint_of(cell.size)  # a wide one is written
    check_history(asked.history_of(cell))
    check_bundle(asked, cell)
    check_computes(asked)


def check_computes(asked: Asked) -> None:
    """Check what a run computes with, in processes of their own."""
    if asked.candidate in CANDIDATES:
        check_mindspore()
    check_device(asked.device, asked.candidate)


def check_space(folder: Path, room: int) -> None:
    """See that ``room`` bytes can be written to ``folder``, by reserving them."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            os.posix_fallocate(file.fileno(), 0, room)
    except OSError as error:
        raise MachineError(
            NO_SPACE, f"{room >> 20} MB cannot be written to {folder}: {error.strerror or error}"
        ) from error


def check_history(history: str) -> None:
    """See that the history can be written; a new file is begun."""
    from parity.history.place import history_url

    with _named(NO_HISTORY):
        if "://" not in history:
            Path(history).parent.mkdir(parents=True, exist_ok=True)
        url = history_url(history)
        try:
            from parity.history.database import History
        except ImportError as error:
            raise ParityError(
                f"a package is missing ({error}): pip install 'qwen2vl-ms[ascend]'"
            ) from error
        assert url is not None
        with History(url).writing():
            pass  # its tables are there now, and would take a run


def check_bundle(asked: Asked, cell: Cell) -> None:
    """See that the bundle is there, whole, and has what the cell needs."""
    bundle = asked.bundle(cell)
    if bundle is None:
        return
    if not bundle.exists():
        raise MachineError(
            NO_BUNDLE,
            f"there is neither {bundle} nor {bundle.name}.tar; make it where PyTorch is: "
            "`python -m parity nightly bundle`",
        )
    from parity.portable.open import on_bundle

    with _named(DAMAGED_BUNDLE):
        chosen = replace(Settings(), bundle=bundle, checkpoint=checkpoint_of(cell.size))
        on_bundle(chosen, (cell.dtype,))


def check_mindspore() -> None:
    """See that MindSpore can be imported, in a process that may crash of it."""
    done = _python("-c", "import mindspore")
    if done is None or done.returncode:
        hint = (
            "on aarch64 install its vendor's wheel: the one on the package index holds libraries "
            "for x86-64"
        )
        raise MachineError(NO_MINDSPORE, f"{_last(done)}; {hint}")


def check_device(device: str, candidate: str) -> None:
    """See that the candidate computes on the device, in a process that may hang or die of it."""
    done = _python("-m", "parity", "device", "--device", device, "--candidate", candidate)
    if done is not None and done.returncode == 0:
        return
    said = _last(done)
    candidates = done is not None and done.returncode > 0 and not said.startswith("error: device ")
    name = RUN_ENDED if candidates else NO_DEVICE
    raise MachineError(name, f"{device}: {said.removeprefix('error: ')}")


def _python(*arguments: str) -> subprocess.CompletedProcess[str] | None:
    """Run Python; nothing if it takes too long."""
    try:
        return subprocess.run(
            [sys.executable, *arguments], capture_output=True, text=True, errors="replace",
            timeout=SECONDS, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return None


def _last(done: subprocess.CompletedProcess[str] | None) -> str:
    """What a process said last."""
    if done is None:
        return f"no answer in {SECONDS:.0f} s"
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    return lines[-1].strip() if lines else f"status {done.returncode}, without a word"


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Give an error a name; a full disk is one wherever it shows."""
    try:
        yield
    except MachineError:
        raise
    except (ParityError, OSError) as error:
        raise MachineError(NO_SPACE if _is_full(error) else name, str(error)) from error


def _is_full(error: BaseException | None) -> bool:
    """Whether an error, or one that it comes from, is a disk without room."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        error = error.__cause__
    return False
