"""Videos in every accepted form: which is one, where it is, its frames as 8-bit RGB."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
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
    read_image,
)
from qwen2vl_ms.media_sources import describe, exists, is_name, local_path
from qwen2vl_ms.preprocessor_config import is_positive

VideoInput: TypeAlias = "str | os.PathLike[str] | npt.NDArray[Any] | Sequence[ImageInput]"

PICTURE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})

# What the reference's VideoMetadata holds. Only fps and total_num_frames are used.
METADATA_KEYS = frozenset(
    {
        *("total_num_frames", "fps", "width", "height"),
        *("duration", "video_backend", "frames_indices"),
    }
)


def list_videos(videos: Any) -> list[VideoInput]:
    """A flat list of videos out of one video, a list, a nested list or an array of five axes.

    A list of frames is one video. A list of names alone holds a video each, as in the reference;
    the names of one video's frames are a list in the list. (The reference wants a third list
    around them.)

    Raises:
        Qwen2VLError: something in it is no video.
    """
    if is_name(videos):
        return [videos]
    if _is_clip(videos) and not any(map(is_name, videos)):
        return [videos] if len(videos) else []
    if isinstance(videos, np.ndarray) and videos.ndim == 5:
        return list(videos)
    if isinstance(videos, (list, tuple)):
        if any(map(is_name, videos)) and any(map(_is_frame, videos)):
            raise Qwen2VLError(
                "videos is a list of names and pictures, which could be one video or several: "
                "give the frames of one video as a list in the list, [[frame, frame, ...]]"
            )
        return [
            clip for item in videos for clip in ([item] if _is_clip(item) else list_videos(item))
        ]
    raise Qwen2VLError(
        f"cannot read a {type(videos).__name__} as a video: give a path, a list of frames or an "
        "array [frames, height, width, channels]"
    )


def _is_frame(item: Any) -> bool:
    return isinstance(item, Image.Image) or (isinstance(item, np.ndarray) and item.ndim == 3)


def _is_clip(item: Any) -> bool:
    if isinstance(item, np.ndarray):
        return item.ndim == 4
    return isinstance(item, (list, tuple)) and all(is_name(x) or _is_frame(x) for x in item)


def located(video: VideoInput) -> Path | npt.NDArray[Any] | Sequence[ImageInput]:
    """What a name means: the path of a video file, or the frames in a folder.

    Frames in a folder are in the order of their names, numbers in them by value; names that begin
    with a dot are left out. Videos that are no names are returned as they are.

    Raises:
        Qwen2VLError: there is no such file or folder, or it is an address on the network.
    """
    if not isinstance(video, (str, os.PathLike)):
        return video
    path = local_path(video)
    if not exists(path):
        raise Qwen2VLError(
            "no such file: give the path of a local video file or a folder of frames (nothing is "
            "downloaded)"
        )
    if path.is_dir():
        return sorted((p for p in path.iterdir() if not p.name.startswith(".")), key=_by_number)
    if path.suffix.lower() in PICTURE_SUFFIXES:
        raise Qwen2VLError(
            "is a picture and not a video: give the frames of one video as a list in the list, "
            "[[path, path, ...]]"
        )
    return path


def _by_number(path: Path) -> list[tuple[int, str]]:
    parts = re.split(r"([0-9]+)", path.name)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


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


def check_metadata(metadata: Mapping[str, Any], total: int | None) -> None:
    """Check what is known about a video.

    Args:
        metadata: What is known.
        total: Frames there are, or ``None`` if they were taken out of more before.

    Raises:
        Qwen2VLError: an unknown key, a bad rate, or another number of frames.
    """
    if unknown := sorted(set(metadata) - METADATA_KEYS):
        raise Qwen2VLError(f"unknown key {unknown[0]!r} in video_metadata: remove it")
    fps, declared = metadata.get("fps"), metadata.get("total_num_frames")
    if fps is not None and not is_positive(fps):
        raise Qwen2VLError(f"fps in video_metadata is {fps!r}: it has to be a number above 0")
    if None not in (declared, total) and declared != total:
        raise Qwen2VLError(
            f"total_num_frames in video_metadata is {declared!r}, but {total} frame(s) were given: "
            "give every frame that was recorded, or correct it"
        )


def read_frames(video: npt.NDArray[Any] | Sequence[ImageInput], convert_rgb: bool) -> UInt8:
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
