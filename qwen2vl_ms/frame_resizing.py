"""Frames of videos resized as torch does it: antialiased bicubic, in integers, bit for bit.

The reference resizes images with Pillow and frames with torchvision, which hands 8-bit frames to
torch. Both filter the width, then the height, with an 8-bit picture in between, but with weights
of another precision, and Pillow 13 takes the height first where that is less work: on noise, the
same picture then differs by up to 31 of 256 levels. So frames do not go through Pillow here.

N sizes along the resized axis before and after, K taps of the filter.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from qwen2vl_ms.image_reading import UInt8

CUBIC = -0.5  # the parameter of the bicubic filter, called `a` in torch
CUBIC_RADIUS = 2.0  # source pixels on each side, when enlarging
WEIGHT_LIMIT = 1 << 15  # weights are 16-bit integers
MOST_PRECISION = 22  # bits


def resize_frames(frames: UInt8, size: tuple[int, int]) -> UInt8:
    """Resize uint8 [T, C, H, W] to [T, C, *size].

    Mirrors ``torch.nn.functional.interpolate(frames, size, mode="bicubic", antialias=True)`` of
    torch 2.13 on uint8 (``upsample_avx_bilinear_bicubic_uint8`` and the generic kernel beside it
    compute the same), which is what ``torchvision.transforms.v2.functional.resize`` calls.

    Args:
        frames: uint8 [T, C, H, W].
        size: New height and width in pixels.
    """
    height, width = size
    return np.stack([_resize_frame(frame, height, width) for frame in frames])


def _resize_frame(frame: UInt8, height: int, width: int) -> UInt8:
    by_column = frame.transpose(2, 0, 1)  # [W, C, H]
    by_column = filter_first_axis(by_column, width)  # [W', C, H]
    by_row = filter_first_axis(by_column.transpose(2, 1, 0), height)  # [H', C, W']
    return by_row.transpose(1, 0, 2)  # [C, H', W']


def filter_first_axis(rows: UInt8, new_length: int) -> UInt8:
    """Resize along the first axis: uint8 [N, ...] to [new_length, ...], clipped and rounded."""
    if len(rows) == new_length:
        return rows
    taps, weights, precision = integer_filter(len(rows), new_length)
    values = np.ascontiguousarray(rows.reshape(len(rows), -1), dtype=np.int32)
    total = np.full((new_length, values.shape[1]), 1 << (precision - 1), dtype=np.int32)
    for tap, weight in zip(taps.T, weights.T, strict=True):
        total += values[tap] * weight[:, None]
    pixels = (total >> precision).clip(0, 255).astype(np.uint8)
    return pixels.reshape(new_length, *rows.shape[1:])


def resize_frames_in_floats(frames: UInt8, size: tuple[int, int]) -> UInt8:
    """Resize uint8 [T, C, H, W] to [T, C, *size], rounding once, at the end.

    Mirrors ``torchvision.transforms.functional.resize(frames, size, BICUBIC, antialias=True)`` of
    torchvision 0.28, its older interface, which filters 8-bit frames as float32. Sums are float64
    here, so the rare pixel that lies in the middle between two levels may become the other one.

    Args:
        frames: uint8 [T, C, H, W].
        size: New height and width in pixels.
    """
    if frames.shape[2:] == size:
        return frames
    height, width = (_filter_matrix(*pair) for pair in zip(frames.shape[2:], size, strict=True))
    resized = [height @ (frame.astype(np.float64) @ width.T) for frame in frames]
    return np.rint(np.stack(resized)).clip(0, 255).astype(np.uint8)


def _filter_matrix(length: int, new_length: int) -> npt.NDArray[np.float64]:
    """The filter of one axis as a matrix [new_length, length]."""
    taps, weights = float_filter(length, new_length)
    matrix = np.zeros((new_length, length))
    np.add.at(matrix, (np.arange(new_length)[:, None], taps), weights)
    return matrix


def integer_filter(
    length: int, new_length: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32], int]:
    """The filter of one axis, in fixed point.

    Mirrors ``_compute_index_ranges_int16_weights`` (torch 2.13, UpSampleKernel.cpp): the finest
    precision at which the largest weight fits 16 bits, rounded half away from zero.

    Returns:
        Source positions int64 [new_length, K], weights int32 [new_length, K], 0 where a position
        is not used, and the number of bits the weights are scaled by.
    """
    taps, exact = float_filter(length, new_length)
    precision, largest = 0, float(exact.max())
    while precision < MOST_PRECISION and _fits(largest, precision + 1):
        precision += 1
    scaled = exact * (1 << precision)
    rounded = np.trunc(scaled + np.copysign(0.5, scaled))
    return taps, rounded.astype(np.int32), precision


def _fits(weight: float, precision: int) -> bool:
    return int(0.5 + weight * (1 << precision)) < WEIGHT_LIMIT


def float_filter(
    length: int, new_length: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Which pixels each new pixel is made of, and with what weights, which add up to 1.

    Mirrors ``_compute_indices_min_size_weights_aa`` (torch 2.13, UpSampleKernel.cpp), in float64
    and in its order of operations.

    Returns:
        Source positions int64 [new_length, K] and weights float64 [new_length, K].
    """
    scale = length / new_length
    stretch = max(scale, 1.0)  # shrinking widens the filter, which is the antialiasing
    radius = CUBIC_RADIUS * stretch
    center = scale * (np.arange(new_length) + 0.5)
    start = np.maximum((center - radius + 0.5).astype(np.int64), 0)
    used = np.minimum((center + radius + 0.5).astype(np.int64), length) - start
    offsets = np.arange(math.ceil(radius) * 2 + 1)
    positions = start[:, None] + offsets
    weights = bicubic((positions - center[:, None] + 0.5) * (1.0 / stretch))
    weights[offsets >= used[:, None]] = 0.0
    total = np.zeros(new_length)
    for column in weights.T:  # in this order, since floats are rounded at every addition
        total += column
    return np.minimum(positions, length - 1), weights / total[:, None]


def bicubic(distance: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The bicubic convolution kernel at distances in pixels, any shape."""
    x, a = np.abs(distance), CUBIC
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))
