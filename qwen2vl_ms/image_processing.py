"""Images to patches, as the reference's Pillow back end computes them, bit for bit.

C channels (3), H and W height and width, P patch size (14), M merge size (2), D patches of one
clip, T frames, K frames of one patch (2).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from qwen2vl_ms.errors import Qwen2VLError
from qwen2vl_ms.image_reading import ImageInput, UInt8, check_shape, picture_size, read_picture
from qwen2vl_ms.media_sources import describe
from qwen2vl_ms.picture_resizing import resize_picture
from qwen2vl_ms.pixel_levels import level_table, look_up
from qwen2vl_ms.preprocessor_config import IMAGE_FILE, PixelSettings, read_settings

Float32: TypeAlias = npt.NDArray[np.float32]
Int64: TypeAlias = npt.NDArray[np.int64]
Pixel = TypeVar("Pixel", np.uint8, np.float32)


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
            # A photograph's floats take 70 MB: those of one image alone are not copied.
            "pixel_values": patches[0] if len(patches) == 1 else np.concatenate(patches),
            "image_grid_thw": np.array(grids, dtype=np.int64),
        }

    def _process(self, index: int, image: ImageInput) -> tuple[Float32, tuple[int, int, int]]:
        try:
            picture = read_picture(image, self.do_convert_rgb)
            size = target_size(*picture_size(picture), self, self.max_pixels)
        except Qwen2VLError as error:
            raise Qwen2VLError(f"image {index}{describe(image)}: {error}") from error.__cause__
        frame = resize(picture, size, self.resample)[None]  # [1, C, H, W]
        patches, grid = patchify(frame, self.patch_size, 1, self.merge_size)
        # The frame is its own successor: it is cut once and repeated as floats.
        return look_up(patches, level_table(self.normalized), self.temporal_patch_size), grid

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


def resize(image: UInt8 | Image.Image, size: tuple[int, int], resample: int) -> UInt8:
    """Resize one image [C, H, W], or an RGB picture of Pillow's, with Pillow to [C, *size].

    Mirrors ``resize`` (transformers 5.23, image_transforms.py): through 8-bit RGB, with no
    reducing gap. What comes out is Pillow's: version 13 filters the height first where that is
    less work, earlier ones always the width first. Two machines prepare the same pixels only if
    both have Pillow 13 or neither has.
    """
    if isinstance(image, np.ndarray):
        if image.shape[1:] == size:
            return image
        image = Image.fromarray(np.ascontiguousarray(np.moveaxis(image, 0, -1)))
    return np.moveaxis(resize_picture(image, size, resample), -1, 0)


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
    frames: npt.NDArray[Pixel], patch_size: int, temporal_patch_size: int, merge_size: int
) -> tuple[npt.NDArray[Pixel], tuple[int, int, int]]:
    """Cut a clip into flat patches; an image is a clip of one frame.

    Mirrors ``patchify`` of ``Qwen2VLImageProcessorPil`` and ``Qwen2VLVideoProcessor``
    (transformers 5.23). Patches are in merge-block-major order: the M x M patches that become one
    token follow each other, blocks go row by row, and time is outermost. The last frame is
    repeated until the frames fill the last patch.

    Args:
        frames: uint8 or float32 [T, C, H, W], with H and W multiples of P * M.
        patch_size: P.
        temporal_patch_size: K.
        merge_size: M.

    Returns:
        [D, C * K * P * P] of the frames' type, and the grid (ceil(T / K), H / P, W / P), whose
        product is D.
    """
    missing: int = -len(frames) % temporal_patch_size
    if missing:
        frames = np.concatenate([frames, *[frames[-1:]] * missing])  # [T', C, H, W]
    _, channels, height, width = frames.shape
    t, h, w = len(frames) // temporal_patch_size, height // patch_size, width // patch_size
    # The P pixels of a patch's row move as one element, which takes a third of the time.
    run = np.dtype((np.void, patch_size * frames.itemsize))
    rows = np.ascontiguousarray(frames).view(run)  # [T', C, H, W/P]
    blocks = rows.reshape(
        *(t, temporal_patch_size, channels),
        *(h // merge_size, merge_size, patch_size),
        *(w // merge_size, merge_size),
    )  # [t, K, C, h/M, M, P, w/M, M]
    ordered = blocks.transpose(0, 3, 6, 4, 7, 2, 1, 5)  # [t, h/M, w/M, M, M, C, K, P]
    patches = np.ascontiguousarray(ordered).view(frames.dtype)
    return patches.reshape(t * h * w, -1), (t, h, w)  # [D, C*K*P*P]
