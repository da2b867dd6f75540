"""Faults in what the processor hands to the model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from parity.faults.fault import Fault

IMAGES = ("single-image", "two-images", "left-padded-batch", "photograph", "decoding")


def _half_mean_and_std(original: Callable[..., Any]) -> Callable[..., Any]:
    def normalize(image: Any, mean: Any, std: Any) -> Any:
        return original(image, [0.5, 0.5, 0.5], [0.5, 0.5, 0.5])

    return normalize


def _raster_order(original: Callable[..., Any]) -> Callable[..., Any]:
    def patchify(frames: Any, patch: int, temporal: int, merge: int) -> Any:
        patches, (t, h, w) = original(frames, patch, temporal, merge)
        blocks = patches.reshape(t, h // merge, w // merge, merge, merge, -1)
        return blocks.transpose(0, 1, 3, 2, 4, 5).reshape(t * h * w, -1), (t, h, w)

    return patchify


def _temporal_axis_last(original: Callable[..., Any]) -> Callable[..., Any]:
    def patchify(frames: Any, patch: int, temporal: int, merge: int) -> Any:
        patches, grid = original(frames, patch, temporal, merge)
        split = patches.reshape(len(patches), -1, temporal, patch * patch)
        return np.ascontiguousarray(split.transpose(0, 2, 1, 3)).reshape(patches.shape), grid

    return patchify


def _no_upper_bound(original: Callable[..., Any]) -> Callable[..., Any]:
    def smart_resize(height: int, width: int, factor: int, least: int, most: int) -> Any:
        return original(height, width, factor, least, 10**9)

    return smart_resize


def _bilinear(original: Callable[..., Any]) -> Callable[..., Any]:
    def resize(image: Any, size: Any, resample: int) -> Any:
        return original(image, size, 2)

    return resize


FAULTS = (
    Fault("mean-std", "mean and standard deviation of 0.5 instead of CLIP's",
          "coreai-models 82", "processor.pixel_values", IMAGES,
          "image_processing:normalize", _half_mean_and_std),
    Fault("patch-raster", "patches in raster order, not merge-block by merge-block",
          "Qwen3-VL 263", "processor.pixel_values", IMAGES,
          "image_processing:patchify", _raster_order),
    Fault("patch-temporal", "the temporal axis of a patch before its channels",
          "general", "processor.pixel_values_videos", ("odd-video",),
          "video_processing:patchify", _temporal_axis_last),
    Fault("resize-bounds", "max_pixels ignored", "LlamaFactory 7690",
          "processor.image_grid_thw", ("photograph",),
          "image_processing:smart_resize", _no_upper_bound),
    Fault("resample-filter", "bilinear instead of bicubic resampling", "general",
          "processor.pixel_values", ("photograph",), "image_processing:resize", _bilinear),
)  # fmt: skip
