"""Plots, prompts and position ids as plain data."""

import math

import pytest

from parity.core.detail import PATCHES, TOKENS, Cells, Histogram, Ids, Profile
from parity.core.inputs_shown import IMAGE, InputsShown, Picture, Prompt
from parity.report.histograms import histogram_view
from parity.report.position_ids import ids_view
from parity.report.profiles import HEIGHT, WIDTH, profile_view
from parity.report.prompts import prompt_view, visible

PADS = ("<|image_pad|>",) * 6
TEXT = ("<|im_start|>", "user", "\n", *PADS, "What", " is", " it", "?")
PICTURE = Picture(IMAGE, 0, 0, 0, 0, 4, 6, "a.png", "")
SHOWN = InputsShown(2, (PICTURE,), (Prompt(0, 0, TEXT, (" A", "7")),))


def drawn(values, **more):
    return prompt_view(Cells(TOKENS, "ratio", 5.0, tuple(values), **more), SHOWN)


def test_neighbours_of_one_level_are_one_run_and_pads_are_collapsed():
    view = drawn([1.0] * 3 + [50.0] * 6 + [1.0] * 4)
    (row,) = view.rows
    assert [run.text for run in row.runs] == [
        "<|im_start|>user\u21b5", "<|image_pad|> \u00d7 6", "What is it?",
    ]  # fmt: skip
    assert [run.level > 0 for run in row.runs] == [False, True, False]
    assert row.runs[1].title == "tokens 3 to 8: up to 50"
    assert view.sentence.startswith("The error is only on image tokens.")


def test_a_token_that_differs_from_its_neighbours_stands_alone():
    (row,) = drawn([1.0] * 10 + [70.0] + [1.0] * 2).rows
    assert [run.text for run in row.runs if run.level > 0] == [" is"]
    assert next(run.title for run in row.runs if run.level > 0) == "token 10: 70"


def test_a_decoding_step_shows_the_token_it_was_fed():
    (row,) = drawn([90.0], start=len(TEXT) + 1).rows
    assert [run.text for run in row.runs] == ["7"]
    assert row.title == f"from token {len(TEXT) + 1}"


def test_padding_is_marked_as_such():
    (row,) = drawn([None] * 2 + [math.nan] * 11).rows
    assert row.runs[0].title == "tokens 0 to 1: padding, not compared"
    assert row.runs[-1].title.endswith("up to NaN")


def test_what_cannot_be_shown_is_replaced():
    assert visible("a\u202eb\x1bc\n") == "a\ufffdb\ufffdc\u21b5"


@pytest.mark.parametrize("count", [16, 26])
def test_more_tokens_than_the_prompt_has_are_not_drawn(count):
    assert drawn([9.0] * count) is None


def test_a_histogram_says_where_half_of_the_values_are():
    found = Histogram("ULP of bf16", -1, (0, 0, 10, 90, 0), (5, 5, 0, 0, 0), 0, 90, 3, 0)
    view = histogram_view(found)
    assert view.sentence == (
        "Half of the candidate's values are within 8 ULP; of the reference's, exact. "
        "3 errors of the candidate: no number."
    )
    assert [(one.label, one.candidate, one.reference) for one in view.bins] == [
        ("0.5 to 1", 0, 5), ("1 to 2", 0, 5), ("2 to 4", 10, 0), ("4 to 8", 90, 0),
    ]  # fmt: skip
    assert view.candidate.count("M") == 2


def test_an_empty_histogram_is_not_drawn():
    assert histogram_view(None) is None
    assert histogram_view(Histogram("ULP", 0, (0,), (0,), 4, 4, 0, 0)) is None
    assert histogram_view(Histogram("ULP", 0, (1,), (1, 2), 0, 0, 0, 0)) is None


def test_a_profile_has_its_gate_and_its_worst_in_place():
    view = profile_view(Profile("token", 4, 1, (1.0, None, 1000.0, 1.0), 2, 8.0), "local")
    assert view.sentence == "Worst token 2 of 4: 1,000, gate 8; 1 of 4 tokens over it."
    assert view.path.count("M") == 2  # the line is open at padding
    assert view.top == 0
    assert 0 < view.gate < HEIGHT
    assert view.worst == WIDTH * 2.5 / 4


def test_nan_is_at_the_top_and_over_the_gate():
    view = profile_view(Profile("channel", 2, 1, (math.nan, 1.0), 0, 8.0), "local")
    assert view.top == 0
    assert "1 of 2 channels over it" in view.sentence
    assert "NaN" in view.sentence


def test_a_damaged_profile_is_not_drawn():
    for bad in (Profile("token", 0, 1, (), 0, 8.0), Profile("token", 4, 0, (1.0,), 0, 8.0)):
        assert profile_view(bad, "local") is None
    assert profile_view(Profile("token", 2, 1, (1.0, 2.0), 99, 0.0), "local").worst < WIDTH


def grids(reference, candidate, **more):
    return ids_view(Ids(("t", "h", "w"), reference, candidate, TOKENS, **more), SHOWN)


def test_ids_are_drawn_as_the_grid_of_their_picture():
    count = len(TEXT)
    reference = tuple(tuple(range(count)) for _ in range(3))
    wrong = list(reference[2])
    wrong[7] = 99
    view = grids(reference, (*reference[:2], tuple(wrong)))
    (block,) = view.blocks
    assert block.title == "image 1, a.png"
    assert [axis.differing for axis in block.axes] == [0, 0, 1]
    width = block.axes[2].rows
    assert [len(line) for line in width] == [3, 3]
    assert [(c.reference, c.candidate) for line in width for c in line if c.differs] == [(7, 99)]
    assert view.sentence == (
        "Ids that differ: 0 of 13 in time (t), 0 of 13 in height (h), 1 of 13 in width (w)."
    )


def test_ids_of_text_are_a_list():
    count = len(TEXT)
    reference = tuple(tuple(range(count)) for _ in range(3))
    later = tuple(tuple(n + (n > 8) for n in range(count)) for _ in range(3))
    (block,) = grids(reference, later).blocks
    assert (block.title, block.text) == ("text, tokens 9 to 12", True)
    assert [axis.differing for axis in block.axes] == [4, 4, 4]


def test_ids_of_patches_follow_the_windows():
    heights, widths = tuple(range(24)), tuple(range(24))
    ids = Ids(("h", "w"), (heights, widths), (heights, (9, *widths[1:])), PATCHES)
    (block,) = ids_view(ids, SHOWN).blocks
    assert [[cell.reference for cell in line] for line in block.axes[0].rows] == [
        [0, 1, 4, 5, 8, 9], [2, 3, 6, 7, 10, 11],
        [12, 13, 16, 17, 20, 21], [14, 15, 18, 19, 22, 23],
    ]  # fmt: skip
    assert block.axes[1].differing == 1


@pytest.mark.parametrize("rows", [0, 2, 5])
def test_ids_that_do_not_fit_the_prompt_are_not_drawn(rows):
    ids = tuple(tuple(range(13)) for _ in range(3))
    assert grids(ids, ids, rows=rows) is None
    assert grids(ids, ids[:2]) is None
