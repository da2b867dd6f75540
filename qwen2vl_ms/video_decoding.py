"""Video files decoded by PyAV: only the frames that are taken are kept, each made small at once.

A file is gone through twice: once without decoding, to count its frames, since containers lack
the number or lie about it, and once to decode up to the last frame that is taken.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from qwen2vl_ms.errors import Qwen2VLError
from qwen2vl_ms.image_reading import UInt8, check_size

Kept = TypeVar("Kept")

# What may be inside a file. FFmpeg also reads text as video, and playlists that name other files
# and addresses on the network.
CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,gif,avi,mpegts,mpeg,mpegvideo,flv,asf,ogg"
INDEXED = "mov"  # its table of frames is exact: frames missing from it were cut off
TAIL = 1024  # bytes
GIF_END = b";"  # FFmpeg shows what there is of a last frame without a word
REPLACE = "replace it by a whole video (mp4, mov, mkv, webm, avi, gif...)"


@dataclass(frozen=True)
class VideoFile:
    """What is known about a video file before it is decoded."""

    path: Path
    total_num_frames: int
    fps: float | None
    """Frames a second on average, as the container says or FFmpeg estimates."""


def inspect_video(path: Path) -> VideoFile:
    """Count the frames of a video file without decoding them.

    Args:
        path: An existing file. Its first video stream counts, sound is left alone.

    Raises:
        Qwen2VLError: it is empty, no video, has no video stream or no frames, or was cut off.
    """
    if path.stat().st_size == 0:
        raise Qwen2VLError(f"is a file of zero bytes: {REPLACE}")
    with _opened(path) as (container, stream):
        packets = [p.is_discard for p in container.demux(stream) if p.size or p.pts is not None]
        _require_end(path, container.format.name, stream.frames, len(packets))
        rate = stream.average_rate
    return _with_frames(VideoFile(path, packets.count(False), float(rate) if rate else None))


def _require_end(path: Path, container: str, listed: int, held: int) -> None:
    if container.startswith(INDEXED) and held < listed:
        raise Qwen2VLError(f"lists {listed} frames and holds {held}: it was cut off, {REPLACE}")
    if container == "gif":
        with path.open("rb") as file:
            file.seek(-min(path.stat().st_size, TAIL), os.SEEK_END)
            if not file.read().rstrip(b"\0").endswith(GIF_END):
                raise Qwen2VLError(f"has no end: it was cut off, {REPLACE}")


def read_frames_of(
    path: Path,
    choose: Callable[[VideoFile], npt.NDArray[np.int64]],
    prepare: Callable[[UInt8, int], Kept],
) -> tuple[list[Kept], VideoFile, npt.NDArray[np.int64]]:
    """Decode the frames that are chosen.

    Mirrors ``read_video_pyav`` (transformers 5.23, video_utils.py): frames are numbered in the
    order they are shown in, whatever their times, and FFmpeg turns them into 8-bit RGB. Unlike
    there, frames are counted and not believed, and turned upright by the file's rotation.

    Args:
        path: An existing file.
        choose: Numbers of the frames to take, ascending, from what is known about the file.
        prepare: What to keep of a frame [H, W, 3], given how many are taken.

    Returns:
        What was kept of each frame, what is known about the file now, and the numbers.

    Raises:
        Qwen2VLError: as `inspect_video`, or a frame cannot be decoded.
    """
    file = inspect_video(path)
    while True:
        indices = choose(file)
        kept, decoded = _decode(file, indices, prepare)
        if len(kept) == len(indices):
            return kept, file, indices
        # Some packets hold no frame of their own. The decoder got to the end, so now it is known.
        file = _with_frames(replace(file, total_num_frames=decoded))


def _with_frames(file: VideoFile) -> VideoFile:
    if file.total_num_frames == 0:
        raise Qwen2VLError(f"has no frames: {REPLACE}")
    return file


def _decode(
    file: VideoFile, indices: npt.NDArray[np.int64], prepare: Callable[[UInt8, int], Kept]
) -> tuple[list[Kept], int]:
    """What was kept, and how many frames were decoded.

    Frames are decoded one by one: with several at a time FFmpeg hides that the last are damaged.
    """
    wanted = set(indices.tolist())
    last, kept, decoded = max(wanted), [], 0
    with _opened(file.path) as (container, stream):
        for number, frame in enumerate(container.decode(stream)):
            decoded = number + 1
            if number in wanted:
                kept.append(prepare(_upright(number, frame), len(indices)))
            if number == last:
                break
    return kept, decoded


def _upright(number: int, frame: Any) -> UInt8:
    """One decoded frame as uint8 [H, W, 3]."""
    try:
        if frame.is_corrupt:
            raise Qwen2VLError(f"is damaged: {REPLACE}")
        check_size(frame.height, frame.width)
    except Qwen2VLError as error:
        raise Qwen2VLError(f"frame {number}: {error}") from None
    pixels: UInt8 = frame.to_ndarray(format="rgb24")
    quarters = round(frame.rotation / 90) % 4  # counter-clockwise
    return np.ascontiguousarray(np.rot90(pixels, quarters)) if quarters else pixels


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, Any]]:
    """The container and its first video stream; whatever goes wrong becomes one clear error."""
    av = _pyav()
    options = {"format_whitelist": CONTAINERS, "protocol_whitelist": "file"}
    try:
        with av.open(str(path.absolute()), options=options) as container:
            if not container.streams.video:
                raise Qwen2VLError(f"has no video stream that can be decoded: {REPLACE}")
            stream = container.streams.video[0]
            if stream.width and stream.height:
                check_size(stream.height, stream.width)
            if Image.MAX_IMAGE_PIXELS is not None:  # the decoder's own check, before it allocates
                stream.codec_context.options = {"max_pixels": str(Image.MAX_IMAGE_PIXELS)}
            yield container, stream
    except Qwen2VLError:
        raise
    except (av.FFmpegError, OSError, ValueError, MemoryError) as error:
        reason = getattr(error, "strerror", None) or error or type(error).__name__
        raise Qwen2VLError(f"cannot be decoded as a video ({reason}): {REPLACE}") from error


def _pyav() -> ModuleType:
    try:
        import av
    except ImportError as error:
        raise Qwen2VLError(
            f"PyAV, which decodes video files, cannot be imported ({error}): pip install av, or "
            "give the frames as a list"
        ) from error
    return av
