"""What the harness's own cost is measured on: a checkpoint's name, an image and a text."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from parity.bench.inputs import patches, tokens
from parity.core.points import Point
from parity.core.trace import Array
from parity.subjects import qwen2vl

VISION_START, VISION_END, IMAGE = 60, 61, 62
MERGED = 4
"""Patches that become one token."""


@dataclass(frozen=True)
class Size:
    """One size of model and input."""

    checkpoint: str
    """Name of its shape in `parity.bench.checkpoints`."""
    patches: tuple[int, int]
    """Height and width of the image."""
    text: int
    """Tokens of text."""


SIZES = {"middle": Size("middle", (40, 40), 64), "toy": Size("toy", (8, 4), 8)}


def prompt(size: Size) -> dict[str, Array]:
    """A processor's outputs for one image and a text, by their names."""
    height, width = size.patches
    image = np.full((1, height * width // MERGED), IMAGE)
    ends = np.array([[VISION_START]]), np.array([[VISION_END]])
    ids = np.concatenate([ends[0], image, ends[1], tokens(size.text)], axis=1).astype(np.int64)
    return {
        "input_ids": ids,
        "attention_mask": np.ones_like(ids),
        "mm_token_type_ids": (ids == IMAGE).astype(np.int64),
        **patches(height, width),
    }


def declared(checkpoint: Path, level: str) -> list[Point]:
    """The points of a checkpoint at ``level``, the processor's for an image only."""
    video = ("processor.pixel_values_videos", "processor.video_grid_thw")
    every = qwen2vl.points(qwen2vl.read_depths(checkpoint), level)
    return [point for point in every if point.name not in video]


def in_turn(contestants: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each contestant in each round, all in turn, after one run that is not timed."""
    taken: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(rounds + 1):
        for name, run in contestants.items():
            start = time.perf_counter()
            run()
            if number:
                taken[name].append(time.perf_counter() - start)
    return taken
