"""Faults in the pixels that the processor hands to the model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from parity.faults.fault import Fault
from parity.faults.inputs import IMAGES


def _half_mean_and_std(original: Callable[..., Any]) -> Callable[..., Any]:
    def normalize(image: Any, mean: Any, std: Any) -> Any:
        return original(image, [0.5, 0.5, 0.5], [0.5, 0.5, 0.5])

    return normalize


def _rescaled_twice(original: Callable[..., Any]) -> Callable[..., Any]:
    def rescale(image: Any, scale: float) -> Any:
        return original(image, scale * scale)

    return rescale


def _blue_first(original: Callable[..., Any]) -> Callable[..., Any]:
    def resize(image: Any, size: Any, resample: int) -> Any:
        return np.ascontiguousarray(original(image, size, resample)[::-1])

    return resize


def _on_white(original: Callable[..., Any]) -> Callable[..., Any]:
    def read_picture(image: Any, convert_rgb: bool = True) -> Any:
        from PIL import Image

        with Image.open(image) as picture:
            if picture.mode != "RGBA":
                return original(image, convert_rgb)
            white = Image.new("RGBA", picture.size, "white")
            return original(Image.alpha_composite(white, picture).convert("RGB"), convert_rgb)

    return read_picture


def _width_first(original: Callable[..., Any]) -> Callable[..., Any]:
    def target_size(*args: Any) -> Any:
        return original(*args)[::-1]

    return target_size


def _no_upper_bound(original: Callable[..., Any]) -> Callable[..., Any]:
    def smart_resize(height: int, width: int, factor: int, least: int, most: int) -> Any:
        return original(height, width, factor, least, 10**9)

    return smart_resize


def _bilinear(original: Callable[..., Any]) -> Callable[..., Any]:
    def resize(image: Any, size: Any, resample: int) -> Any:
        return original(image, size, 2)

    return resize


def _raster_order(original: Callable[..., Any]) -> Callable[..., Any]:
    def patchify(frames: Any, patch: int, temporal: int, merge: int) -> Any:
        patches, (t, h, w) = original(frames, patch, temporal, merge)
        blocks = patches.reshape(t, h // merge, w // merge, merge, merge, -1)
        return blocks.transpose(0, 1, 3, 2, 4, 5).reshape(t * h * w, -1), (t, h, w)

    return patchify


def _temporal_axis_first(original: Callable[..., Any]) -> Callable[..., Any]:
    def patchify(frames: Any, patch: int, temporal: int, merge: int) -> Any:
        patches, grid = original(frames, patch, temporal, merge)
        split = patches.reshape(len(patches), -1, temporal, patch * patch)
        return np.ascontiguousarray(split.transpose(0, 2, 1, 3)).reshape(patches.shape), grid

    return patchify


def _last_frame_dropped(original: Callable[..., Any]) -> Callable[..., Any]:
    def patchify(frames: Any, patch: int, temporal: int, merge: int) -> Any:
        return original(frames[: len(frames) // temporal * temporal], patch, temporal, merge)

    return patchify


FAULTS = (
    Fault("mean-std", "mean and standard deviation of 0.5 instead of CLIP's",
          "coreai-models 82", "processor.pixel_values", IMAGES,
          "image_processing:normalize", _half_mean_and_std),
    Fault("rescale-twice", "pixels that are between 0 and 1 divided by 255 once more",
          "transformers 25688", "processor.pixel_values", IMAGES,
          "image_processing:rescale", _rescaled_twice),
    Fault("channels-bgr", "blue before green before red, as OpenCV reads pictures",
          "vllm 21053", "processor.pixel_values", IMAGES,
          "image_processing:resize", _blue_first),
    Fault("alpha-composited", "a transparent picture laid on white; the reference drops the alpha",
          "hermes-agent 64548", "processor.pixel_values", ("left-padded-batch",),
          "image_processing:read_picture", _on_white),
    Fault("resize-transposed", "pictures resized to (width, height) for (height, width)",
          "PaddleX 2175", "processor.image_grid_thw", IMAGES,
          "image_processing:target_size", _width_first),
    Fault("resize-bounds", "max_pixels ignored", "LlamaFactory 7690",
          "processor.image_grid_thw", ("photograph",),
          "image_processing:smart_resize", _no_upper_bound),
    Fault("resample-filter", "bilinear instead of bicubic resampling", "general",
          "processor.pixel_values", ("photograph",), "image_processing:resize", _bilinear),
    Fault("patch-raster", "patches in raster order, not merge-block by merge-block",
          "Qwen3-VL 263", "processor.pixel_values", IMAGES,
          "image_processing:patchify", _raster_order),
    Fault("patch-temporal", "the temporal axis of a patch before its channels",
          "general", "processor.pixel_values_videos", ("odd-video",),
          "video_processing:patchify", _temporal_axis_first),
    Fault("odd-frames", "the last frame of an odd-length video dropped, not repeated",
          "transformers 35412", "processor.video_grid_thw", ("odd-video",),
          "video_processing:patchify", _last_frame_dropped),
)  # fmt: skip
