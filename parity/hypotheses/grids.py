"""Grids of pictures that are not the reference's: (t, h, w) in patches."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from parity.hypotheses.failure import Failure
from parity.hypotheses.hypothesis import Answer, Hypothesis
from parity.hypotheses.pixels import settings

GRIDS = ("processor.image_grid_thw", "processor.video_grid_thw")
FACTOR = 28
"""What the sides of a resized picture are multiples of."""
LEAST, MOST = 56 * 56, FACTOR**2 * 1280
"""Default bounds of a picture's pixels."""
Resize = Callable[[int, int, int, int], tuple[int, int]]
"""From height, width, least and most pixels to a height and a width."""


def fitted(height: int, width: int, factor: int, least: int, most: int) -> tuple[int, int]:
    """The size a picture is resized to (source: ``smart_resize`` of transformers 5.23)."""
    h, w = (round(length / factor) * factor for length in (height, width))
    if h * w > most:
        beta = math.sqrt(height * width / most)
        h, w = (max(factor, math.floor(n / beta / factor) * factor) for n in (height, width))
    elif h * w < least:
        beta = math.sqrt(least / (height * width))
        h, w = (math.ceil(n * beta / factor) * factor for n in (height, width))
    return h, w


def _resized(resize: Resize) -> Callable[[Failure], Answer]:
    """Grids of the case's images from their own sizes."""

    def answer(failure: Failure) -> Answer:
        from PIL import Image

        known, side = settings(failure), failure.run.config.patch[2]
        least = int(known.get("min_pixels", LEAST))
        most = failure.case.max_pixels or int(known.get("max_pixels", MOST))
        parts = [part for prompt in failure.case.calls[failure.call].prompts for part in prompt]
        rows = []
        for path in (part.image for part in parts if part.image):
            with Image.open(path) as picture:
                h, w = resize(picture.height, picture.width, least, most)
            rows.append([1, h // side, w // side])
        return np.asarray(rows, np.int64)

    return answer


def _of_sizes() -> Iterator[Hypothesis]:
    """Grids of pictures that were resized to another size."""

    def one(name: str, sentence: str, resize: Resize) -> Hypothesis:
        return Hypothesis(f"grid-{name}", sentence, GRIDS[:1], _resized(resize))

    yield one("unbounded", "max_pixels ignored",
              lambda h, w, least, most: fitted(h, w, FACTOR, least, 10**9))  # fmt: skip
    yield one("default-bounds", "the default pixel bounds instead of the call's",
              lambda h, w, least, most: fitted(h, w, FACTOR, LEAST, MOST))  # fmt: skip
    yield one("transposed-resize", "pictures resized to (width, height) for (height, width)",
              lambda h, w, least, most: fitted(w, h, FACTOR, least, most))  # fmt: skip
    yield one("patch-factor", "sides rounded to multiples of the patch, not of merged patches",
              lambda h, w, least, most: fitted(h, w, FACTOR // 2, least, most))  # fmt: skip


def _of_grids() -> Iterator[Hypothesis]:
    def one(
        name: str, sentence: str, change: Callable[[Any], Any], where: tuple[str, ...] = GRIDS
    ) -> Hypothesis:
        def answer(failure: Failure) -> Answer:
            return np.asarray(change(np.asarray(failure.value(failure.point.name, failure.index))))

        return Hypothesis(f"grid-{name}", sentence, where, answer)

    yield one("hw-swapped", "height and width of a grid swapped", lambda g: g[:, [0, 2, 1]])
    yield one("merged", "grids counted in merged tokens instead of patches",
              lambda grid: grid // [1, 2, 2])  # fmt: skip
    yield one("frames", "time counted in frames instead of pairs", lambda g: g * [2, 1, 1])
    yield one("frame-dropped", "the last frame of an odd-length video dropped, not repeated",
              lambda grid: grid - [1, 0, 0], GRIDS[1:])  # fmt: skip
    yield one("reversed", "grids of the pictures in reverse", lambda grid: grid[::-1])


HYPOTHESES = (*_of_grids(), *_of_sizes())
