"""Which frames of a video are taken."""

from __future__ import annotations

import math

import numpy as np

from qwen2vl_ms.errors import Qwen2VLError
from qwen2vl_ms.image_processing import Int64


def sample_frame_indices(
    total: int,
    *,
    temporal_patch_size: int = 2,
    min_frames: int = 4,
    max_frames: int = 768,
    num_frames: int | None = None,
    fps: float | None = None,
    recorded_fps: float | None = None,
) -> Int64:
    """Which frames of a video are taken: evenly spaced, a multiple of the temporal patch.

    Mirrors ``Qwen2VLVideoProcessor.sample_frames`` (transformers 5.23), in which positions are
    float32. For some pairs, as 14 of 17 frames, the reference's positions are one too many and
    the last lies behind the end, where it raises IndexError; here that one is left out.

    Args:
        total: Frames of the video.
        temporal_patch_size: What the number of frames becomes a multiple of.
        min_frames: Least frames taken by ``fps``, if the video has them.
        max_frames: Most frames taken by ``fps``.
        num_frames: How many to take.
        fps: Or how many to take a second.
        recorded_fps: Frames a second of the video, needed with ``fps``.

    Returns:
        int64 [frames taken], ascending; all frames with neither ``num_frames`` nor ``fps``.

    Raises:
        Qwen2VLError: contradicting, missing or impossible numbers.
    """
    if fps is not None and num_frames is not None:
        raise Qwen2VLError("num_frames and fps exclude each other: give one of them")
    if fps is None and num_frames is None:
        return np.arange(total, dtype=np.int64)
    wanted = float(num_frames or 0)
    if fps is not None:
        wanted = _frames_at(fps, recorded_fps, total)
        most = math.floor(min(max_frames, total) / temporal_patch_size) * temporal_patch_size
        wanted = min(max(wanted, min_frames), most, total)
    steps = math.floor if fps is not None else round
    taken = steps(wanted / temporal_patch_size) * temporal_patch_size
    if not 1 <= taken <= total:
        raise Qwen2VLError(
            f"cannot take {taken} of {total} frames (a multiple of {temporal_patch_size}): change "
            "num_frames or fps, or turn do_sample_frames off"
        )
    positions = (np.arange(taken) * (total / taken)).astype(np.float32)
    return positions.astype(np.int64)


def _frames_at(fps: float, recorded_fps: float | None, total: int) -> float:
    if recorded_fps is None:
        raise Qwen2VLError(
            "sampling by fps needs the rate the video was recorded at: give "
            "video_metadata=[{'fps': ...}], one dict a video, or num_frames"
        )
    return total / recorded_fps * fps
