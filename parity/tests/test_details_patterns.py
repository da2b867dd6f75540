"""Where an error is, in words: every planted pattern is said, and no other."""

import math
import random

import numpy as np
import pytest

from parity.core.detail import MERGED, PATCHES
from parity.core.inputs_shown import IMAGE, VIDEO, Picture
from parity.report.levels import LEVELS, scale
from parity.report.patches import size, spots
from parity.report.patterns import Cell, Scene, describe, within
from parity.report.token_patterns import Token
from parity.report.token_patterns import describe as describe_tokens

LIMITS = (8.0, 80.0, 800.0, 8000.0)


def picture(height, width, number=0, kind=IMAGE, frame=0):
    return Picture(kind, number, frame, 0, 0, height, width, "a.png", "")


WIDE, TALL = picture(4, 8), picture(8, 6, 1)
CLIP = [picture(6, 8, kind=VIDEO, frame=frame) for frame in range(3)]


def scene(pictures, hot, value=1000.0, rest=1.0):
    """``hot(picture, row, column)`` says where the value is."""
    cells = [
        Cell(n, row, column, value if hot(n, row, column) else rest)
        for n, one in enumerate(pictures)
        for row in range(one.height)
        for column in range(one.width)
    ]
    random.Random(0).shuffle(cells)  # the order of cells says nothing
    sizes = tuple((one.height, one.width) for one in pictures)
    return Scene(tuple(pictures), sizes, tuple(cells))


PLANTED = {
    "only in the second image": ([WIDE, TALL], lambda n, r, c: n == 1),
    "only in the first image": ([WIDE, TALL], lambda n, r, c: n == 0),
    "only in every image but the first": (
        [WIDE, TALL, picture(4, 4, 2)], lambda n, r, c: n > 0,
    ),
    "only in the second frame of the video": (CLIP, lambda n, r, c: n == 1),
    "only in every frame but the first of the video": (CLIP, lambda n, r, c: n > 0),
    "only in the last row": ([WIDE], lambda n, r, c: r == 3),
    "only in the first row": ([WIDE], lambda n, r, c: r == 0),
    "only in the last column": ([WIDE], lambda n, r, c: c == 7),
    "only in the last 2 columns": ([WIDE], lambda n, r, c: c >= 6),
    "only in the first 3 rows": ([TALL], lambda n, r, c: r < 3),
    "in every row but the first": ([TALL], lambda n, r, c: r > 0),
    "in every column but the last": ([TALL], lambda n, r, c: c < 5),
    "in every other row, from row 0": ([TALL], lambda n, r, c: r % 2 == 0),
    "in every other column, from column 1": ([WIDE], lambda n, r, c: c % 2),
    "only in rows 2 to 4": ([TALL], lambda n, r, c: 2 <= r <= 4),
    "only in column 3": ([WIDE], lambda n, r, c: c == 3),
    "only along the edges": (
        [TALL], lambda n, r, c: r in (0, 7) or c in (0, 5),
    ),
    "only in the bottom right of every 2 x 2": ([TALL], lambda n, r, c: r % 2 and c % 2),
    "in every other one, as on a chessboard": ([TALL], lambda n, r, c: (r + c) % 2),
    "everywhere but on the diagonal, where row and column are alike": (
        [WIDE, TALL], lambda n, r, c: r != c,
    ),
    "only in rows 1 to 2, columns 2 to 4": ([TALL], lambda n, r, c: 1 <= r <= 2 <= c <= 4),
    "only in the second image, only in the last row": (
        [WIDE, TALL], lambda n, r, c: n == 1 and r == 7,
    ),
}  # fmt: skip


@pytest.mark.parametrize("said", PLANTED)
def test_a_planted_pattern_is_said(said):
    assert describe(scene(*PLANTED[said]), LIMITS).startswith(f"The error is {said}.")


def test_the_last_rows_of_pictures_of_different_heights_are_one_pattern():
    found = describe(scene([WIDE, TALL], lambda n, r, c: r == (3, 7)[n]), LIMITS)
    assert found.startswith("The error is only in the last row.")


@pytest.mark.parametrize("said", PLANTED)
def test_a_pattern_with_a_hole_is_not_said(said):
    """Twin: where half of the marked cells are right, the words would be false."""
    pictures, hot = PLANTED[said]
    luck = random.Random(3)
    found = scene(pictures, lambda n, r, c: hot(n, r, c) and luck.random() < 0.5)
    assert said not in describe(found, LIMITS)


@pytest.mark.parametrize("said", PLANTED)
def test_a_pattern_is_found_above_a_smaller_error_everywhere(said):
    found = describe(scene(*PLANTED[said], value=5000.0, rest=20.0), LIMITS)
    assert found.startswith("The error is everywhere: every patch is over 8.")
    assert f"Over 80: {said}." in found


def test_scattered_cells_are_counted():
    luck = random.Random(1)
    found = describe(scene([TALL], lambda n, r, c: luck.random() < 0.4), LIMITS)
    assert found.startswith("The error is scattered over")
    assert "of 48 patches" in found


def test_nothing_is_said_where_nothing_is_over():
    assert describe(scene([TALL], lambda n, r, c: False), LIMITS) == ""


def test_nan_is_an_error_and_the_worst():
    found = describe(scene([WIDE], lambda n, r, c: (r, c) == (2, 5), value=math.nan), LIMITS)
    assert "only in row 2, column 5" in found
    assert "Worst in the image, row 2, column 5: NaN." in found


@pytest.mark.parametrize(
    ("way", "value"),
    [
        ("top to bottom", lambda r, c: 10.0 ** (r + 1.2)),
        ("left to right", lambda r, c: 9.0 + c),
        ("bottom to top", lambda r, c: 100.0 - r),
    ],
)
def test_growth_is_said(way, value):
    cells = tuple(Cell(0, r, c, value(r, c)) for r in range(8) for c in range(6))
    assert f"It grows from {way}." in describe(Scene((TALL,), ((8, 6),), cells), (1.0,))


def test_noise_does_not_grow():
    luck = random.Random(5)
    cells = tuple(Cell(0, r, c, 10 + luck.random()) for r in range(8) for c in range(6))
    assert "grows" not in describe(Scene((TALL,), ((8, 6),), cells), (1.0,))


def test_what_is_within_the_gate_is_said_to_be():
    found = within(scene([WIDE], lambda n, r, c: c == 7, value=4.0, rest=0.5), 8.0, 2.0)
    assert found.startswith(
        "Every patch is within the gate of 8. What is over 2 is only in the last"
    )


GRIDS = [[(1, 4, 6)], [(1, 6, 10), (1, 8, 6)], [(3, 6, 8)], [(2, 12, 4), (1, 4, 12)]]


@pytest.mark.parametrize("grids", GRIDS)
def test_patches_are_where_the_port_puts_them(grids):
    """The port's own arithmetic, which equals the reference's, gives the same rows and columns."""
    from qwen2vl_ms.positions import vision_position_ids

    pictures = [picture(h, w, n, frame=frame) for n, (t, h, w) in enumerate(grids)
                for frame in range(t)]  # fmt: skip
    found = spots(pictures, 2, PATCHES)
    wanted = vision_position_ids(np.array(grids), 2)
    assert [[one.row, one.column] for one in found] == wanted.tolist()
    frames = np.repeat(np.arange(len(pictures)), [one.height * one.width for one in pictures])
    assert [one.picture for one in found] == frames.tolist()


@pytest.mark.parametrize("grids", GRIDS)
def test_every_merged_token_is_over_its_four_patches(grids):
    pictures = [picture(h, w, n, frame=frame) for n, (t, h, w) in enumerate(grids)
                for frame in range(t)]  # fmt: skip
    patches, merged = spots(pictures, 2, PATCHES), spots(pictures, 2, MERGED)
    assert len(patches) == 4 * len(merged)
    for number, one in enumerate(patches):
        above = merged[number // 4]
        assert (one.picture, one.row // 2, one.column // 2) == (
            above.picture, above.row, above.column,
        )  # fmt: skip
    assert len(set(patches)) == len(patches)


def test_sizes_that_make_no_sense_have_no_places():
    for bad in (picture(0, 4), picture(4, -2), picture(10**9, 10**9)):
        assert spots([bad], 2, PATCHES) == []
    assert spots([WIDE], 0, PATCHES) == []
    assert spots([WIDE], 2, "tokens") == []
    assert size(WIDE, 2, MERGED) == (2, 4)


def test_levels_reach_from_the_gate_to_the_largest():
    found = scale([1.0, 20.0, None, 160_000.0], 10.0)
    assert found.gated
    assert [found.level(one) for one in (1, 10, 11, 1000, 160_000, math.nan, math.inf)] == [
        0, 0, 1, 2, LEVELS, LEVELS, LEVELS,
    ]  # fmt: skip
    assert len(found.labels) == LEVELS + 1


def test_levels_without_any_over_the_gate_say_so():
    found = scale([0.5, 4.0], 10.0)
    assert not found.gated
    assert found.level(4.0) == LEVELS
    assert scale([0.0, None], 10.0) is None


TEXT = ["<|im_start|>", "user", "\n", *["<|image_pad|>"] * 6, "What", " is", " it", "?"]


def tokens(hot, rows=1, value=500.0):
    return [
        Token(row, place, text, value if hot(row, place) else 1.0)
        for row in range(rows)
        for place, text in enumerate(TEXT)
    ]


@pytest.mark.parametrize(
    ("said", "hot", "rows"),
    [
        ("only on image tokens", lambda r, p: 3 <= p < 9, 1),
        ("only on text", lambda r, p: not 3 <= p < 9, 1),
        ("only from token 9 on", lambda r, p: p >= 9, 1),
        ("only on the last token", lambda r, p: p == 12, 1),
        ("only on token 5", lambda r, p: p == 5, 1),
        ("only up to token 4", lambda r, p: p <= 4, 1),
        ("only on tokens 2 to 5", lambda r, p: 2 <= p <= 5, 1),
        ("only in the second row of the batch", lambda r, p: r == 1, 2),
        ("only in the first row of the batch, only on image tokens",
         lambda r, p: r == 0 and 3 <= p < 9, 2),
    ],
)  # fmt: skip
def test_a_pattern_on_tokens_is_said(said, hot, rows):
    found = describe_tokens(tokens(hot, rows), rows, LIMITS)
    assert found.startswith(f"The error is {said}.")


def test_tokens_without_a_pattern_are_counted():
    found = describe_tokens(tokens(lambda r, p: p in (0, 4, 7, 12)), 1, LIMITS)
    assert found.startswith("The error is on 4 of 13 tokens.")
    assert describe_tokens(tokens(lambda r, p: False), 1, LIMITS) == ""


def test_padding_is_on_no_side():
    padded = [Token(0, -1, "", None), *tokens(lambda r, p: True)]
    assert describe_tokens(padded, 1, LIMITS).startswith("The error is on every token.")
