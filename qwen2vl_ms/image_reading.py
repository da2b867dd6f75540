"""One image of any accepted kind, read into an array of 8-bit RGB.

The rules are the reference's, and they differ between kinds: a file is turned upright by its EXIF
tag and loses its transparency, a Pillow image is not turned and is laid over white, an array is
taken as it is. The same picture given in two ways can so become two different arrays.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from qwen2vl_ms.errors import Qwen2VLError
from qwen2vl_ms.media_sources import encoded_picture, exists, is_name, local_path

UInt8: TypeAlias = npt.NDArray[np.uint8]
ImageInput: TypeAlias = "str | os.PathLike[str] | Image.Image | npt.NDArray[Any]"

MAX_ASPECT_RATIO = 200
CHANNEL_COUNTS = (1, 3, 4)


def read_image(image: ImageInput, convert_rgb: bool = True) -> UInt8:
    """Read one image as the reference's Pillow back end does.

    Args:
        image: See `read_picture`.
        convert_rgb: Likewise.

    Returns:
        uint8 [3, height, width].

    Raises:
        Qwen2VLError: as `read_picture`.
    """
    picture = read_picture(image, convert_rgb)
    if isinstance(picture, Image.Image):
        return np.moveaxis(np.array(picture), -1, 0)
    return picture


def read_picture(image: ImageInput, convert_rgb: bool = True) -> Image.Image | UInt8:
    """Read one image as the reference's Pillow back end does, without copying its pixels.

    Mirrors ``load_image`` and ``PilBackend.process_image`` (transformers 5.23).

    Args:
        image: A file's path or ``file://`` address, a text ``data:image/...;base64,...``, a
            Pillow image of any mode, or an integer array of values 0 to 255, [height, width,
            channels] or [channels, height, width] with 1, 3 or 4 channels. The first axis counts
            as channels if its length could be that of channels.
        convert_rgb: Turn grey, palette and transparent images into RGB; otherwise only an image
            that is RGB already is accepted.

    Returns:
        A Pillow image of mode RGB, or for an array uint8 [3, height, width].

    Raises:
        Qwen2VLError: the image is unreadable, empty, too large, or of a kind that cannot be used.
    """
    if is_name(image):
        image = open_picture(image, _upright_rgb)
    if isinstance(image, Image.Image):
        check_size(image.height, image.width)
        return _rgb_picture(image, convert_rgb)
    if isinstance(image, np.ndarray):
        return _array_pixels(image, convert_rgb)
    raise Qwen2VLError(
        f"cannot read a {type(image).__name__}: give a path, a Pillow image or a NumPy array"
    )


def picture_size(picture: Image.Image | UInt8) -> tuple[int, int]:
    """Height and width of what `read_picture` returned."""
    if isinstance(picture, Image.Image):
        return picture.height, picture.width
    return picture.shape[1], picture.shape[2]


def check_size(height: int, width: int) -> None:
    """Refuse a picture that has no pixels, too many of them, or the shape of a line.

    The limit is Pillow's own against decompression bombs, ``PIL.Image.MAX_IMAGE_PIXELS``.

    Raises:
        Qwen2VLError: which of the three it is.
    """
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and height * width > limit:
        raise Qwen2VLError(
            f"has {height} x {width} pixels, over the limit of {limit}: {_TOO_LARGE}"
        )
    check_shape(height, width)


def check_shape(height: int, width: int) -> None:
    """Refuse a picture that has no pixels or the shape of a line.

    Raises:
        Qwen2VLError: a side is 0, or over 200 times the other.
    """
    if min(height, width) < 1:
        raise Qwen2VLError(f"is empty, {height} x {width} pixels: give an image with pixels")
    if max(height, width) / min(height, width) > MAX_ASPECT_RATIO:
        raise Qwen2VLError(
            f"is {height} x {width} pixels, and one side may be at most {MAX_ASPECT_RATIO} times "
            "the other: crop it or cut it into parts"
        )


_TOO_LARGE = "scale it down, or raise PIL.Image.MAX_IMAGE_PIXELS if the file can be trusted"


def open_picture(name: Any, prepare: Callable[[Image.Image], Image.Image]) -> Image.Image:
    """The picture that a name means, decoded.

    Args:
        name: A path, a ``file://`` address or a ``data:image/...;base64,...`` text.
        prepare: What to make of it while its file is open.

    Returns:
        What was made of it, with no file open.

    Raises:
        Qwen2VLError: there is no such file, it cannot be decoded, or it is too large.
    """
    source = encoded_picture(name) or _existing_file(name)
    try:
        with warnings.catch_warnings():
            # Pillow warns at its limit and refuses at twice that; `check_size` refuses at once.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(source) as image:
                check_size(image.height, image.width)
                prepared = prepare(image)
                prepared.load()
                return prepared if prepared is not image else image.copy()
    except Image.DecompressionBombError:
        over = f"has over twice the limit of {Image.MAX_IMAGE_PIXELS} pixels"
        raise Qwen2VLError(f"{over}: {_TOO_LARGE}") from None
    except Qwen2VLError:
        raise
    except Exception as error:  # decoders raise OSError, SyntaxError, ValueError, struct.error...
        raise Qwen2VLError(
            f"cannot be decoded ({error or type(error).__name__}): replace the file by a whole "
            "image in a format Pillow reads"
        ) from error


def _upright_rgb(image: Image.Image) -> Image.Image:
    """Turned by its EXIF tag, transparency dropped (the reference's ``load_image``)."""
    return ImageOps.exif_transpose(image).convert("RGB")


def _existing_file(name: str | os.PathLike[str]) -> Path:
    path = local_path(name)
    if not exists(path) or not path.is_file():
        raise Qwen2VLError(
            "no such file: give the path of a local file (nothing is downloaded, and encoded "
            "images begin with data:image/)"
        )
    return path


def _rgb_picture(image: Image.Image, convert_rgb: bool) -> Image.Image:
    """The picture in mode RGB; transparent parts show white.

    Mirrors ``convert_to_rgb`` (transformers 5.23, image_transforms.py) for a Pillow image.
    """
    if not convert_rgb:
        _require_rgb(image.mode == "RGB", f"of mode {image.mode}")
    try:
        if "A" in image.getbands() or image.info.get("transparency") is not None:
            white = Image.new("RGBA", image.size, (255, 255, 255, 255))
            image = Image.alpha_composite(white, image.convert("RGBA"))
        image.load()
        return image if image.mode == "RGB" else image.convert("RGB")
    except Exception as error:  # a lazily decoded file fails here, and a few modes do not convert
        raise Qwen2VLError(
            f"of mode {image.mode} cannot be converted to RGB ({error or type(error).__name__}): "
            "convert it yourself"
        ) from error


def _array_pixels(image: npt.NDArray[Any], convert_rgb: bool) -> UInt8:
    """uint8 [3, height, width]; transparent parts show white.

    Mirrors ``convert_to_rgb`` (transformers 5.23, image_transforms.py) for an array.
    """
    image = as_uint8(image)
    if image.ndim != 3:
        raise Qwen2VLError(
            f"is an array of shape {image.shape}: it has to be [height, width, channels] or "
            "[channels, height, width] (a grey one: array[..., None])"
        )
    image = np.moveaxis(image, channel_axis(image.shape, CHANNEL_COUNTS), 0)
    channels, height, width = image.shape
    check_size(height, width)
    if not convert_rgb:
        _require_rgb(channels == 3, f"with {channels} channel(s)")
    if channels == 1:
        return np.repeat(image, 3, axis=0)
    if channels == 4:
        opacity = image[3:] / 255  # float64, as the reference
        return np.round(opacity * image[:3] + (1 - opacity) * 255).astype(np.uint8)
    return image


def as_uint8(array: npt.NDArray[Any]) -> UInt8:
    """The same numbers as uint8.

    Floats are refused: the reference takes those between 0 and 1 for scaled ones, truncates them
    to 8 bits to resize them, and then scales them a second time.

    Raises:
        Qwen2VLError: floats, or numbers outside 0 to 255.
    """
    if not np.issubdtype(array.dtype, np.integer):
        raise Qwen2VLError(
            f"is an array of {array.dtype}: give integers from 0 to 255, for example "
            "(array * 255).round().astype('uint8') of one scaled to 0..1"
        )
    if array.dtype != np.uint8 and array.size and not (0 <= array.min() <= array.max() <= 255):
        raise Qwen2VLError(
            f"holds values from {array.min()} to {array.max()}: they have to be from 0 to 255"
        )
    return array.astype(np.uint8, copy=False)


def channel_axis(shape: Sequence[int], counts: Sequence[int]) -> int:
    """Which axis of one picture, or of a stack of them, holds the channels: -3 or -1.

    Mirrors ``infer_channel_dimension_format`` (transformers 5.23): channels first if that axis
    could be channels, even where the last one could too.

    Args:
        shape: [..., height, width, channels] or [..., channels, height, width].
        counts: Numbers of channels that there may be.

    Raises:
        Qwen2VLError: neither axis has such a length.
    """
    for axis in (-3, -1):
        if shape[axis] in counts:
            return axis
    raise Qwen2VLError(
        f"is an array of shape {tuple(shape)} without an axis of "
        f"{' or '.join(map(str, counts))} channels, first or last: transpose it"
    )


def _require_rgb(is_rgb: bool, found: str) -> None:
    if not is_rgb:
        raise Qwen2VLError(
            f"{found} is not RGB, and do_convert_rgb is off: convert it or turn it on"
        )
