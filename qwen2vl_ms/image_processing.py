"""Images to patches, as the reference's Pillow back end computes them, bit for bit.

C channels (3), H and W height and width, P patch size (14), M merge size (2), D patches of one
clip, T frames, K frames of one patch (2).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

from qwen2vl_ms.errors import Qwen2VLError
from qwen2vl_ms.image_reading import ImageInput, UInt8, check_shape, describe, read_image
from qwen2vl_ms.preprocessor_config import IMAGE_FILE, PixelSettings, read_settings

Float32: TypeAlias = npt.NDArray[np.float32]
Int64: TypeAlias = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Qwen2VLImageProcessor(PixelSettings):
    """Reads, resizes, normalises and cuts images.

    Mirrors ``Qwen2VLImageProcessorPil`` (transformers 5.23); with the same Pillow the results are
    equal bit for bit.
    """

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> Qwen2VLImageProcessor:
        """Read the settings of a checkpoint folder.

        Raises:
            Qwen2VLError: the file is missing or holds something unknown.
        """
        return cls.from_settings(*read_settings(folder, "image_processor", [IMAGE_FILE]))

    def __call__(self, images: Any, **overrides: Any) -> dict[str, npt.NDArray[Any]]:
        """Turn images into the vision tower's inputs.

        Args:
            images: One image or a list of them, which may be nested; see `read_image` for what
                an image is. An array of four axes is a list of images.
            overrides: Settings for this call only, as ``max_pixels``.

        Returns:
            ``pixel_values`` float32 [patches of all images, C * K * P * P] and
            ``image_grid_thw`` int64 [images, 3], each (1, H / P, W / P).

        Raises:
            Qwen2VLError: an image or a setting cannot be used; the image's index (and path) is
                named.
        """
        if overrides:
            return self.overridden(**overrides)(images)
        listed = list_images(images)
        if not listed:
            raise Qwen2VLError("no images were given: pass at least one")
        patches, grids = zip(
            *(self._process(i, image) for i, image in enumerate(listed)), strict=True
        )
        return {
            "pixel_values": np.concatenate(patches),
            "image_grid_thw": np.array(grids, dtype=np.int64),
        }

    def _process(self, index: int, image: ImageInput) -> tuple[Float32, tuple[int, int, int]]:
        try:
            pixels = read_image(image, self.do_convert_rgb)
            size = target_size(pixels.shape[1], pixels.shape[2], self, self.max_pixels)
        except Qwen2VLError as error:
            raise Qwen2VLError(f"image {index}{describe(image)}: {error}") from error.__cause__
        frames = self.normalized(resize(pixels, size, self.resample))[None]  # [1, C, H, W]
        return patchify(frames, self.patch_size, self.temporal_patch_size, self.merge_size)

    def normalized(self, image: UInt8) -> Float32:
        """One image [C, H, W] as the floats that the model gets."""
        values = (
            rescale(image, self.rescale_factor) if self.do_rescale else image.astype(np.float32)
        )
        return normalize(values, self.image_mean, self.image_std) if self.do_normalize else values


def list_images(images: Any) -> list[ImageInput]:
    """A flat list of images out of one image, a list, a nested list or an array of four axes."""
    if isinstance(images, (list, tuple)):
        return [image for item in images for image in list_images(item)]
    if isinstance(images, np.ndarray) and images.ndim == 4:
        return list(images)
    return [images]


def target_size(
    height: int, width: int, settings: PixelSettings, max_pixels: int
) -> tuple[int, int]:
    """The size in pixels that the model gets a picture in.

    Raises:
        Qwen2VLError: the shape cannot be used, or resizing is off and the size is not such a one.
    """
    if settings.do_resize:
        return smart_resize(height, width, settings.factor, settings.min_pixels, max_pixels)
    if height % settings.factor or width % settings.factor:
        raise Qwen2VLError(
            f"is {height} x {width} pixels, and do_resize is off: the sides have to be multiples "
            f"of {settings.factor}, or turn it on"
        )
    return height, width


def smart_resize(
    height: int, width: int, factor: int, min_pixels: int, max_pixels: int
) -> tuple[int, int]:
    """The size a picture is resized to: multiples of ``factor``, within the pixel budget.

    Mirrors ``smart_resize`` (transformers 5.23, image_processing_pil_qwen2_vl.py), rounding half
    to even included. The aspect ratio is kept as closely as the steps allow; a very long picture
    may end up outside the budget, since no side gets shorter than ``factor``.

    Args:
        height: Pixels.
        width: Pixels.
        factor: What both sides become multiples of.
        min_pixels: Least height * width.
        max_pixels: Most height * width.

    Returns:
        Height and width in pixels.

    Raises:
        Qwen2VLError: the picture is empty, or one side is over 200 times the other.
    """
    check_shape(height, width)
    new_height, new_width = round(height / factor) * factor, round(width / factor) * factor
    if new_height * new_width > max_pixels:
        shrink = math.sqrt((height * width) / max_pixels)
        return (
            max(factor, math.floor(height / shrink / factor) * factor),
            max(factor, math.floor(width / shrink / factor) * factor),
        )
    if new_height * new_width < min_pixels:
        grow = math.sqrt(min_pixels / (height * width))
        return (
            math.ceil(height * grow / factor) * factor,
            math.ceil(width * grow / factor) * factor,
        )
    return new_height, new_width


def resize(image: UInt8, size: tuple[int, int], resample: int) -> UInt8:
    """Resize one image [C, H, W] with Pillow to [C, *size].

    Mirrors ``resize`` (transformers 5.23, image_transforms.py): through 8-bit RGB, with no
    reducing gap. What comes out is Pillow's: version 13 filters the height first where that is
    less work, earlier ones always the width first. Two machines prepare the same pixels only if
    both have Pillow 13 or neither has.
    """
    height, width = size
    picture = Image.fromarray(np.ascontiguousarray(np.moveaxis(image, 0, -1)))
    resized = picture.resize((width, height), resample=Image.Resampling(resample))
    return np.moveaxis(np.array(resized), -1, 0)


def rescale(image: npt.NDArray[Any], scale: float) -> Float32:
    """Multiply by ``scale`` in float64 and round once to float32, any shape.

    Mirrors ``rescale`` (transformers 5.23, image_transforms.py).
    """
    return (image.astype(np.float64) * scale).astype(np.float32)


def normalize(image: Float32, mean: Sequence[float], std: Sequence[float]) -> Float32:
    """(image - mean) / std per channel, of float32 [..., C, H, W].

    Mirrors ``normalize`` (transformers 5.23, image_transforms.py): mean and std are rounded to
    float32 first, and both operations round to float32.
    """
    return (image - _per_channel(mean)) / _per_channel(std)


def _per_channel(values: Sequence[float]) -> Float32:
    return np.array(values, dtype=np.float32)[:, None, None]


def patchify(
    frames: Float32, patch_size: int, temporal_patch_size: int, merge_size: int
) -> tuple[Float32, tuple[int, int, int]]:
    """Cut a clip into flat patches; an image is a clip of one frame.

    Mirrors ``patchify`` of ``Qwen2VLImageProcessorPil`` and ``Qwen2VLVideoProcessor``
    (transformers 5.23). Patches are in merge-block-major order: the M x M patches that become one
    token follow each other, blocks go row by row, and time is outermost. The last frame is
    repeated until the frames fill the last patch.

    Args:
        frames: float32 [T, C, H, W], with H and W multiples of P * M.
        patch_size: P.
        temporal_patch_size: K.
        merge_size: M.

    Returns:
        float32 [D, C * K * P * P], and the grid (ceil(T / K), H / P, W / P), whose product is D.
    """
    missing = -len(frames) % temporal_patch_size
    frames = np.concatenate([frames, *[frames[-1:]] * missing])  # [T', C, H, W]
    _, channels, height, width = frames.shape
    t, h, w = len(frames) // temporal_patch_size, height // patch_size, width // patch_size
    blocks = frames.reshape(
        *(t, temporal_patch_size, channels),
        *(h // merge_size, merge_size, patch_size),
        *(w // merge_size, merge_size, patch_size),
    )  # [t, K, C, h/M, M, P, w/M, M, P]
    ordered = blocks.transpose(0, 3, 6, 4, 7, 2, 1, 5, 8)  # [t, h/M, w/M, M, M, C, K, P, P]
    return ordered.reshape(t * h * w, -1), (t, h, w)  # [D, C*K*P*P]
