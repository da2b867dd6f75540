"""What makes large pictures fast changes no bit: strips, lookups, runs of pixels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from qwen2vl_ms import picture_resizing
from qwen2vl_ms.image_processing import Qwen2VLImageProcessor, patchify
from qwen2vl_ms.picture_resizing import resize_picture, width_comes_first
from qwen2vl_ms.pixel_levels import level_table, look_up
from qwen2vl_ms.tests.pictures import fixed, noise

SIDES = st.integers(1, 160)


@fixed(200)
@given(
    seed=st.integers(0, 10**6),
    before=st.tuples(SIDES, SIDES),
    after=st.tuples(SIDES, SIDES),
    resample=st.integers(0, 5),
    workers=st.integers(1, 5),
)
def test_strips_hold_the_pixels_of_the_whole(seed, before, after, resample, workers):
    picture = Image.fromarray(noise(seed, *before, 3))
    whole = np.asarray(picture.resize(after[::-1], Image.Resampling(resample)))
    assert np.array_equal(resize_picture(picture, after, resample, workers), whole)


def test_a_large_picture_is_filtered_in_strips(monkeypatch):
    picture = Image.fromarray(noise(0, 800, 900, 3))
    whole = np.asarray(picture.resize((300, 280), Image.Resampling.BICUBIC))
    asked = []

    def three_workers():
        asked.append("large")
        return 3

    monkeypatch.setattr(picture_resizing, "worker_count", three_workers)
    assert np.array_equal(resize_picture(picture, (280, 300), 3), whole)
    assert asked == ["large"]
    resize_picture(picture.crop((0, 0, 90, 90)), (28, 28), 3)
    assert asked == ["large"]


def test_strips_would_differ_where_the_height_comes_first():
    """Twin: the rule about the order matters, on the Pillow that has it."""
    picture = Image.fromarray(noise(1, 400, 30, 3))
    assert not width_comes_first(picture, (40, 28))
    rows_first = picture.resize((30, 40), Image.Resampling.BICUBIC)
    columns_first = picture.resize((28, 400), Image.Resampling.BICUBIC)
    one = np.asarray(rows_first.resize((28, 40), Image.Resampling.BICUBIC))
    other = np.asarray(columns_first.resize((28, 40), Image.Resampling.BICUBIC))
    assert not np.array_equal(one, other)
    whole = np.asarray(picture.resize((28, 40), Image.Resampling.BICUBIC))
    assert np.array_equal(whole, one) != np.array_equal(whole, other)
    assert np.array_equal(resize_picture(picture, (40, 28), 3, workers=4), whole)


def test_lookups_are_the_floats_that_arithmetic_gives():
    processor = Qwen2VLImageProcessor()
    image = np.moveaxis(noise(2, 28 * 9, 28 * 3, 3), -1, 0)
    patches, grid = patchify(image[None], 14, 1, 2)
    found = look_up(patches, level_table(processor.normalized), repeats=2)
    expected, same = patchify(processor.normalized(image)[None], 14, 2, 2)
    assert grid == same
    assert np.array_equal(found.view(np.uint32), expected.view(np.uint32))
    moved = look_up(patches, np.roll(level_table(processor.normalized), 1, axis=1), repeats=2)
    assert not np.array_equal(moved, expected)  # twin: a table one level off
    assert len(patches) % 64  # the last chunk is a part of one


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize(("patch", "temporal", "merge"), [(14, 2, 2), (7, 3, 1), (4, 1, 3)])
def test_runs_of_pixels_are_cut_like_single_ones(dtype, patch, temporal, merge):
    frames = np.random.default_rng(0).integers(0, 256, (4, 3, patch * 6, patch * 12)).astype(dtype)
    patches, (t, h, w) = patchify(frames, patch, temporal, merge)
    padded = np.concatenate([frames, *[frames[-1:]] * (-len(frames) % temporal)])
    rows = []
    for block in np.ndindex(t, h // merge, w // merge, merge, merge):
        top = (block[1] * merge + block[3]) * patch
        left = (block[2] * merge + block[4]) * patch
        part = padded[block[0] * temporal :][:temporal, :, top : top + patch, left : left + patch]
        rows.append(part.swapaxes(0, 1).reshape(-1))
    assert patches.dtype == dtype
    assert np.array_equal(patches, np.stack(rows))
