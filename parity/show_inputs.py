"""What a case gave the model, made small: thumbnails of its pictures, and its tokens as text."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from parity.core.cases import Case
from parity.core.inputs_shown import IMAGE, InputsShown, Picture, Prompt
from parity.core.store import Bundle
from parity.places import grids

SIDE = 168
"""Pixels of a thumbnail's longer side: 12 patches of the usual 14."""
LARGEST = 15_000
"""Characters of a thumbnail; one that stays larger is left out."""
QUALITIES = (80, 55, 30)
MOST_PICTURES = 24
"""Of one case; those after them have their grid and no thumbnail."""
MOST_TOKENS = 4096
"""Of one prompt; a longer one is not shown."""


def show(case: Case, bundle: Bundle, candidate: Any, merge: int) -> InputsShown:
    """Pictures and prompts of ``case``, as the reference was given them.

    Args:
        case: whose files are read.
        bundle: the reference's record of it.
        candidate: its ``pieces(ids)`` are the texts of tokens; without it, their numbers are.
        merge: patches along each side of what becomes one token.
    """
    return InputsShown(merge, tuple(_pictures(case, bundle)), tuple(_prompts(bundle, candidate)))


def _pictures(case: Case, bundle: Bundle) -> Iterator[Picture]:
    """Every image, and every temporal patch of every video, in the order of the patches."""
    drawn = 0
    for call, one in enumerate(case.calls):
        for order, kind in enumerate(one.modalities):
            firing = call * len(one.modalities) + order
            found = zip(_files(one, kind), grids(case, bundle, firing), strict=True)
            for number, (files, (frames, height, width)) in enumerate(found):
                step = -(-len(files) // frames)  # the last of an odd number is repeated
                for frame in range(frames):
                    file = files[min(frame * step, len(files) - 1)]
                    data = thumbnail(file, height, width) if drawn < MOST_PICTURES else ""
                    drawn += 1
                    yield Picture(kind, number, frame, call, firing, height, width, file.name, data)


def _files(case: Case, kind: str) -> list[tuple[Path, ...]]:
    """The files of every picture of one kind in one call: one of an image, a video's frames."""
    parts = [part for prompt in case.prompts for part in prompt]
    if kind == IMAGE:
        return [(part.image,) for part in parts if part.image]
    return [part.frames for part in parts if part.frames]


def thumbnail(file: Path, height: int, width: int) -> str:
    """A picture as a data address, in the proportions of its grid; empty if it cannot be made.

    Args:
        file: image file.
        height: patches from top to bottom.
        width: patches from left to right.
    """
    from PIL import Image

    import_module("PIL.WebPImagePlugin")  # or the first save would import every other one too
    scale = SIDE / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    try:
        with Image.open(file) as opened:
            opened.draft("RGB", size)  # a JPEG need not be decoded in full
            image = opened.convert("RGBA").resize(size)
    except (OSError, ValueError):
        return ""
    white = Image.new("RGBA", size, "white")
    image = Image.alpha_composite(white, image).convert("RGB")
    for quality in QUALITIES:
        stored = io.BytesIO()
        image.save(stored, "WEBP", quality=quality, method=4)
        data = "data:image/webp;base64," + base64.b64encode(stored.getvalue()).decode()
        if len(data) <= LARGEST:
            return data
    return ""


def _prompts(bundle: Bundle, candidate: Any) -> Iterator[Prompt]:
    """The tokens of every row of every call."""
    pieces = getattr(candidate, "pieces", lambda ids: [str(one) for one in ids])
    for call, recorded in enumerate(bundle.points["processor.input_ids"]):
        fed = bundle.tokens[call] if call < len(bundle.tokens) else []
        for row, ids in enumerate(bundle.tensor(recorded.value).tolist()):
            if len(ids) > MOST_TOKENS:
                continue
            after = pieces(fed[row]) if row < len(fed) else ()
            yield Prompt(call, row, tuple(pieces(ids)), tuple(after))
