"""Frames of videos to patches, as the reference's torchvision back end computes them.

C channels (3), H and W height and width, P patch size (14), D patches of one clip, T frames,
K frames of one patch (2).

Everything is equal bit for bit: which frames are taken, how they are resized, how the floats round.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from qwen2vl_ms.errors import Qwen2VLError
from qwen2vl_ms.frame_resizing import resize_frames
from qwen2vl_ms.image_processing import Float32, Int64, patchify, target_size
from qwen2vl_ms.image_reading import UInt8
from qwen2vl_ms.preprocessor_config import (
    BICUBIC,
    IMAGE_FILE,
    VIDEO_FILE,
    PixelSettings,
    count,
    flag,
    is_count,
    is_positive,
    read_settings,
    setting,
)
from qwen2vl_ms.video_reading import (
    VideoInput,
    check_metadata,
    list_metadata,
    list_videos,
    read_frames,
)


@dataclass(frozen=True, kw_only=True)
class Qwen2VLVideoProcessor(PixelSettings):
    """Samples, resizes, normalises and cuts the frames of videos.

    Mirrors ``Qwen2VLVideoProcessor`` (transformers 5.23) on frames that are decoded already.
    """

    resample: int = setting(BICUBIC, lambda v: v == BICUBIC, f"{BICUBIC}, bicubic, for videos")
    min_pixels: int = count(128 * 28 * 28)
    max_pixels: int = count(28 * 28 * 768)
    do_sample_frames: bool = flag(False)
    num_frames: int | None = setting(None, lambda v: v is None or is_count(v), "a number of frames")
    fps: float | None = setting(None, lambda v: v is None or is_positive(v), "a number above 0")
    min_frames: int = count(4)
    max_frames: int = count(768)
    cap_pixels_per_frame: bool = flag(False)
    max_video_tokens: int = count(128000)

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> Qwen2VLVideoProcessor:
        """Read the settings of a checkpoint folder.

        A folder without a file for videos has its image settings used, as in the reference.

        Raises:
            Qwen2VLError: both files are missing, or one holds something unknown.
        """
        files = [VIDEO_FILE, IMAGE_FILE]
        return cls.from_settings(*read_settings(folder, "video_processor", files))

    def overridden(self, **changes: Any) -> Qwen2VLVideoProcessor:
        """A processor with other settings for one call.

        Of ``fps`` and ``num_frames``, which exclude each other, the one given replaces the
        checkpoint's other. (The reference raises there.)

        Raises:
            Qwen2VLError: an unknown name or a value of the wrong kind.
        """
        if "max_video_tokens" in changes:
            raise Qwen2VLError(
                "max_video_tokens cannot change from call to call, where the reference ignores "
                "it: set it in the checkpoint's preprocessor file"
            )
        base = self
        if changes.get("fps") is not None and changes.get("num_frames") is None:
            base = replace(self, num_frames=None)
        if changes.get("num_frames") is not None and changes.get("fps") is None:
            base = replace(self, fps=None)
        return super(Qwen2VLVideoProcessor, base).overridden(**changes)

    def __call__(
        self, videos: Any, video_metadata: Any = None, **overrides: Any
    ) -> dict[str, npt.NDArray[Any]]:
        """Turn videos into the vision tower's inputs.

        Args:
            videos: One video or a list of them. A video is an array [T, H, W, C] or
                [T, C, H, W] of integers with 1 or 3 channels, or a list of frames: arrays,
                Pillow images or paths.
            video_metadata: For each video a dict with ``fps``, the rate it was recorded at in
                frames a second; needed to sample by ``fps``.
            overrides: Settings for this call only, as ``do_sample_frames`` or ``max_pixels``.

        Returns:
            ``pixel_values_videos`` float32 [patches of all videos, C * K * P * P] and
            ``video_grid_thw`` int64 [videos, 3], each (T / K, H / P, W / P).

        Raises:
            Qwen2VLError: a video or a setting cannot be used; the video's index (and frame) is
                named.
        """
        if overrides:
            return self.overridden(**overrides)(videos, video_metadata)
        listed = list_videos(videos)
        if not listed:
            raise Qwen2VLError("no videos were given: pass at least one")
        metadata = list_metadata(video_metadata, len(listed))
        pairs = enumerate(zip(listed, metadata, strict=True))
        patches, grids = zip(*(self._process(i, *pair) for i, pair in pairs), strict=True)
        return {
            "pixel_values_videos": np.concatenate(patches),
            "video_grid_thw": np.array(grids, dtype=np.int64),
        }

    def _process(
        self, index: int, video: VideoInput, metadata: Mapping[str, Any]
    ) -> tuple[Float32, tuple[int, int, int]]:
        try:
            frames = read_frames(self._sampled(video, metadata), self.do_convert_rgb)
            sizes = self.patch_size, self.temporal_patch_size, self.merge_size
            return patchify(self.normalized(self.resized(frames)), *sizes)
        except Qwen2VLError as error:
            raise Qwen2VLError(f"video {index}: {error}") from error.__cause__

    def _sampled(self, video: VideoInput, metadata: Mapping[str, Any]) -> VideoInput:
        check_metadata(metadata, len(video))
        if not self.do_sample_frames:
            return video
        indices = sample_frame_indices(
            len(video),
            temporal_patch_size=self.temporal_patch_size,
            min_frames=self.min_frames,
            max_frames=self.max_frames,
            num_frames=self.num_frames,
            fps=self.fps,
            recorded_fps=metadata.get("fps"),
        )
        return video[indices] if isinstance(video, np.ndarray) else [video[i] for i in indices]

    def resized(self, frames: UInt8) -> UInt8:
        """The frames [T, C, H, W] in the size the model gets them in."""
        max_pixels = self.max_pixels
        if self.cap_pixels_per_frame:
            max_pixels = frame_budget(self, len(frames))
        height, width = frames.shape[2:]
        return resize_frames(frames, target_size(height, width, self, max_pixels))

    def normalized(self, frames: UInt8) -> Float32:
        """The frames [T, C, H, W] as the floats that the model gets."""
        factor = self.rescale_factor if self.do_rescale else None
        if self.do_normalize:
            return rescale_and_normalize(frames, factor, self.image_mean, self.image_std)
        # torch multiplies 8-bit integers by a number in float32, which rounds the number first
        return frames.astype(np.float32) * np.float32(1 if factor is None else factor)


def rescale_and_normalize(
    frames: UInt8, rescale_factor: float | None, mean: Sequence[float], std: Sequence[float]
) -> Float32:
    """(frames * rescale_factor - mean) / std per channel, with the factor moved into mean and std.

    Mirrors ``TorchvisionBackend.rescale_and_normalize`` (transformers 5.23), float32 throughout:
    mean and std are rounded, divided by the factor and rounded again. In the last bits this
    differs from what `image_processing.rescale` and `normalize` compute for the same pixels.

    Args:
        frames: uint8 [..., C, H, W].
        rescale_factor: The factor, or ``None`` for no rescaling.
        mean: One number a channel, in units of rescaled values.
        std: One number a channel, in units of rescaled values.

    Returns:
        float32 of the frames' shape.
    """
    scale = np.float32(1.0 if rescale_factor is None else 1.0 / rescale_factor)
    fused_mean = (np.array(mean, dtype=np.float32) * scale)[:, None, None]
    fused_std = (np.array(std, dtype=np.float32) * scale)[:, None, None]
    return (frames.astype(np.float32) - fused_mean) / fused_std


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


def frame_budget(settings: Qwen2VLVideoProcessor, num_frames: int) -> int:
    """Most pixels of one frame when all frames together have to fit ``max_video_tokens``.

    Mirrors ``Qwen2VLVideoProcessor.resize`` (transformers 5.23): 90 % of the tokens, evenly
    shared, and never less than 1.05 times the least pixels of a frame.
    """
    total = int(settings.max_video_tokens * settings.factor * settings.factor * 0.9)
    share = total * settings.temporal_patch_size // num_frames
    return max(min(settings.max_pixels, share), int(settings.min_pixels * 1.05))
