"""The sizes and frame numbers of qwen-vl-utils: pure arithmetic.

Two programs prepare pictures for Qwen2-VL, one after the other, each with its own limits:

    qwen-vl-utils (here)   an image   4 to 16384 tokens
                           a frame    128 to 768 tokens, and at most an even share of
                                      ``total_pixels``, 90 % of 128000 tokens unless given
                           a video    2 frames a second, 4 to 768 of them, an even number
    the processor          an image   min_pixels and max_pixels of preprocessor_config.json
                           a frame    those of the video processor; every frame it is given

A token is 28 x 28 pixels, of two frames in a video. The model was trained with at most 16384
tokens a video (Qwen2-VL's report): ``total_pixels=TRAINED_VIDEO_PIXELS`` asks for that, which a
``min_pixels`` over its share undoes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from qwen2vl_ms.errors import Qwen2VLError
from qwen2vl_ms.image_processing import Int64
from qwen2vl_ms.image_reading import check_shape

MERGE_SIZE = 2
IMAGE_TOKENS = (4, 16384)  # least and most
FRAME_TOKENS = (128, 768)
DEFAULT_FPS = 2.0
FRAME_FACTOR = 2  # frames are taken in pairs
LEAST_FRAMES, MOST_FRAMES = 4, 768
CONTEXT_TOKENS = 128000
CONTEXT_SHARE = 0.9  # of the context may a video take
TRAINED_VIDEO_PIXELS = 16384 * 28 * 28


def fitted_size(
    height: int, width: int, factor: int, min_pixels: float, max_pixels: float
) -> tuple[int, int]:
    """The size a picture is resized to: multiples of ``factor`` within the budget.

    Mirrors ``smart_resize`` (qwen-vl-utils 0.0.14), which differs from the processor's on
    pictures smaller than ``factor`` and on very long ones.

    Raises:
        Qwen2VLError: the picture is empty or too long, or the budget contradicts itself or has no
            room for it.
    """
    if max_pixels < min_pixels:
        raise Qwen2VLError(
            f"has max_pixels {max_pixels:g} and min_pixels {min_pixels:g}: raise the one or lower "
            "the other"
        )
    check_shape(height, width)
    rows, columns = (max(factor, round(side / factor) * factor) for side in (height, width))
    if rows * columns > max_pixels:
        shrink = math.sqrt((height * width) / max_pixels)
        rows = math.floor(height / shrink / factor) * factor
        columns = math.floor(width / shrink / factor) * factor
    elif rows * columns < min_pixels:
        grow = math.sqrt(min_pixels / (height * width))
        rows = math.ceil(height * grow / factor) * factor
        columns = math.ceil(width * grow / factor) * factor
    if min(rows, columns) < 1:
        raise Qwen2VLError(
            f"of {height} x {width} pixels does not fit max_pixels {max_pixels:g}: raise it"
        )
    return rows, columns


def image_size(item: Mapping[str, Any], height: int, width: int, factor: int) -> tuple[int, int]:
    """The size of one image, as its item asks for; mirrors ``fetch_image`` (qwen-vl-utils 0.0.14).

    Raises:
        Qwen2VLError: as `fitted_size`.
    """
    least, most = (tokens * factor**2 for tokens in IMAGE_TOKENS)
    if (wished := wished_size(item)) is not None:
        return fitted_size(*wished, factor, least, most)
    budget = item.get("min_pixels", least), item.get("max_pixels", most)
    return fitted_size(height, width, factor, *budget)


def frame_size(
    item: Mapping[str, Any], height: int, width: int, frames: int, factor: int
) -> tuple[int, int]:
    """The size of each of so many frames; mirrors ``fetch_video`` (qwen-vl-utils 0.0.14).

    Raises:
        Qwen2VLError: as `fitted_size`.
    """
    if (wished := wished_size(item)) is not None:
        least, most = (tokens * factor**2 for tokens in IMAGE_TOKENS)
        return fitted_size(*wished, factor, least, most)
    min_pixels = item.get("min_pixels", FRAME_TOKENS[0] * factor**2)
    total = item.get("total_pixels", CONTEXT_TOKENS * factor * factor * CONTEXT_SHARE)
    share = min(FRAME_TOKENS[1] * factor**2, total / frames * FRAME_FACTOR)
    limit = max(share, int(min_pixels * 1.05))
    return fitted_size(height, width, factor, min_pixels, min(item.get("max_pixels", limit), limit))


def wished_size(item: Mapping[str, Any]) -> tuple[int, int] | None:
    """``resized_height`` and ``resized_width``, if both are given."""
    if "resized_height" in item and "resized_width" in item:
        return item["resized_height"], item["resized_width"]
    return None


def frame_count(item: Mapping[str, Any], total: int, recorded_fps: float) -> int:
    """How many of ``total`` frames are taken; mirrors ``smart_nframes`` (qwen-vl-utils 0.0.14).

    Raises:
        Qwen2VLError: both ``fps`` and ``nframes``, or not 2 to ``total`` frames.
    """
    if "fps" in item and "nframes" in item:
        raise Qwen2VLError("has fps and nframes, which exclude each other: give one of them")
    if "nframes" in item:
        count = round(item["nframes"] / FRAME_FACTOR) * FRAME_FACTOR
    else:
        wanted = total / recorded_fps * item.get("fps", DEFAULT_FPS)
        least = math.ceil(item.get("min_frames", LEAST_FRAMES) / FRAME_FACTOR) * FRAME_FACTOR
        most = math.floor(item.get("max_frames", min(MOST_FRAMES, total)) / FRAME_FACTOR)
        wanted = min(max(wanted, least), most * FRAME_FACTOR, total)
        count = math.floor(wanted / FRAME_FACTOR) * FRAME_FACTOR
    if not FRAME_FACTOR <= count <= total:
        raise Qwen2VLError(
            f"would give {count} of its {total} frame(s), and at least {FRAME_FACTOR} are needed: "
            "change fps, nframes, min_frames or max_frames, or give the frames as a list"
        )
    return count


def frame_range(item: Mapping[str, Any], total: int, recorded_fps: float) -> tuple[int, int]:
    """First and last frame between ``video_start`` and ``video_end``, in seconds.

    Mirrors ``calculate_video_frame_range`` (qwen-vl-utils 0.0.14).

    Raises:
        Qwen2VLError: no frames lie between them.
    """
    seconds = total / recorded_fps
    begin, end = (
        max(0.0, min(item[name], seconds)) if name in item else None
        for name in ("video_start", "video_end")
    )
    first = 0 if begin is None else math.ceil(begin * recorded_fps)
    last = total - 1 if end is None else min(math.floor(end * recorded_fps), total - 1)
    if first >= last and (begin, end) != (None, None):
        raise Qwen2VLError(
            f"has {seconds:.2f} seconds, and no two frames lie from video_start "
            f"{item.get('video_start', 0)} to video_end {item.get('video_end', 'its end')}: "
            "change them"
        )
    return first, last


def spread(first: int, last: int, count: int) -> Int64:
    """Frame numbers evenly from ``first`` to ``last``, both included: int64 [count].

    Mirrors ``torch.linspace(first, last, count).round().long()``, which qwen-vl-utils 0.0.14 takes
    frames by: float32, from both ends towards the middle, and halves to even.
    """
    step = float((np.float32(last) - np.float32(first)) / np.float32(max(count - 1, 1)))
    up = np.arange(count)
    # torch fuses multiplying and adding: only their sum is rounded to float32.
    from_both = np.where(up < count // 2, first + step * up, last - step * up[::-1])
    positions = from_both.astype(np.float32)
    return np.rint(positions).astype(np.int64)
