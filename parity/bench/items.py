"""What is measured: the items, their sizes, and the goals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

TIME, MEMORY = "time", "memory"
MODEL, PICTURE = "model", "picture"


@dataclass(frozen=True)
class Item:
    """One thing to be measured.

    Attributes:
        name: For ``--only``, and in the JSON.
        about: What it is, for a table.
        field: Which contestants can do it: `MODEL` or `PICTURE`.
        task: What a runner is asked to compute.
        checkpoint: The folder it runs on, a key of parity.bench.checkpoints or ``tiny``.
        size: Its real size; what the numbers mean is up to the task.
        quick: Its size when only the machinery is to be tried.
        repeats: Runs in a round, of which the median counts: more where one is short.
        measure: `TIME` or `MEMORY`.
        goal: The largest ratio to the baseline that is aimed at, for the port, or None.
        absent: Contestants that are left out, with the reason.
    """

    name: str
    about: str
    field: str
    task: str
    checkpoint: str
    size: Mapping[str, int]
    quick: Mapping[str, int]
    repeats: int = 1
    measure: str = TIME
    goal: float | None = None
    absent: Mapping[str, str] = field(default_factory=dict)

    def request(self, quick: bool, folder: str, rounds: int) -> dict[str, Any]:
        """What a worker is told about it; ``folder`` is the checkpoint's."""
        size = dict(self.quick if quick else self.size)
        # Decoding goes on where the last run stopped: the cache has to hold all of them.
        size["runs"] = rounds * self.repeats + 1
        return {"task": self.task, "folder": folder, "size": size, "repeats": self.repeats}


PHOTO = {"height": 1372, "width": 2044}
SMALL_PHOTO = {"height": 336, "width": 504}
EAGER_MEMORY = (
    "one matrix of its scores, 16 heads x 14308 x 14308, takes 13 GB; transformers uses sdpa "
    "unless it is told otherwise, and so does this item's baseline"
)

ITEMS = (
    Item(
        "vision-block", "vision block, 1024 patches", MODEL, "vision-block", "vision",
        {"grid_height": 32, "grid_width": 32}, {"grid_height": 8, "grid_width": 12}, goal=1.5,
    ),
    Item(
        "prefill", "2 decoder layers of the 2B size, prefill of 512 tokens", MODEL, "prefill",
        "decoder", {"tokens": 512}, {"tokens": 48}, goal=1.5,
    ),
    Item(
        "decode", "the same layers, one token after 512 in the cache", MODEL, "decode",
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
        "photo", "preprocessing of a photograph of 1372x2044", PICTURE, "photo", "tiny",
        PHOTO, SMALL_PHOTO, repeats=3, goal=1.0,
    ),
    Item(
        "photo-resized", "the same of 1365x2048, which is resized to that", PICTURE, "photo",
        "tiny", {"height": 1365, "width": 2048}, {"height": 333, "width": 509}, repeats=3,
        goal=1.0,
    ),
    Item(
        "memory", "memory for 14308 patches (1372x2044) in a vision tower of 2 real blocks",
        MODEL, "vision-tower", "vision", {"grid_height": 98, "grid_width": 146},
        {"grid_height": 24, "grid_width": 36}, measure=MEMORY, goal=1.2,
        absent={"eager": EAGER_MEMORY},
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
