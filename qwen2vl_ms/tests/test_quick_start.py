"""MindONE's quick start: every call as there, with only the import lines changed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from qwen2vl_ms.tests import films, tiny

FIXTURES = Path(__file__).parents[2] / "fixtures"

# What its user would edit is named in capitals; the rest is the quick start of MindONE's Qwen2-VL.
QUICK_START = """
import mindspore as ms
import numpy as np

from qwen2vl_ms import Qwen2VLForConditionalGeneration
from qwen2vl_ms import Qwen2VLProcessor as AutoProcessor
from qwen2vl_ms.vision_info import process_vision_info

model = Qwen2VLForConditionalGeneration.from_pretrained(FOLDER, mindspore_dtype=DTYPE)
processor = AutoProcessor.from_pretrained(FOLDER)

messages = [{"role": "user", "content": CONTENT}]
text = processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
image_inputs, video_inputs = process_vision_info(messages)
inputs = processor(
    text=[text], images=image_inputs, videos=video_inputs, padding=True, return_tensors="np"
)
for key, value in inputs.items():
    if isinstance(value, np.ndarray):
        inputs[key] = ms.Tensor(value)
    elif isinstance(value, list):
        inputs[key] = ms.Tensor(value)
    if inputs[key].dtype == ms.int64:
        inputs[key] = inputs[key].to(ms.int32)
generated_ids = model.generate(**inputs, max_new_tokens=128)
output_text = processor.batch_decode(
    generated_ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
)[0]
"""


def run(
    dtype: str, question: str, *pictures: tuple[str, str | Path], **settings: Any
) -> dict[str, Any]:
    """The quick start's variables after it ran; settings go with every picture."""
    tiny.start()
    content = [{"type": kind, kind: str(FIXTURES / name), **settings} for kind, name in pictures]
    content.append({"type": "text", "text": question})
    script = QUICK_START.replace("FOLDER", json.dumps(str(FIXTURES / "qwen2vl-tiny")))
    script = script.replace("DTYPE", f"ms.{dtype}").replace("CONTENT", json.dumps(content))
    names: dict[str, Any] = {}
    exec(compile(script, "quick start", "exec"), names)
    return names


def answer(names: dict[str, Any]) -> str:
    """What follows the prompt, which the result includes as in Hugging Face."""
    prompt, separator, said = names["output_text"].rpartition("assistant\n")
    assert separator
    assert prompt.startswith("system\nYou are a helpful assistant.\nuser\n")
    return said


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_image_question_answering(dtype: str) -> None:
    names = run(dtype, "Which digits are shown?", ("image", "images/grey.png"))
    assert answer(names) == "69"
    prompt = names["inputs"]["input_ids"]
    assert str(prompt.dtype) == "Int32"
    assert names["generated_ids"].shape == (1, prompt.shape[1] + len("69") + 1)
    assert (names["generated_ids"][:, : prompt.shape[1]] == prompt).all()


def test_the_answer_depends_on_the_picture() -> None:
    names = run("float32", "Which digits are shown?", ("image", "images/pair-wide.png"))
    assert answer(names) == "25"


def test_several_images() -> None:
    pictures = ("image", "images/pair-wide.png"), ("image", "images/pair-tall.png")
    assert answer(run("float32", "Which image has the 4?", *pictures)) == "2"
    assert answer(run("float32", "Which image has the 4?", *reversed(pictures))) == "1"


def test_video_understanding() -> None:
    names = run("float32", "Where does it move?", ("video", "videos/moving-four"))
    assert answer(names) == "up"


def test_a_video_file_with_a_rate_and_fewer_pixels(tmp_path: Path) -> None:
    """As MindONE's script for videos asks: a file, ``max_pixels`` of a frame, ``fps``."""
    frames = sorted((FIXTURES / "videos" / "moving-seven").iterdir())
    film = np.stack([np.asarray(Image.open(frame).convert("RGB")) for frame in frames])
    file = films.write(tmp_path / "demo.mp4", film, rate=2)
    names = run("float32", "Where does it move?", ("video", file), max_pixels=360 * 420, fps=1.0)
    assert answer(names) == "right"
    tokens = names["inputs"]["input_ids"].shape[1]
    smaller = run(
        "float32", "Where does it move?", ("video", file), min_pixels=3136, max_pixels=6272
    )
    assert smaller["inputs"]["input_ids"].shape[1] < tokens


def test_text_alone() -> None:
    names = run("float32", "Which digit comes after 4?")
    assert names["image_inputs"] is None
    assert names["video_inputs"] is None
    assert answer(names) == "5"
