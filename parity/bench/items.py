"""What is measured: the items, their sizes, and the goals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TIME, MEMORY = "time", "memory"
MODEL, PICTURE = "models", "photographs"


@dataclass(frozen=True)
class Item:
    """One thing to be measured.

    Attributes:
        name: For ``--only``, and in the JSON.
        about: What it is, for a table, with places for its sizes.
        kind: Which contestants can do it: `MODEL` or `PICTURE`.
        task: What a runner is asked to compute.
        checkpoint: The folder it runs on, a key of parity.bench.checkpoints or ``tiny``.
        size: Its real size; what the numbers mean is up to the task.
        quick: Its size when only the machinery is to be tried.
        repeats: Runs in a round, of which the median counts: more where one is short.
        measure: `TIME` or `MEMORY`.
        goal: The largest ratio to the baseline that is aimed at, for the port, or None.
        largest_error: Relative; a result that is further from the baseline's is another result.
        warm: A size to run once before memory is measured, so that weights that are mapped from
            their file are read, and threads are there; or nothing.
        absent: Contestants that are left out, with the reason.
    """

    name: str
    about: str
    kind: str
    task: str
    checkpoint: str
    size: Mapping[str, int]
    quick: Mapping[str, int]
    repeats: int = 1
    measure: str = TIME
    goal: float | None = None
    largest_error: float = 1e-4
    warm: Mapping[str, int] = field(default_factory=dict)
    absent: Mapping[str, str] = field(default_factory=dict)

    def title(self, quick: bool) -> str:
        """What it is, with its sizes."""
        size = self.quick if quick else self.size
        rows, columns = size.get("grid_height", 0), size.get("grid_width", 0)
        pixels = f"{PATCH_SIDE * rows}x{PATCH_SIDE * columns} ({rows * columns} patches)"
        return self.about.format(patches=rows * columns, pixels=pixels, **size)

    def request(
        self, quick: bool, folder: Path, rounds: int, inputs: Path | None
    ) -> dict[str, Any]:
        """What a worker is told about it.

        Args:
            quick: Take its small size.
            folder: The checkpoint's.
            rounds: How many there will be.
            inputs: The file of its inputs, if they are in one.
        """
        size = dict(self.quick if quick else self.size)
        # Decoding goes on where the last run stopped: the cache has to hold all of them.
        size["runs"] = rounds * self.repeats + 1
        return {
            "task": self.task,
            "folder": str(folder),
            "size": size | ({"inputs": str(inputs)} if inputs else {}),
            "repeats": self.repeats,
            "warm": dict(self.warm),
        }


PATCH_SIDE = 14
PHOTO = {"height": 1372, "width": 2044}
SMALL = {"height": 336, "width": 504}
PUBLISHED = 16384 * 28 * 28
"""Pixels that the published checkpoints let an image have."""
DEFAULT = 1280 * 28 * 28
"""Pixels that the reference's class lets an image have."""
ROUNDING_STEPS = 1e-2
"""torchvision and Pillow resize to levels that differ by one here and there."""
EAGER_MEMORY = (
    "one matrix of its scores, 16 heads x 14308 x 14308, takes 13 GB; transformers uses sdpa "
    "unless it is told otherwise, and so does this item's baseline"
)

ITEMS = (
    Item(
        "vision-block", "vision block, {patches} patches", MODEL, "vision-block", "vision",
        {"grid_height": 32, "grid_width": 32}, {"grid_height": 8, "grid_width": 12}, goal=1.5,
    ),
    Item(
        "prefill", "2 decoder layers of the 2B size, prefill of {tokens}", MODEL, "prefill",
        "decoder", {"tokens": 512}, {"tokens": 48}, goal=1.5,
    ),
    Item(
        "decode", "2 decoder layers of the 2B size, one token after {tokens}", MODEL, "decode",
        "decoder", {"tokens": 512, "steps": 8}, {"tokens": 48, "steps": 2}, goal=1.5,
    ),
    Item(
        "tiny-prompt", "whole tiny model, prompt with an image", MODEL, "tiny-prompt",
        "tiny", {}, {}, repeats=5,
    ),
    Item(
        "tiny-decode", "whole tiny model, a step of greedy decoding", MODEL, "tiny-decode",
        "tiny", {"steps": 16}, {"steps": 3}, repeats=3,
    ),
    Item(
        "photo", "preprocessing a {height}x{width} photograph, size kept",
        PICTURE, "photo", "tiny", PHOTO | {"budget": PUBLISHED}, SMALL | {"budget": PUBLISHED},
        repeats=3, goal=1.0, largest_error=ROUNDING_STEPS,
    ),
    Item(
        "photo-resized", "preprocessing a {height}x{width} photograph, resized", PICTURE, "photo",
        "tiny",
        PHOTO | {"budget": DEFAULT}, SMALL | {"budget": 28 * 28 * 96}, repeats=3, goal=1.0,
        largest_error=ROUNDING_STEPS,
    ),
    Item(
        "memory", "memory of an image of {pixels} in 2 vision blocks",
        MODEL, "vision-tower", "vision", {"grid_height": 98, "grid_width": 146},
        {"grid_height": 24, "grid_width": 36}, measure=MEMORY, goal=1.2,
        warm={"grid_height": 2, "grid_width": 2},
        absent={"eager": EAGER_MEMORY, "mindnlp": EAGER_MEMORY},
    ),
)  # fmt: skip


def select(names: list[str]) -> list[Item]:
    """The items called ``names``, in their own order; all if there are no names.

    Raises:
        ParityError: there is no such item.
    """
    from parity.core.errors import ParityError

    known = {item.name: item for item in ITEMS}
    if unknown := [name for name in names if name not in known]:
        raise ParityError(f"there is no item {unknown[0]!r}; there are: {', '.join(known)}")
    return [item for item in ITEMS if not names or item.name in names]
