"""One video of any accepted kind of frames, read into an array of 8-bit RGB."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

from qwen2vl_ms.errors import Qwen2VLError
from qwen2vl_ms.image_reading import (
    ImageInput,
    UInt8,
    as_uint8,
    channel_axis,
    check_size,
    describe,
    read_image,
)
from qwen2vl_ms.preprocessor_config import is_positive

VideoInput: TypeAlias = "npt.NDArray[Any] | Sequence[ImageInput]"

# What the reference's VideoMetadata holds. Only fps and total_num_frames are used.
METADATA_KEYS = frozenset(
    {
        *("total_num_frames", "fps", "width", "height"),
        *("duration", "video_backend", "frames_indices"),
    }
)


def list_videos(videos: Any) -> list[VideoInput]:
    """A flat list of videos out of one video, a list, a nested list or an array of five axes.

    A list of frames is one video, unless they are paths, which the reference takes for videos.

    Raises:
        Qwen2VLError: something in it is no video.
    """
    if _is_clip(videos) and not any(map(_is_path, videos)):
        return [videos] if len(videos) else []
    if isinstance(videos, np.ndarray) and videos.ndim == 5:
        return list(videos)
    if isinstance(videos, (list, tuple)) and not any(map(_is_path, videos)):
        return [
            clip for item in videos for clip in ([item] if _is_clip(item) else list_videos(item))
        ]
    if isinstance(videos, (list, tuple)):
        raise Qwen2VLError(
            "videos is a list of paths, which could be frames or video files: give the frames of "
            "one video as a list in the list, [[path, path, ...]] (video files are not decoded)"
        )
    raise Qwen2VLError(
        f"cannot read a {type(videos).__name__}{describe(videos)} as a video: give an array "
        "[frames, height, width, channels] or a list of frames (video files are not decoded)"
    )


def _is_path(item: Any) -> bool:
    return isinstance(item, (str, os.PathLike))


def _is_clip(item: Any) -> bool:
    if isinstance(item, np.ndarray):
        return item.ndim == 4
    if not isinstance(item, (list, tuple)):
        return False
    return all(
        _is_path(x) or isinstance(x, Image.Image) or (isinstance(x, np.ndarray) and x.ndim == 3)
        for x in item
    )


def list_metadata(metadata: Any, videos: int) -> list[Mapping[str, Any]]:
    """One dict a video, empty where nothing is known.

    Raises:
        Qwen2VLError: there is not one dict a video.
    """
    if metadata is None:
        return [{}] * videos
    listed = [metadata] if isinstance(metadata, Mapping) else metadata
    if not isinstance(listed, (list, tuple)) or not all(isinstance(m, Mapping) for m in listed):
        raise Qwen2VLError("video_metadata has to be a list of dicts, one a video")
    if len(listed) != videos:
        raise Qwen2VLError(
            f"{videos} video(s) but {len(listed)} video_metadata: give one dict a video"
        )
    return list(listed)


def check_metadata(metadata: Mapping[str, Any], total: int) -> None:
    """Check what is known about a video of ``total`` frames.

    Raises:
        Qwen2VLError: an unknown key, a bad rate, or another number of frames.
    """
    if unknown := sorted(set(metadata) - METADATA_KEYS):
        raise Qwen2VLError(f"unknown key {unknown[0]!r} in video_metadata: remove it")
    fps, declared = metadata.get("fps"), metadata.get("total_num_frames")
    if fps is not None and not is_positive(fps):
        raise Qwen2VLError(f"fps in video_metadata is {fps!r}: it has to be a number above 0")
    if declared is not None and declared != total:
        raise Qwen2VLError(
            f"total_num_frames in video_metadata is {declared!r}, but {total} frame(s) were given: "
            "give every frame that was recorded, or correct it"
        )


def read_frames(video: VideoInput, convert_rgb: bool) -> UInt8:
    """The frames of one video as uint8 [T, C, H, W], C = 3.

    Raises:
        Qwen2VLError: no frames, frames of different sizes, or one that cannot be read.
    """
    if len(video) == 0:
        raise Qwen2VLError("has no frames: give at least one")
    if isinstance(video, np.ndarray):
        return _array_frames(video, convert_rgb)
    arrays = [frame for frame in video if isinstance(frame, np.ndarray)]
    if len(arrays) == len(video):
        return _array_frames(_stacked(arrays), convert_rgb)
    frames = []
    for index, frame in enumerate(video):
        try:
            frames.append(read_image(frame, convert_rgb))
        except Qwen2VLError as error:
            raise Qwen2VLError(f"frame {index}{describe(frame)}: {error}") from error.__cause__
    return _stacked(frames)


def _stacked(frames: Sequence[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    first = frames[0].shape
    for index, frame in enumerate(frames):
        if frame.shape != first:
            raise Qwen2VLError(
                f"frame {index} has shape {frame.shape} and frame 0 {first}: make them all the same"
            )
    return np.stack(frames)


def _array_frames(video: npt.NDArray[Any], convert_rgb: bool) -> UInt8:
    frames = np.moveaxis(as_uint8(video), channel_axis(video.shape, (1, 3)), 1)
    check_size(*frames.shape[-2:])
    if frames.shape[1] == 3:
        return frames
    if not convert_rgb:
        raise Qwen2VLError("is grey, and do_convert_rgb is off: convert it or turn it on")
    return np.repeat(frames, 3, axis=1)
