"""What ``npu-smi info`` says of the chips of this host.

Its tables differ from release to release: column widths, the memory's place, a second id
(``Phy-ID`` or ``Device``). What they have in common is read: two rows a chip, the first with the
NPU's id, its name and health, the second with the chip's id and its address on the bus.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from parity.core.errors import ParityError

PLACES = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin")
"""Where installers put it; containers often leave these out of PATH."""
SECONDS = 30
"""With eight chips it takes three."""
VISIBLE = "ASCEND_RT_VISIBLE_DEVICES"
_LONGEST = 1 << 20
_VERSION = re.compile(r"npu-smi\s+\S{1,60}\s+Version:\s*(\S{1,60})")
_NPU = re.compile(r"(\d{1,6})\s+(\S.{0,60})")
_CHIP = re.compile(r"(\d{1,6})(\s+\S{1,20})?")
_BUS = re.compile(r"[0-9A-Fa-f]{4}:[0-9A-Za-z]{2}:[0-9A-Fa-f]{2}\.[0-9A-Fa-f]")
_INDEX = re.compile(r"[0-9]{1,6}")
_MEMORY = re.compile(r"(\d{1,9})\s*/\s*(\d{1,9})")


@dataclass(frozen=True)
class NpuChip:
    """One chip in the table."""

    npu: int
    chip: int
    name: str
    health: str
    """``OK``, or what npu-smi says instead."""
    bus: str
    memory: int
    """In MB; 0 if it was not told."""


@dataclass(frozen=True)
class NpuSmi:
    """The table."""

    version: str
    """The driver's; empty if it was not told."""
    chips: tuple[NpuChip, ...]
    """In the order of the table, which is that of device ids."""

    def of_device(self, index: int, environment: Mapping[str, str]) -> NpuChip | None:
        """The chip behind a process's device ``index``; ``None`` if the table has none."""
        visible = environment.get(VISIBLE, "")
        ids = [int(one) for one in visible.split(",") if _INDEX.fullmatch(one.strip())]
        if ids:
            index = ids[index] if index < len(ids) else len(self.chips)
        return self.chips[index] if index < len(self.chips) else None


def read_npu_smi(text: str) -> NpuSmi:
    """Read the output of ``npu-smi info``; what is not a chip's row is passed over."""
    version = _VERSION.search(text[:_LONGEST])
    return NpuSmi(version[1] if version else "", tuple(_chips(text[:_LONGEST])))


def _chips(text: str) -> Iterator[NpuChip]:
    """The chips, each from two rows one below the other."""
    above: list[str] = []
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if len(cells) != 3:
            above = []
            continue
        npu = _NPU.fullmatch(above[0]) if above else None
        chip = _CHIP.fullmatch(cells[0])
        if npu and chip and _BUS.fullmatch(cells[1]):
            # Memory that is there stands before memory that is not: "0 / 0   3419 / 65536".
            total = max((int(found[2]) for found in _MEMORY.finditer(cells[2])), default=0)
            yield NpuChip(int(npu[1]), int(chip[1]), npu[2], above[1], cells[1], total)
        above = cells


def run_npu_smi() -> NpuSmi:
    """Run ``npu-smi info``, and read what it says.

    Raises:
        ParityError: it is not there, fails, hangs, or shows no chip.
    """
    program = shutil.which("npu-smi") or shutil.which("npu-smi", path=":".join(PLACES))
    if program is None:
        raise ParityError("npu-smi is not here: mount the driver's into the container")
    try:
        done = subprocess.run([program, "info"], capture_output=True, text=True, errors="replace",
                              timeout=SECONDS, check=False)  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ParityError(f"npu-smi info cannot be run: {error}") from error
    found = read_npu_smi(done.stdout)
    if not found.chips:
        lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        raise ParityError(f"npu-smi info shows no chip: {lines[-1][:200] if lines else 'nothing'}")
    return found
