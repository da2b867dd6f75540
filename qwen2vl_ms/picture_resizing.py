"""Pictures resized by Pillow, a large one in strips on several processor cores.

Pillow filters one axis and then the other, each row or column by itself, with an 8-bit picture in
between. Strips of rows and then strips of columns so hold exactly the pixels of the whole.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
from PIL import Image

from qwen2vl_ms.image_reading import UInt8

WORTH_SPLITTING = 1 << 19  # pixels; starting threads takes as long as resizing fewer
MOST_WORKERS = 8


def worker_count() -> int:
    """How many cores this process may use, at most 8."""
    if hasattr(os, "sched_getaffinity"):
        return min(len(os.sched_getaffinity(0)), MOST_WORKERS)
    return min(os.cpu_count() or 1, MOST_WORKERS)


def resize_picture(
    picture: Image.Image, size: tuple[int, int], resample: int, workers: int | None = None
) -> UInt8:
    """Resize an RGB picture, bit for bit as ``picture.resize``.

    Args:
        picture: Of mode RGB.
        size: New height and width in pixels.
        resample: A Pillow filter number, 0 to 5.
        workers: How many strips are filtered at a time; all cores' worth for a large picture.

    Returns:
        uint8 [*size, 3].
    """
    height, width = size
    if workers is None:
        is_large = max(picture.width * picture.height, height * width) >= WORTH_SPLITTING
        workers = worker_count() if is_large else 1
    if picture.size == (width, height):
        return np.asarray(picture)
    if workers < 2 or not width_comes_first(picture, size) or resample == Image.Resampling.NEAREST:
        return np.asarray(picture.resize((width, height), Image.Resampling(resample)))
    with ThreadPoolExecutor(workers) as pool:
        return _in_strips(pool, workers, picture, size, Image.Resampling(resample))


def width_comes_first(picture: Image.Image, size: tuple[int, int]) -> bool:
    """Whether every Pillow filters the width before the height.

    Mirrors ``ImagingResampleInner`` (Pillow 13, Resample.c): it begins with the height where that
    loses more than twice as many rows as the width loses columns. Earlier ones never do.
    """
    rows_lost = picture.height - size[0]
    return rows_lost <= 0 or rows_lost <= 2 * (picture.width - size[1])


def _in_strips(
    pool: ThreadPoolExecutor,
    workers: int,
    picture: Image.Image,
    size: tuple[int, int],
    resample: Image.Resampling,
) -> UInt8:
    height, width = size

    def narrowed(top: int, bottom: int) -> Image.Image:
        strip = picture.crop((0, top, picture.width, bottom))
        return strip.resize((width, bottom - top), resample)

    narrow = Image.new("RGB", (width, picture.height))
    for (top, _), strip in _strips(pool, workers, picture.height, narrowed):
        narrow.paste(strip, (0, top))

    def flattened(left: int, right: int) -> Image.Image:
        strip = narrow.crop((left, 0, right, picture.height))
        return strip.resize((right - left, height), resample)

    whole = np.empty((height, width, 3), dtype=np.uint8)
    for (left, right), strip in _strips(pool, workers, width, flattened):
        whole[:, left:right] = np.asarray(strip)
    return whole


def _strips(
    pool: ThreadPoolExecutor,
    workers: int,
    length: int,
    work: Callable[[int, int], Image.Image],
) -> list[tuple[tuple[int, int], Image.Image]]:
    """What ``work`` makes of the parts of one axis, with where each begins and ends."""
    edges = sorted({length * part // workers for part in range(workers + 1)})
    parts = list(pairwise(edges))
    return list(zip(parts, pool.map(lambda part: work(*part), parts), strict=True))
