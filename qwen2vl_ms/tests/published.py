"""The published configurations, as their ``config.json`` files have them."""

from __future__ import annotations

import copy
from typing import Any

# Qwen2-VL-2B-Instruct.
_2B: dict[str, Any] = {
    "architectures": ["Qwen2VLForConditionalGeneration"],
    "attention_dropout": 0.0,
    "bos_token_id": 151643,
    "eos_token_id": 151645,
    "vision_start_token_id": 151652,
    "vision_end_token_id": 151653,
    "vision_token_id": 151654,
    "image_token_id": 151655,
    "video_token_id": 151656,
    "hidden_act": "silu",
    "hidden_size": 1536,
    "initializer_range": 0.02,
    "intermediate_size": 8960,
    "max_position_embeddings": 32768,
    "max_window_layers": 28,
    "model_type": "qwen2_vl",
    "num_attention_heads": 12,
    "num_hidden_layers": 28,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-06,
    "rope_theta": 1000000.0,
    "sliding_window": 32768,
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.41.2",
    "use_cache": True,
    "use_sliding_window": False,
    "vision_config": {
        "depth": 32,
        "embed_dim": 1280,
        "mlp_ratio": 4,
        "num_heads": 16,
        "in_chans": 3,
        "hidden_size": 1536,
        "patch_size": 14,
        "spatial_merge_size": 2,
        "spatial_patch_size": 14,
        "temporal_patch_size": 2,
    },
    "rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]},
    "vocab_size": 151936,
}


def _larger(vocabulary: int, **changes: Any) -> dict[str, Any]:
    """The 2B file with other sizes; the larger models are not tied."""
    values = copy.deepcopy(_2B) | changes
    values |= {"tie_word_embeddings": False, "vocab_size": vocabulary}
    values["max_window_layers"] = values["num_hidden_layers"]
    values["vision_config"]["hidden_size"] = values["hidden_size"]
    return values


CONFIGS: dict[str, dict[str, Any]] = {
    "2B": _2B,
    "7B": _larger(
        152064,
        hidden_size=3584,
        intermediate_size=18944,
        num_attention_heads=28,
        num_hidden_layers=28,
        num_key_value_heads=4,
    ),
    "72B": _larger(
        152064,
        hidden_size=8192,
        intermediate_size=29568,
        num_attention_heads=64,
        num_hidden_layers=80,
        num_key_value_heads=8,
    ),
}
