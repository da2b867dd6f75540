"""The whole processor against the reference's, which runs in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qwen2vl_ms import Qwen2VLError, Qwen2VLProcessor
from qwen2vl_ms.model_inputs import ModelInputs
from qwen2vl_ms.processing import expand_placeholders, token_counts
from qwen2vl_ms.tests import tiny_checkpoint, video_reference
from qwen2vl_ms.tests.pictures import assert_same
from qwen2vl_ms.tests.tiny_checkpoint import CORPUS, reference_processor

CASES = 40
IMAGE, VIDEO = "<|vision_start|><|image_pad|><|vision_end|>", "<|video_pad|>"


def pixels(rng: np.random.Generator, *frames: int) -> np.ndarray:
    height, width = rng.integers(10, 130, 2)
    return rng.integers(0, 256, (*frames, height, width, 3), dtype=np.uint8)


def random_case(rng: np.random.Generator) -> dict[str, Any]:
    """A batch of texts with images and videos anywhere in them."""
    words = " ".join(CORPUS[:3]).split()
    texts, images, videos = [], [], []
    for _ in range(rng.integers(1, 4)):
        parts = list(rng.choice(words, rng.integers(0, 9)))
        for _ in range(rng.integers(0, 3)):
            parts.insert(rng.integers(0, len(parts) + 1), IMAGE)
            images.append(pixels(rng))
        if rng.random() < 0.3:
            parts.insert(rng.integers(0, len(parts) + 1), VIDEO)
            videos.append(pixels(rng, int(rng.integers(1, 6))))
        texts.append(str(rng.choice(["", " "])).join(map(str, parts)) or ".")
    call = {"padding": True, "videos_kwargs": {"cap_pixels_per_frame": bool(rng.random() < 0.5)}}
    if rng.random() < 0.3:
        call["padding_side"] = str(rng.choice(["left", "right"]))
    if rng.random() < 0.3:
        call["size"] = {"shortest_edge": 784, "longest_edge": int(rng.integers(784, 9408))}
    return {"text": texts, "images": images, "videos": videos, "call": call}


@pytest.fixture(scope="module")
def answered(tmp_path_factory) -> list[tuple[dict[str, Any], Path]]:
    folder = tmp_path_factory.mktemp("requests")
    rng = np.random.default_rng(0)
    cases = []
    for index in range(CASES):
        case = random_case(rng)
        request = tiny_checkpoint.write(folder / f"{index:03}")
        np.savez(request / "images.npz", *case["images"])
        np.savez(request / "videos.npz", *case["videos"])
        asked = {"text": case["text"], "call": case["call"]}
        (request / "request.json").write_text(json.dumps(asked))
        cases.append((case, request))
    video_reference.ask(folder)
    return cases


def test_every_batch_equals_the_reference(answered):
    kinds = {"image_grid_thw": 0, "video_grid_thw": 0}
    for case, folder in answered:
        theirs = video_reference.read_answer(folder)
        assert not isinstance(theirs, str), theirs
        processor = Qwen2VLProcessor.from_pretrained(folder)
        ours = processor(
            text=case["text"], images=case["images"], videos=case["videos"], **case["call"]
        )
        assert_same(ours, theirs)
        for kind in kinds:
            kinds[kind] += kind in theirs
    assert min(kinds.values()) >= 12, kinds


def test_a_seeded_fault_is_seen(answered):
    case, folder = next((c, f) for c, f in answered if len(c["images"]) > 1)
    theirs = video_reference.read_answer(folder)
    processor = Qwen2VLProcessor.from_pretrained(folder)
    swapped = case["images"][::-1]
    wrong = processor(text=case["text"], images=swapped, videos=case["videos"], **case["call"])
    with pytest.raises(AssertionError):
        assert_same(wrong, theirs)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tiny_checkpoint.write(tmp_path_factory.mktemp("tiny") / "checkpoint")


@pytest.fixture(scope="module")
def processor(folder) -> Qwen2VLProcessor:
    return Qwen2VLProcessor.from_pretrained(folder)


def picture(seed: int = 0) -> np.ndarray:
    return pixels(np.random.default_rng(seed))


def test_a_conversation_goes_all_the_way(processor, folder):
    messages = [
        {
            "role": "user",
            "content": [{"type": "image"}, {"type": "image"}, {"type": "text", "text": "Which?"}],
        }
    ]
    text = processor.apply_chat_template(messages, add_generation_prompt=True)
    images = [picture(1), picture(2)]
    ours = processor(text=[text, "Which?"], images=images, padding=True)
    theirs = reference_processor(folder)(
        text=[text, "Which?"], images=images, padding=True, return_tensors="np"
    )
    assert_same(ours, theirs)
    assert ours.mm_token_type_ids.sum() == (ours.image_grid_thw.prod(axis=1) // 4).sum()
    assert processor.batch_decode(ours.input_ids, skip_special_tokens=True)[1] == "Which?"


def test_text_alone_needs_no_images(processor, folder):
    theirs = reference_processor(folder)(text="Which digits?", return_tensors="np")
    for images in (None, []):
        assert_same(processor(text="Which digits?", images=images), theirs)


def test_settings_of_the_folder_may_be_changed_for_good(folder):
    processor = Qwen2VLProcessor.from_pretrained(folder, max_pixels=1568, num_frames=4)
    assert processor.image_processor.max_pixels == processor.video_processor.max_pixels == 1568
    assert processor.video_processor.num_frames == 4


def test_a_setting_reaches_images_and_videos(processor):
    media = {"images": [picture()], "videos": [picture()[None]]}
    call = {"text": f"{IMAGE}{VIDEO}", **media}
    both = processor(**call, max_pixels=784)
    assert both.image_grid_thw.tolist() == both.video_grid_thw.tolist() == [[1, 2, 2]]
    images = processor(**call, images_kwargs={"max_pixels": 784})
    assert images.image_grid_thw.tolist() == [[1, 2, 2]] != images.video_grid_thw.tolist()
    videos = processor(**call, videos_kwargs={"max_pixels": 784})
    assert videos.video_grid_thw.tolist() == [[1, 2, 2]] != videos.image_grid_thw.tolist()


def test_videos_are_sampled(processor):
    video = np.zeros((8, 28, 28, 3), np.uint8)
    sampling = {"do_sample_frames": True, "fps": 1.0, "video_metadata": [{"fps": 2.0}]}
    inputs = processor(text=VIDEO, videos=[video], **sampling)
    assert inputs.video_grid_thw.tolist() == [[2, 2, 2]]


def test_rows_may_be_padded_to_a_length(processor):
    inputs = processor(text=["a", "b c"], padding="max_length", max_length=9)
    assert inputs.input_ids.shape == inputs.mm_token_type_ids.shape == (2, 9)


def test_inputs_are_attributes_too():
    inputs = ModelInputs(input_ids=np.zeros(1))
    assert inputs.input_ids is inputs["input_ids"]
    with pytest.raises(AttributeError, match="no 'pixels' among input_ids"):
        _ = inputs.pixels


def test_expansion_is_in_order_over_the_batch():
    texts = expand_placeholders(["a#b#", "", "#"], "#", [1, 3, 2], "image")
    assert texts == ["a#b###", "", "##"]
    assert token_counts(np.array([[1, 4, 6], [3, 2, 2]]), 2) == [6, 3]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"text": f"{IMAGE}{IMAGE}", "images": [picture()]}, ["2 <|image_pad|>", "1 image(s)"]),
        (
            {"text": ["a", IMAGE]},
            ["1 <|image_pad|> ([0, 1] by row)", "0 image(s)", "once for each"],
        ),
        ({"text": "a", "images": [picture()]}, ["0 <|image_pad|>", "1 image(s)"]),
        ({"text": VIDEO}, ["1 <|video_pad|>", "0 video(s)"]),
        ({"text": 3}, ["text has to be a string"]),
        ({"text": ["a", 3]}, ["text has to be a string"]),
        ({"text": None}, ["text has to be a string"]),
        ({"text": []}, ["no texts"]),
        ({"text": ["a", "b c d"]}, ["padding=True"]),
        (
            {"text": "a", "return_tensors": "pt"},
            ["return_tensors is 'pt'", "'np' for NumPy", "'ms' for MindSpore"],
        ),
        ({"text": "a", "max_pixel": 9}, ["unknown setting 'max_pixel'", "max_pixels"]),
        ({"text": "a", "max_pixels": 9, "images_kwargs": {"max_pixels": 9}}, ["given twice"]),
        ({"text": IMAGE, "images": [picture()], "merge_size": 1}, ["merge_size cannot change"]),
        ({"text": IMAGE, "images": ["no.png"]}, ["image 0 (no.png)", "no such file"]),
    ],
)
def test_bad_arguments_are_refused(processor, arguments, words):
    with pytest.raises(Qwen2VLError) as caught:
        processor(**arguments)
    for word in words:
        assert word in str(caught.value), str(caught.value)


def test_arguments_have_names(processor):
    with pytest.raises(TypeError, match="positional"):
        processor([picture()], IMAGE)


def test_a_tokenizer_that_splits_placeholders_is_refused(tmp_path):
    folder = tiny_checkpoint.write(tmp_path / "c", split_special_tokens=True)
    processor = Qwen2VLProcessor.from_pretrained(folder)
    with pytest.raises(Qwen2VLError, match=r"splits <\|image_pad\|>: set split_special_tokens"):
        processor(text=IMAGE, images=[picture()])


def test_a_tokenizer_without_placeholders_is_refused(tmp_path):
    folder = tiny_checkpoint.write(tmp_path / "c", image_token="<|im_start|>")
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["added_tokens"] = [
        t for t in tokenizer["added_tokens"] if "video" not in t["content"]
    ]
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config["additional_special_tokens"] = []
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    with pytest.raises(Qwen2VLError, match=r"no token '<\|video_pad\|>': use the tokenizer"):
        Qwen2VLProcessor.from_pretrained(folder)


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(Qwen2VLError, match=r"no checkpoint folder.*local folder"):
        Qwen2VLProcessor.from_pretrained(tmp_path / "absent")
    with pytest.raises(Qwen2VLError, match=r"has no preprocessor_config\.json"):
        Qwen2VLProcessor.from_pretrained(tmp_path)


def test_metadata_belongs_to_a_call(folder):
    with pytest.raises(Qwen2VLError, match="video_metadata belongs to one call"):
        Qwen2VLProcessor.from_pretrained(folder, video_metadata=[{"fps": 2.0}])


def test_preparing_inputs_loads_no_framework():
    code = (
        "import sys, qwen2vl_ms.processing; "
        "print({'torch', 'transformers', 'mindspore', 'parity'} & set(sys.modules))"
    )
    command = [sys.executable, "-c", code]
    root = Path(__file__).resolve().parents[2]
    assert subprocess.check_output(command, cwd=root, text=True).strip() == "set()"
