"""What a case gave the model, small enough to be shown beside errors: pictures and tokens."""

from __future__ import annotations

from dataclasses import dataclass

IMAGE, VIDEO = "image", "video"


@dataclass(frozen=True)
class Picture:
    """An image, or the first frame that one temporal patch of a video is made of."""

    kind: str
    """``image`` or ``video``."""
    number: int
    """Which image (or video) of its call, in the order of the patches, from 0."""
    frame: int
    """Which temporal patch of it, from 0; an image has one."""
    call: int
    """Which call of the model, from 0."""
    firing: int
    """Which firing of the vision tower it belongs to."""
    height: int
    """Patches from top to bottom."""
    width: int
    """Patches from left to right."""
    name: str
    """Of the file."""
    data: str
    """A thumbnail: ``data:image/...;base64,...``; empty if it would be too large."""


@dataclass(frozen=True)
class Prompt:
    """The tokens of one row of one call, as text."""

    call: int
    row: int
    """Of the batch."""
    tokens: tuple[str, ...]
    """Of the prompt, padding included."""
    fed: tuple[str, ...] = ()
    """What was fed after it, a decoding step each."""


@dataclass(frozen=True)
class InputsShown:
    """What one case gave the model."""

    merge: int
    """Patches along each side of the square that is merged into one token."""
    pictures: tuple[Picture, ...] = ()
    """In the order of the patches: by call, images before videos, frame by frame."""
    prompts: tuple[Prompt, ...] = ()
    """By call and row; without those that are too long to show."""
