"""Points: which pattern selects which, and what a name and a port say."""

import pytest

from parity.core.errors import ParityError
from parity.core.points import STAGES, Firing, Point, select
from parity.core.rows import Kind

NAMES = ("processor.ids", "tower.rotary.cos", "tower.blocks.0", "tower.blocks.0.attn",
         "tower.blocks.1", "tower.blocks.1.attn", "tower.blocks.10", "head[0]")  # fmt: skip
POINTS = [Point(name, "text", Kind.FLOAT, name) for name in NAMES]


def names(*patterns):
    return tuple(point.name for point in select(POINTS, patterns))


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        ((), NAMES),
        (("*",), NAMES),
        (("tower.blocks.1",), ("tower.blocks.1",)),
        (("tower.blocks.?",), ("tower.blocks.0", "tower.blocks.1")),
        (("tower.blocks.*.attn",), ("tower.blocks.0.attn", "tower.blocks.1.attn")),
        (("tower.blocks.1*",), ("tower.blocks.1", "tower.blocks.1.attn", "tower.blocks.10")),
        (("*.cos", "processor.*"), ("processor.ids", "tower.rotary.cos")),
        (("*.cos", "tower.*.cos"), ("tower.rotary.cos",)),
    ],
)
def test_patterns_select_whole_names_in_declared_order(patterns, expected):
    assert names(*patterns) == expected


@pytest.mark.parametrize("pattern", ["tower.blocks.2", "blocks.1", "TOWER.*", "", "tower.block"])
def test_a_pattern_that_matches_nothing_is_an_error(pattern):
    with pytest.raises(ParityError) as caught:
        names("*.cos", pattern)
    assert f"no point is named {pattern!r}" in str(caught.value)
    assert f"`python -m parity points` lists the {len(POINTS)} declared ones" in str(caught.value)


def test_case_matters():
    both = [Point("a", "text", Kind.FLOAT), Point("A", "text", Kind.FLOAT)]
    assert select(both, ["A"]) == both[1:]


def test_patterns_may_come_from_an_iterator():
    assert [point.name for point in select(POINTS, iter(["*.cos"]))] == ["tower.rotary.cos"]


@pytest.mark.parametrize(
    ("port", "member", "is_input"),
    [
        ("output", 0, False),
        ("output.0", 0, False),
        ("output.1", 1, False),
        ("output.12", 12, False),
        ("input.position_ids", None, True),
        ("input.x", None, True),
    ],
)
def test_a_port_says_which_value_it_is(port, member, is_input):
    point = Point("a", "text", Kind.FLOAT, "a", port)
    assert point.is_input is is_input
    if is_input:
        assert point.argument == port.removeprefix("input.")
    else:
        assert point.member == member


def test_the_port_of_a_point_is_its_modules_output_unless_said():
    point = Point("a", "text", Kind.FLOAT)
    assert (point.port, point.member, point.is_input) == ("output", 0, False)


@pytest.mark.parametrize("step", [0, 1, 7])
@pytest.mark.parametrize("index", [0, 1, 7])
def test_what_follows_a_prompt_is_decoding(index, step):
    """A further firing may be the video after the image, a part of a prompt or a second prompt."""
    for stage in STAGES:
        moves = stage in ("text", "positions") and step > 0
        firing = Firing(Point("a", stage, Kind.FLOAT), index, step)
        assert firing.stage == ("decoding" if moves else stage)
