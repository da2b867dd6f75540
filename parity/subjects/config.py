"""What of a checkpoint's ``config.json`` the arithmetic of the modules depends on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parity.core.errors import ParityError
from parity.subjects.qwen2vl import read_depths

LAYER_NORM_EPS = 1e-6
"""A constant of the vision tower, not in ``config.json``."""


@dataclass(frozen=True)
class Config:
    """Sizes and constants, as transformers' configuration classes read them."""

    vision_heads: int
    vision_width: int
    merge: int
    """Patches along a side of what becomes one token."""
    heads: int
    kv_heads: int
    width: int
    rms_norm_eps: float
    rope_theta: float
    mrope_section: tuple[int, ...]
    tied: bool
    """Whether the head is the embedding."""
    ids: Mapping[str, int]
    """Token ids: ``image``, ``video``, ``vision_start``."""
    patch: tuple[int, int, int]
    """Channels, frames and side of a patch."""

    @property
    def head_dim(self) -> int:
        """Width of a head of the decoder."""
        return self.width // self.heads

    @property
    def vision_head_dim(self) -> int:
        """Width of a head of the vision tower."""
        return self.vision_width // self.vision_heads


def read_config(checkpoint: Path) -> Config:
    """Read a checkpoint's ``config.json`` (hub or transformers 5 style).

    Raises:
        ParityError: it cannot be read, lacks a key, or names an activation that Qwen2-VL has not.
    """
    read_depths(checkpoint)  # refuses what is no Qwen2-VL checkpoint
    path = checkpoint / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    text = config.get("text_config", config)
    vision = config["vision_config"]
    try:
        return _config(config, text, vision)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise ParityError(f"{path} lacks a key or has a wrong value: {error!r}") from error


def _config(config: Any, text: Any, vision: Any) -> Config:
    """The same from the three tables; defaults are those of transformers 5.23."""
    _expect(text.get("hidden_act", "silu"), "silu")
    _expect(vision.get("hidden_act", "quick_gelu"), "quick_gelu")
    rope = text.get("rope_parameters") or text.get("rope_scaling") or {}
    tied = config.get("tie_word_embeddings", text.get("tie_word_embeddings", False))
    ids = {"image": 151655, "video": 151656, "vision_start": 151652}
    return Config(
        vision_heads=int(vision["num_heads"]),
        vision_width=int(vision["embed_dim"]),
        merge=int(vision.get("spatial_merge_size", 2)),
        heads=int(text["num_attention_heads"]),
        kv_heads=int(text.get("num_key_value_heads") or text["num_attention_heads"]),
        width=int(text["hidden_size"]),
        rms_norm_eps=float(text.get("rms_norm_eps", 1e-5)),
        rope_theta=float(rope.get("rope_theta") or text.get("rope_theta") or 1e6),
        mrope_section=tuple(int(n) for n in rope["mrope_section"]),
        tied=bool(tied),
        ids={name: int(config.get(f"{name}_token_id", known)) for name, known in ids.items()},
        patch=(
            int(vision.get("in_channels", vision.get("in_chans", 3))),
            int(vision.get("temporal_patch_size", 2)),
            int(vision.get("patch_size", 14)),
        ),
    )


def _expect(activation: str, known: str) -> None:
    if activation != known:
        raise ValueError(f"hidden_act is {activation!r}, Qwen2-VL's is {known!r}")
