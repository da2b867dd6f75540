"""Images and videos out of messages, sampled and resized, ready for the processor.

What ``qwen_vl_utils.process_vision_info`` does, in the semantics of its version 0.0.14: the
constants and their reasons are in `vision_budget`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from qwen2vl_ms.errors import Qwen2VLError
from qwen2vl_ms.frame_fitting import FrameFitter, require_room
from qwen2vl_ms.frame_resizing import resize_frames_in_floats
from qwen2vl_ms.image_processing import Int64
from qwen2vl_ms.image_reading import UInt8, check_size, open_picture, read_image
from qwen2vl_ms.media_sources import describe, is_name
from qwen2vl_ms.message_parts import check_item, vision_items
from qwen2vl_ms.picture_resizing import resize_picture
from qwen2vl_ms.video_decoding import VideoFile, read_frames_of
from qwen2vl_ms.video_reading import located
from qwen2vl_ms.vision_budget import (
    DEFAULT_FPS,
    FRAME_FACTOR,
    MERGE_SIZE,
    frame_count,
    frame_range,
    frame_size,
    image_size,
    spread,
)


class SampledVideo(NamedTuple):
    """One video as it goes to the processor."""

    frames: UInt8
    """[T, 3, H, W], T even."""
    metadata: dict[str, Any]
    """``fps`` it was recorded at, ``frames_indices`` and ``total_num_frames`` of the source."""
    sample_fps: float
    """Frames a second that were taken."""


def process_vision_info(
    messages: Any,
    return_video_kwargs: bool = False,
    return_video_metadata: bool = False,
    image_patch_size: int = 14,
) -> tuple[Any, ...]:
    """Load the images and videos that messages name, in order.

    Mirrors ``process_vision_info`` (qwen-vl-utils 0.0.14). Images are equal bit for bit. Videos are
    decoded by PyAV, turned upright, and equal but for the rare pixel whose value lies in the
    middle between two levels. An image file is not turned by its EXIF tag and transparent parts
    of an RGBA one show white, as there; every frame of a list is resized twice, as there.

    Args:
        messages: A conversation, as for `Qwen2VLProcessor.apply_chat_template`, or a list of them.
            Parts with pictures are ``{"type": "image", "image": ...}``, a path, ``file://``
            address, ``data:image/...;base64,...`` text, Pillow image or array, with
            ``min_pixels``, ``max_pixels``, or ``resized_height`` and ``resized_width``; and
            ``{"type": "video", "video": ...}``, the path of a video file or of a folder of frames,
            or a list of images, with those keys and ``total_pixels``, and for a file ``fps`` or
            ``nframes``, ``min_frames``, ``max_frames``, ``video_start``, ``video_end`` (seconds).
        return_video_kwargs: Return keywords for the processor too, by which it takes all frames.
        return_video_metadata: Return a video as a pair of frames and metadata.
        image_patch_size: 14 for Qwen2-VL.

    Returns:
        The images, Pillow images of mode RGB, or ``None`` without any; the videos, uint8
        [T, 3, H, W] each, or ``None``; and with ``return_video_kwargs`` a dict.

    Raises:
        Qwen2VLError: messages of another form, or a picture that cannot be read or does not fit
            its part's wishes; message, part and name are said.
    """
    images: list[Image.Image] = []
    videos: list[SampledVideo] = []
    for place, item in vision_items(messages):
        media = next((item[key] for key in ("image", "image_url", "video") if key in item), None)
        try:
            check_item(item)
            if "video" in item and "image" not in item and "image_url" not in item:
                videos.append(fetch_video(item, image_patch_size))
            else:
                images.append(fetch_image(item, image_patch_size))
        except Qwen2VLError as error:
            raise Qwen2VLError(f"{place}{describe(media)}: {error}") from error.__cause__
    clips: list[Any] = [video.frames for video in videos]
    keywords: dict[str, Any] = {"do_sample_frames": False}
    if return_video_metadata:
        clips = [(video.frames, video.metadata) for video in videos]
    else:
        keywords["fps"] = [video.sample_fps for video in videos]
    found = images or None, clips or None
    return (*found, keywords) if return_video_kwargs else found


def fetch_image(item: Mapping[str, Any], image_patch_size: int = 14) -> Image.Image:
    """One image, resized as its part wishes: mode RGB, both sides multiples of two patches.

    Mirrors ``fetch_image`` (qwen-vl-utils 0.0.14).

    Raises:
        Qwen2VLError: it cannot be read, or does not fit.
    """
    source = item.get("image", item.get("image_url"))
    if isinstance(source, Mapping):  # OpenAI's spelling
        source = source.get("url")
    if source is None:
        raise Qwen2VLError("has no picture: give it under 'image', or 'video' for a video")
    picture = _rgb(source)
    size = image_size(item, picture.height, picture.width, image_patch_size * MERGE_SIZE)
    return Image.fromarray(resize_picture(picture, size, Image.Resampling.BICUBIC))


def _rgb(source: Any) -> Image.Image:
    """The picture over white if it is RGBA, otherwise as Pillow converts it."""
    if isinstance(source, np.ndarray):
        return Image.fromarray(np.ascontiguousarray(np.moveaxis(read_image(source), 0, -1)))
    if is_name(source):
        return open_picture(source, _over_white)
    if not isinstance(source, Image.Image):
        raise Qwen2VLError(
            f"cannot read a {type(source).__name__}: give a path, a Pillow image or a NumPy array"
        )
    check_size(source.height, source.width)
    try:
        return _over_white(source)
    except Exception as error:  # a lazily decoded file fails here, and a few modes do not convert
        raise Qwen2VLError(
            f"of mode {source.mode} cannot be converted to RGB ({error or type(error).__name__}): "
            "convert it yourself"
        ) from error


def _over_white(image: Image.Image) -> Image.Image:
    """Mirrors ``to_rgb`` (qwen-vl-utils 0.0.14): only mode RGBA is laid over white."""
    if image.mode != "RGBA":
        return image.convert("RGB")
    white = Image.new("RGB", image.size, (255, 255, 255))
    white.paste(image, mask=image.getchannel("A"))
    return white


def fetch_video(item: Mapping[str, Any], image_patch_size: int = 14) -> SampledVideo:
    """One video, sampled and resized as its part wishes.

    Mirrors ``fetch_video`` (qwen-vl-utils 0.0.14).

    Raises:
        Qwen2VLError: it cannot be decoded, has too few frames, or does not fit.
    """
    factor = image_patch_size * MERGE_SIZE
    video = located(item["video"])
    if isinstance(video, Path):
        return _sampled_file(item, video, factor)
    frames = [*video] if isinstance(video, (list, tuple, np.ndarray)) else None
    if frames is None:
        raise Qwen2VLError(
            f"cannot read a {type(video).__name__} as a video: give a path or a list of frames"
        )
    return _listed_frames(item, frames, factor)


def _sampled_file(item: Mapping[str, Any], path: Path, factor: int) -> SampledVideo:
    def choose(file: VideoFile) -> Int64:
        first, last = frame_range(item, file.total_num_frames, _rate(file))
        return spread(first, last, frame_count(item, last - first + 1, _rate(file)))

    def size_for(height: int, width: int, frames: int) -> tuple[int, int]:
        return frame_size(item, height, width, frames, factor)

    kept, file, indices = read_frames_of(
        path, choose, FrameFitter(size_for, resize_frames_in_floats)
    )
    first, last = frame_range(item, file.total_num_frames, _rate(file))
    in_range, rate = last - first + 1, _rate(file)
    metadata = {
        "fps": rate,
        "frames_indices": indices.tolist(),
        "total_num_frames": in_range,
        "video_backend": "pyav",
    }
    return SampledVideo(np.stack(kept), metadata, len(indices) / in_range * rate)


def _rate(file: VideoFile) -> float:
    if file.fps is None:
        raise Qwen2VLError("says no frame rate to sample it by: give its frames as a list")
    return file.fps


def _listed_frames(item: Mapping[str, Any], sources: list[Any], factor: int) -> SampledVideo:
    """Frames that are all taken; the last one twice if they are an odd number."""
    if not sources:
        raise Qwen2VLError("has no frames: give at least one")
    pictures: list[UInt8] = []
    for index, source in enumerate(sources):
        try:
            # qwen-vl-utils hands the size of a merged patch on as that of a patch here.
            picture = fetch_image({**item, "image": source}, factor)
        except Qwen2VLError as error:
            raise Qwen2VLError(f"frame {index}{describe(source)}: {error}") from error.__cause__
        pictures.append(np.moveaxis(np.asarray(picture), -1, 0))
        if picture.size != (pictures[0].shape[2], pictures[0].shape[1]):
            raise Qwen2VLError(f"frame {index} has another size than frame 0: make them the same")
    pictures += [pictures[-1]] * (-len(pictures) % FRAME_FACTOR)
    _, height, width = pictures[0].shape
    size = frame_size(item, height, width, len(pictures), factor)
    require_room(len(pictures), *size)
    sample_fps = item.get("sample_fps", DEFAULT_FPS)
    raw_fps = item.get("raw_fps", sample_fps)
    metadata = {
        "fps": raw_fps,
        "frames_indices": list(range(len(pictures))),
        "total_num_frames": len(pictures) / sample_fps * raw_fps,
    }
    return SampledVideo(resize_frames_in_floats(np.stack(pictures), size), metadata, sample_fps)
