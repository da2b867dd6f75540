"""Integers are the reference's, bit for bit, on random prompts."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import Qwen2VLModel
from transformers.vision_utils import get_vision_cu_seqlens, get_vision_position_ids

from qwen2vl_ms import Qwen2VLError, positions
from qwen2vl_ms.tests.tiny import batch, reference_config

MERGE = 2
SIDES = st.integers(1, 5).map(lambda n: n * MERGE)
TEXT = st.tuples(st.just("text"), st.integers(1, 6))
MEDIA = st.one_of(
    st.tuples(st.just("image"), st.tuples(st.just(1), SIDES, SIDES)),
    st.tuples(st.just("video"), st.tuples(st.integers(1, 4), SIDES, SIDES)),
)


@st.composite
def prompts(draw: Any) -> list[tuple[str, Any]]:
    """Text, then any number of images and videos with text between and, maybe, after them."""
    row = [draw(TEXT)]
    for media in draw(st.lists(MEDIA, max_size=3)):
        row += [media, draw(TEXT)]
    return row[:-1] if len(row) > 1 and draw(st.booleans()) else row


BATCHES = st.lists(prompts(), min_size=1, max_size=3).map(lambda rows: batch(*rows, patch=1))
GRIDS = st.lists(st.tuples(st.integers(1, 4), SIDES, SIDES), min_size=1, max_size=4).map(np.array)


@pytest.fixture(scope="module")
def reference() -> Any:
    with torch.device("meta"):  # only its index arithmetic is used
        return Qwen2VLModel(reference_config())


def reference_index(reference: Any, inputs: dict[str, Any], padded: bool) -> Any:
    keys = ("input_ids", "mm_token_type_ids", "image_grid_thw", "video_grid_thw")
    arguments = {key: torch.from_numpy(inputs[key]) for key in keys if key in inputs}
    mask = torch.from_numpy(inputs["attention_mask"]) if padded else None
    return [v.numpy() for v in reference.get_rope_index(**arguments, attention_mask=mask)]


def index(inputs: dict[str, Any], padded: bool = True) -> Any:
    return positions.rope_index(
        inputs["mm_token_type_ids"],
        inputs.get("image_grid_thw"),
        inputs.get("video_grid_thw"),
        inputs["attention_mask"] if padded else None,
        MERGE,
    )


@given(inputs=BATCHES)
@settings(max_examples=250, deadline=None)
def test_rope_index_is_the_references(reference: Any, inputs: dict[str, Any]) -> None:
    padded = bool((inputs["attention_mask"] == 0).any())
    for mask in {padded, True}:
        theirs, their_deltas = reference_index(reference, inputs, mask)
        ours, our_deltas = index(inputs, mask)
        assert ours.dtype == theirs.dtype
        assert our_deltas.dtype == their_deltas.dtype
        np.testing.assert_array_equal(ours, theirs)
        np.testing.assert_array_equal(our_deltas, their_deltas)


@given(grid=GRIDS)
@settings(max_examples=200, deadline=None)
def test_vision_integers_are_the_references(grid: np.ndarray) -> None:
    theirs = get_vision_position_ids(torch.from_numpy(grid), MERGE).numpy()
    ours = positions.vision_position_ids(grid, MERGE)
    assert ours.dtype == theirs.dtype
    np.testing.assert_array_equal(ours, theirs)
    theirs = get_vision_cu_seqlens(torch.from_numpy(grid)).numpy()
    ours = positions.vision_cu_seqlens(grid)
    assert ours.dtype == theirs.dtype == np.int32
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("fault", ["mask ignored", "height and width swapped", "images reversed"])
def test_the_comparison_sees_a_fault(reference: Any, fault: str) -> None:
    inputs = batch(
        [("text", 3), ("image", (1, 4, 8)), ("text", 2), ("image", (1, 6, 4))], [("text", 2)]
    )
    theirs, _ = reference_index(reference, inputs, True)
    faulty = {
        "mask ignored": lambda: index(inputs, padded=False),
        "height and width swapped": lambda: [index(inputs)[0][[0, 2, 1]]],
        "images reversed": lambda: index(
            {**inputs, "image_grid_thw": inputs["image_grid_thw"][:, [0, 2, 1]]}
        ),
    }[fault]()
    assert not np.array_equal(faulty[0], theirs)


def test_merge_block_order_is_the_drawings() -> None:
    ids = positions.vision_position_ids(np.array([[1, 4, 4]]), 2)
    order = (ids[:, 0] * 4 + ids[:, 1]).tolist()  # raster number of each patch
    drawing = re.findall(r"^ +(\d+ +\d+) \| +(\d+ +\d+)$", positions.__doc__ or "", re.M)
    raster = [int(n) for left, right in drawing for n in f"{left} {right}".split()]
    assert [raster[place] for place in order] == list(range(16))


def test_deltas_continue_the_prompt() -> None:
    inputs = batch([("text", 3), ("image", (1, 4, 8))], [("text", 2)])
    ids, deltas = index(inputs)
    mask = np.pad(inputs["attention_mask"], ((0, 0), (0, 1)), constant_values=1)
    length = inputs["input_ids"].shape[1]
    following = positions.continued_position_ids(mask, deltas, 2, 1, length)
    kept = np.where(inputs["attention_mask"], ids, -1)
    np.testing.assert_array_equal(following[0, :, 0], kept.max(axis=(0, 2)) + 1)
    assert following.shape == (3, 2, 1)
    without = positions.continued_position_ids(None, deltas, 2, 3, length)
    np.testing.assert_array_equal(without[2, 0], deltas[0] + length + np.arange(3))


def test_text_positions_count_columns_and_their_deltas_the_padding() -> None:
    mask = np.array([[0, 0, 1, 1], [1, 1, 1, 1]])
    ids = positions.text_position_ids(2, 4)
    assert ids.tolist() == [[[0, 1, 2, 3]] * 2] * 3
    assert positions.rope_deltas(ids, mask).tolist() == [[2], [0]]
    assert positions.rope_deltas(positions.text_position_ids(2, 1, 3), mask, 3).tolist() == [
        [2],
        [0],
    ]


BASE = batch([("text", 2)], [("text", 3), ("image", (1, 4, 8)), ("text", 2)])
BROKEN = {
    "row 1 has 8 image tokens from its unpadded token 3 on, but the grid [1, 4, 4] gives 4": {
        "image_grid_thw": np.array([[1, 4, 4]])
    },
    "row 1 holds one more image than image_grid_thw has rows": {"image_grid_thw": None},
    "image_grid_thw has 1 rows more than the prompts have images, the first [1, 2, 2]": {
        "image_grid_thw": np.array([[1, 4, 8], [1, 2, 2]])
    },
    "row 0 of mm_token_type_ids holds 3": {
        "mm_token_type_ids": np.full_like(BASE["mm_token_type_ids"], 3)
    },
    "row 0 of attention_mask is all padding": {
        "attention_mask": np.zeros_like(BASE["attention_mask"])
    },
}


@pytest.mark.parametrize("message", BROKEN)
def test_grids_and_tokens_out_of_step(message: str) -> None:
    with pytest.raises(Qwen2VLError, match=re.escape(message)):
        index({**BASE, **BROKEN[message]})


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ([[1, 4]], "shape (1, 2)"),
        (np.zeros((0, 3), int), "shape (0, 3)"),
        ([[1.0, 4.0, 4.0]], "dtype float64"),
        ([[1, 4, 4], [1, 4, 5]], "images[1] is [1, 4, 5]"),
        ([[0, 4, 4]], "images[0] is [0, 4, 4]"),
    ],
)
def test_malformed_grids(grid: Any, message: str) -> None:
    with pytest.raises(Qwen2VLError, match=re.escape(message)):
        positions.check_grid(np.array(grid), MERGE, "images")
