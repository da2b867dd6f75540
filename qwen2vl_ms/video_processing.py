"""Videos to patches, as the reference's torchvision back end computes them.

C channels (3), H and W height and width, P patch size (14), D patches of one clip, T frames,
K frames of one patch (2).

Everything is equal bit for bit: which frames are taken, how they are resized, how the floats round.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from qwen2vl_ms.errors import Qwen2VLError
from qwen2vl_ms.frame_fitting import FrameFitter
from qwen2vl_ms.frame_resizing import resize_frames
from qwen2vl_ms.frame_sampling import sample_frame_indices
from qwen2vl_ms.image_processing import Float32, Int64, patchify, target_size
from qwen2vl_ms.image_reading import ImageInput, UInt8
from qwen2vl_ms.media_sources import describe
from qwen2vl_ms.pixel_levels import level_table, look_up
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
from qwen2vl_ms.video_decoding import VideoFile, read_frames_of
from qwen2vl_ms.video_reading import (
    VideoInput,
    check_metadata,
    list_metadata,
    list_videos,
    located,
    read_frames,
)


@dataclass(frozen=True, kw_only=True)
class Qwen2VLVideoProcessor(PixelSettings):
    """Samples, resizes, normalises and cuts the frames of videos.

    Mirrors ``Qwen2VLVideoProcessor`` (transformers 5.23). Of these sizes in a video's budget, the
    checkpoint decides: ``max_pixels`` bounds a frame, and with ``cap_pixels_per_frame`` an even
    share of ``max_video_tokens`` bounds it too. Frames are only left out if ``do_sample_frames``
    is on; two a second is what `process_vision_info` takes.
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
        if isinstance(changes.get("fps"), (list, tuple)):
            if changes.get("do_sample_frames", self.do_sample_frames):
                raise Qwen2VLError(
                    f"fps is {changes['fps']!r}: it has to be one number where do_sample_frames is "
                    "on"
                )
            changes = changes | {"fps": None}
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
            videos: One video or a list of them. A video is the path of a video file or of a
                folder of frames, an array [T, H, W, C] or [T, C, H, W] of integers with 1 or 3
                channels, or a list of frames: arrays, Pillow images or paths; see `list_videos`.
            video_metadata: For each video a dict with ``fps``, the rate it was recorded at in
                frames a second; needed to sample frames by ``fps``, a file knows its own.
            overrides: Settings for this call only, as ``do_sample_frames`` or ``max_pixels``.
                ``fps`` may be a list where frames are not sampled, and is then no setting, as
                in the keywords that `process_vision_info` returns.

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
            frames = self._frames(located(video), metadata)  # uint8 [T, C, H, W]
            sizes = self.patch_size, self.temporal_patch_size, self.merge_size
            patches, grid = patchify(frames, *sizes)
        except Qwen2VLError as error:
            raise Qwen2VLError(f"video {index}{describe(video)}: {error}") from error.__cause__
        return look_up(patches, level_table(self.normalized)), grid

    def _frames(
        self, video: Path | npt.NDArray[Any] | Sequence[ImageInput], metadata: Mapping[str, Any]
    ) -> UInt8:
        if isinstance(video, Path):
            fitted = FrameFitter(self.frame_size, resize_frames)
            kept, _, _ = read_frames_of(video, lambda file: self._of_file(file, metadata), fitted)
            return np.stack(kept)
        indices = self._indices(len(video), metadata)
        if not isinstance(video, np.ndarray):
            video = [video[i] for i in indices]
        elif len(indices) < len(video):
            video = video[indices]
        return self.resized(read_frames(video, self.do_convert_rgb))

    def _of_file(self, file: VideoFile, metadata: Mapping[str, Any]) -> Int64:
        return self._indices(file.total_num_frames, {"fps": file.fps} | dict(metadata))

    def _indices(self, total: int, metadata: Mapping[str, Any]) -> Int64:
        check_metadata(metadata, total if self.do_sample_frames else None)
        if not self.do_sample_frames:
            return np.arange(total, dtype=np.int64)
        return sample_frame_indices(
            total,
            temporal_patch_size=self.temporal_patch_size,
            min_frames=self.min_frames,
            max_frames=self.max_frames,
            num_frames=self.num_frames,
            fps=self.fps,
            recorded_fps=metadata.get("fps"),
        )

    def frame_size(self, height: int, width: int, frames: int) -> tuple[int, int]:
        """The size in pixels that the model gets each of so many frames in."""
        budget = frame_budget(self, frames) if self.cap_pixels_per_frame else self.max_pixels
        return target_size(height, width, self, budget)

    def resized(self, frames: UInt8) -> UInt8:
        """The frames [T, C, H, W] in the size the model gets them in."""
        return resize_frames(frames, self.frame_size(frames.shape[2], frames.shape[3], len(frames)))

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


def frame_budget(settings: Qwen2VLVideoProcessor, num_frames: int) -> int:
    """Most pixels of one frame when all frames together have to fit ``max_video_tokens``.

    Mirrors ``Qwen2VLVideoProcessor.resize`` (transformers 5.23): 90 % of the tokens, evenly
    shared, and never less than 1.05 times the least pixels of a frame.
    """
    total = int(settings.max_video_tokens * settings.factor * settings.factor * 0.9)
    share = total * settings.temporal_patch_size // num_frames
    return max(min(settings.max_pixels, share), int(settings.min_pixels * 1.05))
