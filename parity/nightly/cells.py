"""What a night compares: every dtype, mode and size, each a run of its own.

``python -m parity.nightly.cells`` prints them as GitHub Actions takes a matrix, with nothing but
the standard library.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from itertools import product

DTYPES = ("fp32", "fp16", "bf16", "ascend-mixed")
REFERENCES = ("fp32", "fp16", "bf16")
"""Dtypes of the references that they are held to."""
MODES = ("pynative", "graph")


@dataclass(frozen=True)
class Size:
    """How large the model is."""

    name: str
    about: str
    cases: tuple[str, ...] = ()
    """Cases to run; none: all."""


TINY = Size("tiny", "the embedded checkpoint, trained, every case")
WIDE = Size(
    "wide",
    "the widths of Qwen2-VL-2B in two vision blocks and two decoder layers, made from a seed",
    ("two-images", "odd-video", "text-only", "decoding"),
)
SIZES = {one.name: one for one in (TINY, WIDE)}


@dataclass(frozen=True)
class Cell:
    """One run of a night."""

    dtype: str
    mode: str
    size: str

    @property
    def name(self) -> str:
        """For folders, files and people."""
        return f"{self.dtype}-{self.mode}-{self.size}"


def cells(
    dtypes: tuple[str, ...] = DTYPES,
    modes: tuple[str, ...] = MODES,
    sizes: tuple[str, ...] = tuple(SIZES),
) -> list[Cell]:
    """Every combination, the smaller size first."""
    return [Cell(dtype, mode, size) for size, mode, dtype in product(sizes, modes, dtypes)]


if __name__ == "__main__":
    print(json.dumps({"include": [asdict(one) for one in cells()]}))
