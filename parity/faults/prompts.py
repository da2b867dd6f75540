"""Faults in the token ids that the processor hands to the model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from parity.faults.fault import Fault
from parity.faults.inputs import EVERY, VISUAL


def _newer_system_prompt(original: Callable[..., Any]) -> Callable[..., Any]:
    def _render(self: Any, *args: Any) -> Any:
        rendered: str = original(self, *args)
        newer = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."
        return rendered.replace("You are a helpful assistant.", newer, 1)

    return _render


def _padded_right(original: Callable[..., Any]) -> Callable[..., Any]:
    def pad_rows(rows: Any, pad_id: Any, padding: Any, side: str, max_length: Any) -> Any:
        return original(rows, pad_id, padding, "right", max_length)

    return pad_rows


def _token_for_each_patch(original: Callable[..., Any]) -> Callable[..., Any]:
    def token_counts(grid: Any, merge: int) -> Any:
        return original(grid, 1)

    return token_counts


def _image_tokens_for_videos(original: Callable[..., Any]) -> Callable[..., Any]:
    def expand_placeholders(texts: Any, token: str, counts: Any, kind: str) -> Any:
        expanded = original(texts, token, counts, kind)
        if kind != "video":
            return expanded
        return [text.replace(token, "<|image_pad|>") for text in expanded]

    return expand_placeholders


FAULTS = (
    Fault("template-system", "Qwen2.5's default system prompt instead of Qwen2-VL's",
          "LMDeploy 3475", "processor.input_ids", EVERY,
          "chat_template:ChatTemplate._render", _newer_system_prompt),
    Fault("padding-right", "rows padded on the right, which decoding cannot continue",
          "Qwen3-VL 1296", "processor.input_ids", ("left-padded-batch",),
          "tokenization:pad_rows", _padded_right),
    Fault("placeholders-unmerged", "a token for each patch, not for each 2x2 of them",
          "vllm 23366", "processor.input_ids", VISUAL,
          "processing:token_counts", _token_for_each_patch),
    Fault("placeholders-video", "a video's places filled with the image token",
          "FastDeploy 7747", "processor.input_ids", ("odd-video",),
          "processing:expand_placeholders", _image_tokens_for_videos),
)  # fmt: skip
