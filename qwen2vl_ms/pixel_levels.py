"""Floats out of 8-bit pixels, looked up.

What a pixel becomes depends on its channel and its 8 bits alone. So the 256 floats of a channel
are computed once, by the same functions in the same order of roundings, and looked up: as exact,
and several times as fast as computing millions of them.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from qwen2vl_ms.image_reading import UInt8

LEVELS = 256
CHUNK = 64  # patches whose lookups stay in a processor core's cache


def level_table(
    normalized: Callable[[UInt8], npt.NDArray[np.float32]], channels: int = 3
) -> npt.NDArray[np.float32]:
    """The float of every level: float32 [C, 256].

    Args:
        normalized: From uint8 [C, H, W] to float32 of that shape, pixel by pixel.
        channels: C.
    """
    levels = np.arange(LEVELS, dtype=np.uint8)[None, None]  # [1, 1, 256]
    return normalized(np.repeat(levels, channels, axis=0))[:, 0]


def look_up(
    patches: UInt8, table: npt.NDArray[np.float32], repeats: int = 1
) -> npt.NDArray[np.float32]:
    """Replace the levels in flat patches by their floats.

    Args:
        patches: uint8 [D, C * V], the V values of a channel after each other.
        table: float32 [C, 256].
        repeats: How often the values of each channel follow each other, for a picture that
            stands still in time.

    Returns:
        float32 [D, C * repeats * V].
    """
    by_channel = patches.reshape(len(patches), len(table), -1)  # [D, C, V]
    shape = len(patches), len(table), repeats, by_channel.shape[2]
    floats = np.empty(shape, dtype=np.float32)
    for start in range(0, len(patches), CHUNK):
        part = slice(start, start + CHUNK)
        for channel, row in enumerate(table):
            # Clipping changes nothing, 8 bits cannot leave the table; it saves NumPy's check.
            floats[part, channel] = row.take(by_channel[part, channel], mode="clip")[:, None]
    return floats.reshape(len(patches), -1)
