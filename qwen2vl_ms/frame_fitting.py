"""Frames made small as they are decoded."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from qwen2vl_ms.errors import Qwen2VLError
from qwen2vl_ms.image_reading import UInt8

MOST_BYTES = 2 << 30  # of one video's resized frames, as 8 bits: over 400 thousand tokens


class FrameFitter:
    """Resizes frames one by one, so that a video's large ones are never all held.

    Args:
        size_for: The size of a frame for the model, from height, width and number of frames.
        resize: From uint8 [T, C, H, W] and a size to frames of that size.
    """

    def __init__(
        self,
        size_for: Callable[[int, int, int], tuple[int, int]],
        resize: Callable[[UInt8, tuple[int, int]], UInt8],
    ) -> None:
        self._size_for, self._resize = size_for, resize
        self._shape: tuple[int, ...] | None = None
        self._size = (0, 0)

    def __call__(self, frame: UInt8, frames: int) -> UInt8:
        """One of so many frames, from [H, W, C] to [C, H', W'].

        Raises:
            Qwen2VLError: another size than the frames before, or too much in all.
        """
        if self._shape is None:
            self._shape = frame.shape
            self._size = self._size_for(frame.shape[0], frame.shape[1], frames)
            require_room(frames, *self._size)
        if frame.shape != self._shape:
            raise Qwen2VLError(
                f"has frames of {self._shape[:2]} and of {frame.shape[:2]} pixels: encode it in "
                "one size"
            )
        return self._resize(np.moveaxis(frame, -1, 0)[None], self._size)[0]


def require_room(frames: int, height: int, width: int) -> None:
    """Refuse a video that no context could hold before it fills the memory.

    Raises:
        Qwen2VLError: so many frames of this size take over 2 GiB of 8-bit pixels.
    """
    if frames * height * width * 3 > MOST_BYTES:
        raise Qwen2VLError(
            f"has {frames} frames of {height} x {width} pixels to process, over the limit of "
            f"{MOST_BYTES} bytes: take fewer (do_sample_frames=True, fps=2.0) or lower max_pixels"
        )
