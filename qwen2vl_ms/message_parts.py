"""The images and videos that messages name: where they are, and what is wished of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from qwen2vl_ms.errors import Qwen2VLError
from qwen2vl_ms.preprocessor_config import is_count, is_positive

COUNTS = frozenset({"resized_height", "resized_width", "nframes", "min_frames", "max_frames"})
NUMBERS = frozenset({"min_pixels", "max_pixels", "total_pixels", "fps", "sample_fps", "raw_fps"})
TIMES = frozenset({"video_start", "video_end"})
OTHER_KEYS = frozenset({"type", "text", "image", "image_url", "video", "detail", "cache_control"})


def vision_items(messages: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every part of messages that is a picture or a video, with words for where it is.

    Mirrors ``extract_vision_info`` (qwen-vl-utils 0.0.14). Keys that are ``None`` are left out.

    Raises:
        Qwen2VLError: not messages.
    """
    for number, conversation in enumerate(conversations_of(messages)):
        for index, message in enumerate(conversation):
            if not isinstance(message, Mapping):
                raise Qwen2VLError(f"message {index} has to be a dict with 'role' and 'content'")
            content = message.get("content")
            for part, item in enumerate(content if isinstance(content, (list, tuple)) else ()):
                if not isinstance(item, Mapping):
                    continue
                named = any(item.get(key) is not None for key in ("image", "image_url", "video"))
                if named or item.get("type") in ("image", "image_url", "video"):
                    place = f"conversation {number}, message {index}, part {part}"
                    yield place, {k: v for k, v in item.items() if v is not None}


def conversations_of(messages: Any) -> list[Sequence[Any]]:
    """A list of conversations out of one or several.

    Raises:
        Qwen2VLError: neither.
    """
    if not isinstance(messages, (list, tuple)):
        raise Qwen2VLError(
            f"messages are a {type(messages).__name__}: give a list of dicts with 'role' and "
            "'content', or a list of such lists"
        )
    if messages and all(isinstance(message, (list, tuple)) for message in messages):
        return list(messages)
    return [messages]


def named_media(messages: Any) -> tuple[list[Any], list[Any]]:
    """The images and the videos that messages name, in order, unread.

    Mirrors ``_multimodal_inputs_from_conversations`` (transformers 5.23, processing_utils.py): an
    image may be under ``image``, ``url``, ``path`` or ``base64``, a video under the first three's
    counterparts, and ``{"type": "image_url"}`` is an image. A list under ``video`` holds frames.

    Raises:
        Qwen2VLError: not messages, or a part names nothing.
    """
    images: list[Any] = []
    videos: list[Any] = []
    for place, item in vision_items(messages):
        is_video = item.get("type") == "video" or ("video" in item and "type" not in item)
        names = ("video",) if is_video else ("image", "image_url", "base64")
        name = next((name for name in (*names, "url", "path") if name in item), names[0])
        found = item.get(name)
        if isinstance(found, Mapping):  # OpenAI's spelling
            found = found.get("url")
        if found is None:
            raise Qwen2VLError(f"{place}: names no picture: give it under {names[0]!r}")
        if is_video:
            videos.append(found)
        else:
            images.append(f"data:image/any;base64,{found}" if name == "base64" else found)
    return images, videos


def check_item(item: Mapping[str, Any]) -> None:
    """Check what a part wishes.

    Raises:
        Qwen2VLError: an unknown key or a value of the wrong kind.
    """
    for key, value in item.items():
        if key in COUNTS and not is_count(value):
            raise Qwen2VLError(f"{key} is {value!r}: it has to be an integer of at least 1")
        if key in NUMBERS and not is_positive(value):
            raise Qwen2VLError(f"{key} is {value!r}: it has to be a number above 0")
        if key in TIMES and not (value == 0 or is_positive(value)):
            raise Qwen2VLError(f"{key} is {value!r}: it has to be a number of seconds from 0 up")
        if key not in COUNTS | NUMBERS | TIMES | OTHER_KEYS:
            known = ", ".join(sorted(COUNTS | NUMBERS | TIMES))
            raise Qwen2VLError(f"unknown key {key!r}: remove it, or use one of {known}")
