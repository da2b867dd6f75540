"""Which line of the port and which class of the reference a point stands for."""

from functools import cache
from pathlib import Path

import pytest

from parity.adapters.mindspore_sources import place
from parity.core.sources import Source
from parity.faults import planted
from parity.session import Session
from parity.settings import HERE, Settings
from parity.sources import sources_of
from parity.subjects.reference_classes import reference_source

SETTINGS = Settings(cases=("odd-video",))


@cache
def session():
    return Session(SETTINGS)


@cache
def found():
    bundle = session().references.open(session().cases[0], "fp32")
    return sources_of(session().candidate("fp32"), session().points, bundle)


def line(file, number):
    return (HERE.parent / file).read_text().splitlines()[number - 1].strip()


def test_every_point_has_its_line_and_its_class():
    assert found().keys() == {point.name for point in session().points}
    for point, source in found().items():
        text = line(source.candidate_file, source.candidate_line)
        assert text.startswith("def "), point
        assert source.candidate_file.startswith("qwen2vl_ms/"), point
        assert source.reference_class is not None, point
        assert " " in source.reference_package, point


def test_the_line_is_the_method_that_computes_the_point():
    attention = found()["visual.blocks.1.attn"]
    assert attention.candidate_class == "VisionAttention"
    text = (HERE.parent / "qwen2vl_ms/vision.py").read_text().splitlines()
    before = text[: attention.candidate_line]
    assert before[-1].strip().startswith("def construct(")
    assert [one for one in before if one.startswith("class ")][-1].startswith("class VisionAttent")


@pytest.mark.parametrize(
    ("point", "made"),
    [
        ("visual.blocks.1.norm1", "self.norm1 = LayerNorm("),
        ("visual.blocks.0", "self.blocks = nn.CellList("),
        ("visual.merger.mlp.2", "self.mlp = nn.SequentialCell("),
        ("lm_head", "self.lm_head = Linear("),
    ],
)
def test_a_modules_making_is_found_in_what_is_around_it(point, made):
    source = found()[point]
    assert line(source.built_file, source.built_line).startswith(made)


def test_a_planted_fault_does_not_move_the_line():
    with planted("vit-no-mask"):
        told = session().candidate("fp32").sources(session().points)
    lines = {point: source.candidate_line for point, source in told.items()}
    assert lines == {point: source.candidate_line for point, source in found().items()}


def test_a_class_that_is_not_there_has_no_line(tmp_path):
    file = tmp_path / "port.py"
    file.write_text("class Other:\n    pass\n")
    assert place(str(file), "Block") == Source("Block")
    assert place(str(file), "Other") == Source("Other", str(file), 1)
    file = tmp_path / "damaged.py"
    file.write_text("class Block:\n  def construct(\n")
    assert place(str(file), "Block") == Source("Block")
    assert place(str(tmp_path / "absent.py"), "Block") == Source("Block")


def test_a_candidate_that_tells_nothing_leaves_its_side_open():
    bundle = session().references.open(session().cases[0], "fp32")
    told = sources_of(object(), session().points, bundle)
    assert told["lm_head"].candidate_class is None
    assert told["lm_head"].reference_class == "Linear"


def test_the_reference_classes_are_those_of_its_modules():
    """Twin of the table: another class behind any module fails."""
    from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration

    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1,
             "num_attention_heads": 2, "num_key_value_heads": 1, "vocab_size": 8}  # fmt: skip
    vision = {"depth": 1, "embed_dim": 16, "hidden_size": 16, "num_heads": 2}
    rope = {"rope_type": "default", "mrope_section": [2, 1, 1]}
    config = Qwen2VLConfig(
        text_config={**small, "rope_parameters": rope},
        vision_config=vision, pad_token_id=0, image_token_id=5, video_token_id=6,
        vision_start_token_id=3, vision_end_token_id=4,
    )  # fmt: skip
    model = Qwen2VLForConditionalGeneration(config)
    classes = {name.removeprefix("model."): type(module) for name, module in model.named_modules()}
    compared = 0
    for point in session().points:
        kind = classes.get(point.name)
        if kind is None:
            continue
        source = reference_source(Source(), point.name, {})
        assert source.reference_class == kind.__name__, point.name
        assert Path(source.reference_file).with_suffix("").as_posix() == kind.__module__.replace(
            ".", "/"
        )
        compared += 1
    assert compared > 25
