"""Questions about the fixtures, as the inputs of either model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

FIXTURES = Path(__file__).parents[2] / "fixtures"
FOLDER = FIXTURES / "qwen2vl-tiny"

Row = tuple[str, ...]
"""File names of images, names of clips, and at last a question."""

PAIR: Row = ("pair-wide.png", "pair-tall.png", "Which image has the 4?")
NARROW: Row = ("narrow.png", "How many digits are there?")
FIVE: Row = ("five-digits.png", "Which digits are shown?")  # resized; five tokens and the end
CLIP: Row = ("moving-seven", "Where does it move?")
TEXT: Row = ("Which digit comes after 4?",)

ANSWERS = {PAIR: "2", NARROW: "2", CLIP: "right", TEXT: "5"}
"""What the checkpoint answers, which is right (fixtures/build/cases.py has the digits)."""

CASES: dict[str, list[Row]] = {
    "one image": [FIVE],
    "two images": [PAIR],
    "video": [CLIP],
    "text": [TEXT],
    "image and video": [("narrow.png", "moving-four", "Which digit moves?")],
    "left-padded batch": [PAIR, CLIP, FIVE, TEXT],
    "left-padded text": [TEXT, ("Hello. Which digit comes before the digit 7?",)],
}


def inputs(processor: Any, rows: list[Row]) -> dict[str, np.ndarray]:
    """What the port's processor makes of a batch."""
    texts, images, videos = [], [], []
    for *pictures, question in rows:
        content: list[dict[str, str]] = []
        for name in pictures:
            still = name.endswith(".png")
            content.append({"type": "image" if still else "video"})
            if still:
                images.append(str(FIXTURES / "images" / name))
            else:
                videos.append([str(f) for f in sorted((FIXTURES / "videos" / name).iterdir())])
        content.append({"type": "text", "text": question})
        messages = [{"role": "user", "content": content}]
        texts.append(str(processor.apply_chat_template(messages, add_generation_prompt=True)))
    return dict(
        processor(
            text=texts,
            images=images or None,
            videos=videos or None,
            padding=True,
            padding_side="left",
            videos_kwargs={"do_sample_frames": False} if videos else None,
        )
    )
