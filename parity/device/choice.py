"""The device that a run asks for: checked before anything is run, and selected once."""

from __future__ import annotations

from typing import Any

from parity.core.errors import ParityError
from parity.core.rows import GRAPH
from parity.device.chips import Chip, chip_of
from parity.numerics_models import find
from parity.settings import CANDIDATES, Settings, load_by_name

ASCEND = "Ascend"
HF32 = ("matmul", "conv")
"""What may compute in HF32, each by a switch of its own."""


def is_ascend(device: str) -> bool:
    """Whether ``device`` (``Ascend:0``) is one of Huawei's."""
    return device.partition(":")[0] == ASCEND


def index_of(device: str) -> int:
    """The number behind the colon.

    Raises:
        ParityError: it is no number.
    """
    _, colon, index = device.partition(":")
    if colon and not (index.isascii() and index.isdecimal()):
        raise ParityError(f"device {device!r}: what follows the colon has to be a number")
    return int(index or 0)


def check_device(settings: Settings) -> None:
    """Check the device's name and what is asked of it.

    Raises:
        ParityError: the name is none, or the device has not what is asked for.
    """
    index_of(settings.device)
    if strange := set(settings.hf32) - set(HF32):
        raise ParityError(f"unknown HF32 switch {sorted(strange)}; there are: {', '.join(HF32)}")
    if settings.numerics is not None:
        find(settings.numerics)
        if is_ascend(settings.device) or GRAPH in settings.modes:
            raise ParityError(
                f"the numerics model {settings.numerics!r} takes the place of single operations on "
                "CPU, in PyNative mode: leave out --device and --mode, or --numerics"
            )
    if settings.hf32 and not is_ascend(settings.device):
        raise ParityError(
            f"HF32 for {' and '.join(settings.hf32)} was asked for, which {settings.device} does "
            "not have: only Ascend computes in it; on CPU `--numerics hf32-matmul` imitates it"
        )


def chip_in_use(settings: Settings) -> Chip | None:
    """The chip that the run is on, or whose numerics it imitates; ``None`` for a CPU.

    Raises:
        ParityError: the device is not there.
    """
    if settings.numerics is not None:
        return chip_of(find(settings.numerics).chip)
    if not is_ascend(settings.device):
        return None
    kind = load_by_name(settings.candidate, CANDIDATES, "candidate")
    select_device(kind, settings)
    asked = getattr(kind, "device_facts", None)
    return None if asked is None else chip_of(asked(settings.device).get("soc", ""))


def judged_as(settings: Settings) -> str:
    """The device whose gates a run is judged under: a chip's model is judged as the chip."""
    imitates = settings.numerics is not None and find(settings.numerics).chip
    return ASCEND if imitates else settings.device


def select_device(kind: Any, settings: Settings) -> None:
    """Select the device in the candidate's framework, before its class is used.

    A candidate without a method for it selects its device when it is loaded.

    Raises:
        ParityError: the device is not there, or switches were asked for that nobody can set.
    """
    select = getattr(kind, "select_device", None)
    if select is not None:
        select(settings.device, settings.hf32)
    elif settings.hf32:
        raise ParityError(
            f"the candidate {settings.candidate!r} cannot switch HF32: give its class a method "
            "`select_device(device, hf32)` as MindSporeCandidate has it"
        )
