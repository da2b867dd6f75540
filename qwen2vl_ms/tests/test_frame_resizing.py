"""Resized frames against torch's own kernel, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qwen2vl_ms.frame_resizing import integer_filter, resize_frames
from qwen2vl_ms.image_processing import resize


def by_torch(frames: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    stack = torch.from_numpy(np.ascontiguousarray(frames))
    return torch.nn.functional.interpolate(stack, size, mode="bicubic", antialias=True).numpy()


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(
    old=st.tuples(st.integers(1, 160), st.integers(1, 160)),
    new=st.tuples(st.integers(2, 160), st.integers(2, 160)),  # torch fails on 1 x 1
    binary=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_resizing_equals_torch(old, new, binary, seed):
    frames = np.random.default_rng(seed).integers(0, 256, (2, 3, *old), dtype=np.uint8)
    if binary:  # the strongest overshoot, which is clipped
        frames = (frames > 127).astype(np.uint8) * 255
    resized = resize_frames(frames, new)
    assert resized.dtype == np.uint8
    assert np.array_equal(resized, by_torch(frames, new))


def test_large_pictures_equal_torch():
    frames = np.random.default_rng(0).integers(0, 256, (1, 3, 720, 1280), dtype=np.uint8)
    for size in [(392, 700), (1008, 1792)]:
        assert np.array_equal(resize_frames(frames, size), by_torch(frames, size))


def test_flat_pictures_stay_flat():
    frames = np.full((1, 3, 37, 41), 200, np.uint8)
    assert np.array_equal(np.unique(resize_frames(frames, (84, 28))), [200])


def test_pillow_would_not_do():
    """Why frames do not go through the images' resizing: a twin that must differ."""
    frame = np.random.default_rng(0).integers(0, 256, (3, 90, 70), dtype=np.uint8)
    torchs, pillows = resize_frames(frame[None], (56, 84))[0], resize(frame, (56, 84), 3)
    assert not np.array_equal(torchs, pillows)


@pytest.mark.parametrize(("old", "new"), [(100, 28), (28, 100), (1, 7), (7, 1)])
def test_weights_are_16_bit_and_add_up(old, new):
    taps, weights, precision = integer_filter(old, new)
    assert taps.min() >= 0
    assert taps.max() < old
    assert np.abs(weights).max() < 2**15
    assert np.abs(weights.sum(axis=1) / 2**precision - 1).max() < weights.shape[1] / 2**precision
