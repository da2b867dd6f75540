"""What the items run on, the same for all: made once, kept in a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from parity.bench.checkpoints import VOCABULARY, random
from parity.core.cases import load_cases
from parity.core.trace import Array
from parity.settings import FIXTURES

CASE = "photograph"
FIRST_TOKEN, LAST_TOKEN = 3, 59  # of the vocabulary of parity.bench.checkpoints, the plain ones
PATCH = 1176  # numbers in a patch


def tokens(count: int) -> Array:
    """A text: int64 [1, count]."""
    generator = np.random.default_rng(VOCABULARY)
    return generator.integers(FIRST_TOKEN, LAST_TOKEN, (1, count), dtype=np.int64)


def patches(height: int, width: int) -> dict[str, Array]:
    """An image of ``height`` x ``width`` patches: pixels float32 [N, 1176] and grid [1, 3]."""
    return {
        "pixel_values": random("pixels", (height * width, PATCH)),
        "image_grid_thw": np.array([[1, height, width]], dtype=np.int64),
    }


def case_inputs(checkpoint: Path) -> dict[str, Array]:
    """The inputs of a case with a photograph, by the port's processor.

    They equal the reference's, which the parity suites prove.
    """
    from qwen2vl_ms import Qwen2VLProcessor

    case = load_cases(FIXTURES / "cases.toml")[CASE]
    processor = Qwen2VLProcessor.from_pretrained(checkpoint)
    texts = [str(processor.apply_chat_template(rows, add_generation_prompt=True))
             for rows in case.messages]  # fmt: skip
    images = [str(part.image) for prompt in case.prompts for part in prompt if part.image]
    found = processor(text=texts, images=images, padding=True, max_pixels=case.max_pixels)
    return {name: np.asarray(value) for name, value in found.items()}


def write_photograph(height: int, width: int, path: Path) -> None:
    """A real photograph, scaled to ``height`` x ``width``, as a file without loss."""
    from PIL import Image

    with Image.open(FIXTURES / "images" / "china.jpg") as image:
        image.convert("RGB").resize((width, height), Image.Resampling.BICUBIC).save(path)


def write_case(checkpoint: Path, path: Path) -> None:
    """Keep `case_inputs` for workers whose environments cannot make them."""
    np.savez(path, **case_inputs(checkpoint))


def read_case(path: Path) -> dict[str, Array]:
    """What `write_case` kept."""
    with np.load(path) as file:
        return {name: file[name] for name in file.files}
