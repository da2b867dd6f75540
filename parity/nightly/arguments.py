"""What the steps of a night are to the command line."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from parity.nightly.asked import Asked, checkpoint_of
from parity.nightly.cells import SIZES, Cell
from parity.settings import Settings

if TYPE_CHECKING:
    from parity.core.rows import Row

REPORT, TREND = "report", "trend.html"
"""What a cell's folder holds of them."""


def run_arguments(asked: Asked, cell: Cell) -> list[str]:
    """What a cell is to ``python -m parity``."""
    words = ["run", "--dtype", cell.dtype, "--mode", cell.mode, "--device", asked.device]
    words += ["--candidate", asked.candidate, "--checkpoint", str(checkpoint_of(cell.size))]
    for case in asked.cases or SIZES[cell.size].cases:
        words += ["--case", case]
    if (bundle := asked.bundle(cell)) is not None:
        words += ["--bundle", str(bundle)]
    if asked.plant is not None:
        words += ["--plant", asked.plant]
    words += ["--history", asked.history_of(cell)]
    return [*words, "--report", str(asked.folder(cell) / REPORT)]


def command(asked: Asked, cell: Cell) -> str:
    """What a cell is to a shell."""
    return shlex.join(["python", "-m", "parity", *run_arguments(asked, cell)])


def trend_arguments(asked: Asked, cell: Cell) -> list[str]:
    """How it is held against its history."""
    folder = asked.folder(cell)
    return ["trend", "--gate", "--run", str(folder / REPORT), "--history", asked.history_of(cell),
            "--output", str(folder / TREND)]  # fmt: skip


def again(asked: Asked, cell: Cell, first: Row | None) -> str:
    """What to type, on any machine with the checkout, to see the first failure again."""
    words = ["python", "-m", "parity", "nightly", "run", "--dtype", cell.dtype]
    words += ["--mode", cell.mode, "--size", cell.size, "--device", asked.device]
    if first is not None:
        words += ["--case", first.case]
    if asked.candidate != Settings.candidate:
        words += ["--candidate", asked.candidate]
    return shlex.join([*words, *(["--plant", asked.plant] if asked.plant else [])])
