"""The image processor against the reference's Pillow back end, bit for bit."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers.models.qwen2_vl import image_processing_pil_qwen2_vl as reference

from qwen2vl_ms import Qwen2VLError
from qwen2vl_ms.image_processing import (
    Qwen2VLImageProcessor,
    normalize,
    patchify,
    rescale,
    resize,
    smart_resize,
)
from qwen2vl_ms.tests.pictures import assert_same, fixed, images, make, noise


@fixed(300)
@given(
    batch=st.lists(images(), min_size=1, max_size=3),
    least=st.integers(1, 20_000),
    more=st.integers(0, 60_000),
)
def test_any_images_equal_the_reference(batch, least, more, tmp_path):
    budget = {"min_pixels": least, "max_pixels": least + more}
    made = []
    for index, (kind, recipe) in enumerate(batch):
        (tmp_path / str(index)).mkdir(exist_ok=True)
        made.append(make(kind, recipe, tmp_path / str(index)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # the reference leaves files open
        theirs = reference.Qwen2VLImageProcessorPil(**budget)(made, return_tensors="np")
    assert_same(Qwen2VLImageProcessor(**budget)(made), theirs)


@fixed(60)
@given(
    seed=st.integers(0, 10**6),
    tokens=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    resample=st.integers(0, 5),
    factor=st.sampled_from([1 / 255, 0.00392156862745098, 1 / 127.5, 0.0031, 1.0]),
    steps=st.tuples(*[st.booleans()] * 3),
    mean=st.lists(st.floats(-1, 1, width=32), min_size=3, max_size=3),
    std=st.lists(st.floats(0.01, 2), min_size=3, max_size=3),
    layout=st.sampled_from([(14, 2, 2), (7, 2, 2), (14, 1, 2), (14, 3, 1), (4, 2, 3)]),
)
def test_any_settings_equal_the_reference(seed, tokens, resample, factor, steps, mean, std, layout):
    patch, temporal, merge = layout
    settings_ = {
        "patch_size": patch,
        "temporal_patch_size": temporal,
        "merge_size": merge,
        "resample": resample,
        "rescale_factor": factor,
        "image_mean": mean,
        "image_std": std,
        **dict(zip(["do_resize", "do_rescale", "do_normalize"], steps, strict=True)),
    }
    side = patch * merge
    image = noise(seed, tokens[0] * side, tokens[1] * side, 3)
    theirs = reference.Qwen2VLImageProcessorPil(**settings_)(image, return_tensors="np")
    assert_same(Qwen2VLImageProcessor(**settings_)(image), theirs)


@fixed(500)
@given(
    height=st.integers(1, 5000),
    width=st.integers(1, 5000),
    factor=st.sampled_from([14, 28, 56]),
    least=st.integers(1, 10**6),
    more=st.integers(0, 10**7),
)
def test_smart_resize_equals_the_reference(height, width, factor, least, more):
    arguments = {"factor": factor, "min_pixels": least, "max_pixels": least + more}
    if max(height, width) > 200 * min(height, width):
        with pytest.raises(ValueError, match="aspect ratio"):
            reference.smart_resize(height, width, **arguments)
        with pytest.raises(Qwen2VLError, match=f"{height} x {width} pixels.*at most 200 times"):
            smart_resize(height, width, **arguments)
        return
    expected = reference.smart_resize(height, width, **arguments)
    assert smart_resize(height, width, **arguments) == expected


def test_nested_lists_and_stacks_are_lists_of_images():
    one, two, three = (noise(seed, 40, 70, 3) for seed in range(3))
    ours = Qwen2VLImageProcessor()
    theirs = reference.Qwen2VLImageProcessorPil()
    for batch in (one, [one, two], [[one], [two, three]], np.stack([one, two])):
        assert_same(ours(batch), theirs(batch, return_tensors="np"))


def test_a_call_may_override_the_budget():
    image = noise(0, 300, 200, 3)
    ours = Qwen2VLImageProcessor()(image, max_pixels=20_000)
    size = {"shortest_edge": 56 * 56, "longest_edge": 20_000}
    theirs = reference.Qwen2VLImageProcessorPil()(image, size=size, return_tensors="np")
    assert_same(ours, theirs)
    assert_same(Qwen2VLImageProcessor()(image, size=size), theirs)


# Twins that must fail: the comparison sees what it is there to see.


def test_the_comparison_sees_one_bit():
    ours = Qwen2VLImageProcessor()(noise(0, 56, 56, 3))
    changed = {name: value.copy() for name, value in ours.items()}
    changed["pixel_values"].view(np.uint32)[5, 7] ^= 1
    with pytest.raises(AssertionError):
        assert_same(ours, changed)


@pytest.mark.parametrize("fault", ["raster", "mean", "filter", "bounds", "transposed"])
def test_a_seeded_fault_is_seen(fault):
    image = noise(3, 80, 130, 3)
    right = Qwen2VLImageProcessor(max_pixels=20_000)
    expected = right(image)
    wrong = {
        "raster": lambda: raster_patches(image, right),
        "mean": lambda: Qwen2VLImageProcessor(max_pixels=20_000, image_mean=[0.5] * 3)(image),
        "filter": lambda: right(image, resample=2),
        "bounds": lambda: right(image, max_pixels=10**6, min_pixels=40_000),
        "transposed": lambda: right(np.ascontiguousarray(image.swapaxes(0, 1))),
    }[fault]()
    with pytest.raises(AssertionError):
        assert_same(wrong, expected)


def raster_patches(image, processor):
    size = smart_resize(*image.shape[:2], 28, processor.min_pixels, processor.max_pixels)
    pixels = resize(np.moveaxis(image, -1, 0), size, 3)
    values = normalize(rescale(pixels, 1 / 255), processor.image_mean, processor.image_std)
    patches, grid = patchify(values[None], 14, 2, 1)
    return {"pixel_values": patches, "image_grid_thw": np.array([grid])}


def test_the_patch_layout_is_no_matter_of_a_call():
    with pytest.raises(Qwen2VLError, match=r"merge_size cannot change.*preprocessor file"):
        Qwen2VLImageProcessor()(noise(0, 30, 30, 3), merge_size=1)
    with pytest.raises(Qwen2VLError, match="this call: unknown setting 'fps'"):
        Qwen2VLImageProcessor()(noise(0, 30, 30, 3), fps=1)
