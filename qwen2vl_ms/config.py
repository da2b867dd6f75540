"""The model's configuration: frozen dataclasses, read strictly from a ``config.json``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CONFIG_FILE = "config.json"


@dataclass(frozen=True)
class Qwen2VLVisionConfig:
    """The vision tower (reference: ``Qwen2VLVisionConfig``, transformers 5.23).

    ``embed_dim`` is the width of the tower, ``hidden_size`` that of the merger's output, which is
    the text model's width.
    """

    depth: int
    embed_dim: int
    hidden_size: int
    num_heads: int
    mlp_ratio: float
    in_channels: int
    patch_size: int
    spatial_merge_size: int
    temporal_patch_size: int
    hidden_act: str
    rope_theta: float

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.embed_dim // self.num_heads

    @property
    def intermediate_size(self) -> int:
        """Width of the MLP inside a block."""
        return int(self.embed_dim * self.mlp_ratio)

    @property
    def patch_dim(self) -> int:
        """Numbers in one flattened patch: channels x frames x height x width (1176)."""
        return self.in_channels * self.temporal_patch_size * self.patch_size**2


@dataclass(frozen=True)
class Qwen2VLTextConfig:
    """The language model (reference: ``Qwen2VLTextConfig``, transformers 5.23)."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    hidden_act: str
    rms_norm_eps: float
    rope_theta: float
    mrope_section: tuple[int, int, int]

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.hidden_size // self.num_attention_heads


@dataclass(frozen=True)
class Qwen2VLConfig:
    """The whole model (reference: ``Qwen2VLConfig``, transformers 5.23)."""

    text_config: Qwen2VLTextConfig
    vision_config: Qwen2VLVisionConfig
    image_token_id: int
    video_token_id: int
    tie_word_embeddings: bool

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> Qwen2VLConfig:
        """Read the ``config.json`` of a checkpoint folder in the Hugging Face layout.

        Raises:
            Qwen2VLError: The folder or the file is missing, or `from_dict` refuses the contents.
        """
        from qwen2vl_ms.config_reader import read_json_object

        path = Path(folder) / CONFIG_FILE
        return cls.from_dict(read_json_object(path), source=str(path))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], source: str = CONFIG_FILE) -> Qwen2VLConfig:
        """Build a configuration from the contents of a ``config.json``.

        Args:
            values: The decoded JSON object, in the hub's or the transformers 5 layout.
            source: What to call it in an error message.

        Raises:
            Qwen2VLError: One error that lists every problem: unknown, missing or inconsistent
                keys, wrong types, features that the port does not have.
        """
        from qwen2vl_ms.config_reader import read_config

        return read_config(values, source)
