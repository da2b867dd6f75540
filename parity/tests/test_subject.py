"""Qwen2-VL as a subject: depths, which case fires what, and that a test covers every point."""

import importlib.util
import json
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import parity
from parity.core.cases import Case, Part
from parity.core.errors import ParityError
from parity.core.points import LEVELS, STAGES, Firing, Point
from parity.core.rows import Kind
from parity.subjects import qwen2vl
from parity.subjects.qwen2vl import Depths, canonical, points, read_depths, schedule
from parity.subjects.roles import role

ROOT = Path(parity.__file__).parent
SUITES = sorted((ROOT / "suites").glob("test_*.py"))
DEPTHS = Depths(2, 3)

WORDS = (Part(text="Which?"),)
IMAGE = (Part(image=Path("a.png")), *WORDS)
VIDEO = (Part(frames=(Path("0.png"), Path("1.png")), fps=2.0), *WORDS)
CASES = {
    "words": Case("words", "", (WORDS,)),
    "image": Case("image", "", (IMAGE,)),
    "video": Case("video", "", (VIDEO,)),
    "rows": Case("rows", "", (WORDS, IMAGE, VIDEO), decode_steps=2),
    "twice": Case("twice", "", (IMAGE,), decode_steps=2, again=(IMAGE,)),
    "parts": Case("parts", "", (IMAGE,), decode_steps=1, chunks=3),
}

HUB = {"model_type": "qwen2_vl", "num_hidden_layers": 28, "vision_config": {"depth": 32}}
NESTED = {
    "model_type": "qwen2_vl", "num_hidden_layers": 1, "text_config": {"num_hidden_layers": 28},
    "vision_config": {"depth": 32},
}  # fmt: skip


def write_config(folder, config):
    text = config if isinstance(config, str) else json.dumps(config)
    (folder / "config.json").write_text(text, encoding="utf-8")
    return folder


def refused(folder):
    with pytest.raises(ParityError) as caught:
        read_depths(folder)
    assert str(folder / "config.json") in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("config", [HUB, NESTED], ids=["hub", "transformers-5"])
def test_depths_in_both_styles(tmp_path, config):
    assert read_depths(write_config(tmp_path, config)) == Depths(32, 28)


def test_depths_of_the_embedded_checkpoint():
    depths = read_depths(ROOT.parent / "fixtures" / "qwen2vl-tiny")
    assert min(depths.vision, depths.text) >= 2


@pytest.mark.parametrize("name", ["nowhere", "file"])
def test_a_folder_that_is_none(tmp_path, name):
    (tmp_path / "file").write_text("")
    message = refused(tmp_path / name)
    assert message.startswith("cannot read ")
    assert "--checkpoint has to name a Hugging Face checkpoint folder" in message


@pytest.mark.parametrize("text", ["", "{", "\x00", "[" * 100_000, '{"depth": ' + "1" * 5000 + "}"])
def test_a_configuration_that_is_not_json(tmp_path, text):
    assert "is not JSON: " in refused(write_config(tmp_path, text))


def test_a_configuration_in_another_encoding(tmp_path):
    (tmp_path / "config.json").write_bytes(b"\xff\xfe{}")
    assert "is not JSON: " in refused(tmp_path)


@pytest.mark.parametrize("config", [[], None, 5, {}, HUB | {"model_type": "qwen2_5_vl"}])
def test_another_architecture(tmp_path, config):
    assert "is not a qwen2_vl checkpoint: its model_type is " in refused(
        write_config(tmp_path, config)
    )


TEXT_KEY, OTHER_KEY = "num_hidden_layers", "vision_config.depth"


@pytest.mark.parametrize("depth", [None, 0, -1, 1001, 10**30, True, 2.0, "2", [2], {}])
def test_absurd_depths(tmp_path, depth):
    for config, key in (
        (HUB | {TEXT_KEY: depth}, TEXT_KEY),
        (HUB | {"vision_config": {"depth": depth}}, OTHER_KEY),
        (NESTED | {"text_config": {TEXT_KEY: depth}}, f"text_config.{TEXT_KEY}"),
    ):
        message = refused(write_config(tmp_path, config))
        assert f": {key} is {depth!r}, not a number of blocks (1 to 1000)" in message


@pytest.mark.parametrize("inner", [None, 5, [], "text"])
def test_inner_configurations_that_are_none(tmp_path, inner):
    message = refused(write_config(tmp_path, NESTED | {"text_config": inner}))
    assert "text_config.num_hidden_layers is None" in message
    message = refused(write_config(tmp_path, HUB | {"vision_config": inner}))
    assert f"{OTHER_KEY} is None" in message


def fired(name, level="module"):
    return schedule(points(DEPTHS, level), CASES[name])


def names(firings, stage=None):
    return [f.point.name for f in firings if stage is None or f.stage == stage]


def test_the_processors_outputs_follow_the_case():
    every = {"input_ids", "attention_mask", "mm_token_type_ids"}
    image, video = {"pixel_values", "image_grid_thw"}, {"pixel_values_videos", "video_grid_thw"}
    for name, expected in {"words": every, "image": every | image, "video": every | video,
                           "rows": every | image | video}.items():  # fmt: skip
        found = names(fired(name), "preprocessing")
        assert set(found) == {f"processor.{output}" for output in expected}
        assert len(found) == len(expected)


def test_only_cases_with_pictures_fire_the_first_tower():
    assert not [name for name in names(fired("words")) if name.startswith("visual.")]
    tower = {p.name for p in qwen2vl.vision_points(DEPTHS.vision)}
    for case in ("image", "video"):
        assert set(names(fired(case))) >= tower


def test_an_image_and_a_video_fire_the_first_tower_twice():
    tower = [p.name for p in qwen2vl.vision_points(DEPTHS.vision)]
    firings = [f for f in fired("rows") if f.point.name.startswith("visual.")]
    assert [f.point.name for f in firings] == tower * 2
    assert [f.index for f in firings] == [0] * len(tower) + [1] * len(tower)
    assert {f.stage for f in firings} == {"vision"}


def test_decoding_repeats_the_text_points_but_the_deltas():
    prompt = [f for f in fired("rows") if f.point.stage in ("text", "positions") and f.index == 0]
    repeated = [name for name in names(prompt) if name != "rope_deltas"]
    assert len(repeated) == len(prompt) - 1
    decoding = [f for f in fired("rows") if f.stage == "decoding"]
    assert names(decoding) == repeated * 2
    assert [f.index for f in decoding] == [1] * len(repeated) + [2] * len(repeated)
    assert not [f for f in fired("image") if f.stage == "decoding"]


def test_a_second_call_fires_everything_again():
    once = schedule(points(DEPTHS, "module"), replace(CASES["twice"], again=()))
    twice = fired("twice")
    half = len(once)
    assert twice[:half] == once
    counts = Counter(names(once))
    assert twice[half:] == [Firing(f.point, f.index + counts[f.point.name], f.step) for f in once]
    assert [f.stage for f in twice[half:]] == [f.stage for f in once]


def test_a_prompt_in_parts_repeats_the_decoder_and_nothing_else():
    """It is embedded once, and has one head and one set of deltas."""
    prompt = [f for f in fired("parts") if f.step == 0]
    counts = Counter(names(prompt))
    inner = {
        p.name for p in qwen2vl.text_points(DEPTHS.text)
        if p.name not in ("language_model.embed_tokens", "lm_head", "rope_deltas")
    }  # fmt: skip
    assert {name for name, count in counts.items() if count == 3} == inner
    assert set(counts.values()) == {1, 3}
    assert {f.stage for f in prompt} == {"preprocessing", "vision", "positions", "text"}
    order = [f.index for f in prompt if f.point.name in inner]
    assert order == sorted(order), "a part is through the decoder before the next one starts"
    later = [f for f in fired("parts") if f.step == 1]
    assert {f.stage for f in later} == {"decoding"}
    assert {f.index for f in later if f.point.name in inner} == {3}


@pytest.mark.parametrize(
    ("tokens", "parts", "length"), [(41, 1, 41), (41, 3, 14), (42, 3, 14), (4, 4, 1), (5, 2, 3)]
)
def test_the_length_of_a_part(tokens, parts, length):
    assert qwen2vl.part_length(tokens, parts) == length
    assert len(range(0, tokens, length)) == parts


@pytest.mark.parametrize(("tokens", "parts"), [(2, 3), (5, 4), (9, 6)])
def test_a_prompt_that_is_too_short_for_its_parts(tokens, parts):
    with pytest.raises(ParityError, match=f"a prompt of {tokens} tokens cannot be fed in {parts}"):
        qwen2vl.part_length(tokens, parts)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("case", ["rows", "twice", "parts"])
def test_nothing_is_declared_or_fired_twice(level, case):
    declared = [point.name for point in points(DEPTHS, level)]
    assert len(set(declared)) == len(declared)
    firings = [(f.point.name, f.index) for f in fired(case, level)]
    assert len(set(firings)) == len(firings)
    if case == "rows":
        assert {name for name, _ in firings} == set(declared)


def test_points_have_their_roles():
    for point in points(DEPTHS, "module"):
        assert point.role == role(point.name)
    assert {p.role for p in points(DEPTHS, "block")} >= {"vision_block", "text_block", "head"}


def test_block_level_leaves_out_what_is_inside_blocks():
    block, module = (points(DEPTHS, level) for level in LEVELS)
    assert set(block) < set(module)
    assert {point.level for point in block} == {"block"}
    inside = re.compile(r".*\.(blocks|layers)\.\d+\..+|visual\.merger\..+")
    assert {p.name for p in set(module) - set(block)} == {
        p.name for p in module if inside.fullmatch(p.name)
    }


def test_depths_count_the_blocks():
    declared = names(fired("rows"))
    for tower, depth in (("visual.blocks", 2), ("language_model.layers", 3)):
        blocks = {name.split(".")[2] for name in declared if name.startswith(tower)}
        assert blocks == {str(index) for index in range(depth)}


def test_a_block_adds_to_what_came_before_it():
    bases = {point.name: point.base for point in points(DEPTHS, "block") if point.base}
    assert bases == {
        "visual.blocks.0": "visual.patch_embed",
        "visual.blocks.1": "visual.blocks.0",
        "language_model.layers.0": "language_model.inputs_embeds",
        "language_model.layers.1": "language_model.layers.0",
        "language_model.layers.2": "language_model.layers.1",
    }


def test_what_a_point_refers_to_is_declared_before_it():
    seen = set()
    for point in points(DEPTHS, "module"):
        referred = {*point.depends, *([point.base] if point.base else [])}
        assert referred <= seen | {"processor.video_grid_thw"}, point.name
        seen.add(point.name)


def test_canonical_values():
    rows = Point("language_model.position_ids", "positions", Kind.DISCRETE)
    three = canonical(rows, np.arange(4, dtype=np.int32).reshape(1, 2, 2))
    assert (three.shape, three.dtype) == ((3, 2, 2), np.int64)
    mask = Point("language_model.attention_mask", "positions", Kind.DISCRETE)
    additive = np.array([[0, np.finfo(np.float32).min]], np.float32)
    assert canonical(mask, additive).tolist() == [[True, False]]
    lengths = Point("visual.cu_seqlens", "vision", Kind.DISCRETE)
    assert canonical(lengths, np.array([0, 4], np.int32)).dtype == np.int64
    table = Point("a", "text", Kind.FLOAT)
    value = np.ones(2, np.float32)
    assert canonical(table, value) is value


def marks(path):
    """Name and ``points(stage, *patterns)`` of every test function in a suite."""
    spec = importlib.util.spec_from_file_location(f"parity_suite_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return [
        (f"{path.stem}.{name}", mark.args)
        for name, function in vars(module).items()
        for mark in getattr(function, "pytestmark", ())
        if mark.name == "points"
    ]


def covering(marked, firing):
    """The test functions that cover one firing."""
    return [
        name
        for name, (stage, *patterns) in marked
        if stage == firing.stage and any(re.fullmatch(p, firing.point.name) for p in patterns)
    ]


@pytest.fixture(scope="module")
def marked():
    return [mark for path in SUITES for mark in marks(path)]


@pytest.mark.parametrize("level", LEVELS)
def test_every_point_is_covered_by_one_test(marked, level):
    firings = fired("rows", level)
    assert {f.stage for f in firings} == set(STAGES)
    wrong = {f: found for f in firings if len(found := covering(marked, f)) != 1}
    assert not wrong


def test_every_test_covers_something(marked):
    used = {name for firing in fired("rows") for name in covering(marked, firing)}
    assert used == {name for name, _ in marked}
    assert len(marked) > 10


def test_every_test_of_a_suite_says_what_it_covers(marked):
    written = [
        f"{path.stem}.{name}"
        for path in SUITES
        for name in re.findall(r"^def (test_\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    ]
    assert sorted(written) == sorted(name for name, _ in marked)


def test_a_planted_point_is_seen_to_be_uncovered(marked):
    for name, stage in (("visual.deepstack", "vision"), ("language_model.layers", "text"),
                        ("lm_head", "vision"), ("language_model.norm.weight", "text")):  # fmt: skip
        assert covering(marked, Firing(Point(name, stage, Kind.FLOAT, name), 0)) == []


def test_a_planted_test_is_seen_to_cover_twice(marked):
    head = Firing(Point("lm_head", "text", Kind.FLOAT, "lm_head"), 0)
    assert len(covering(marked, head)) == 1
    assert len(covering([*marked, ("planted", ("text", r"lm_.*"))], head)) == 2
