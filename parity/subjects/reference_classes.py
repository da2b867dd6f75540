"""The reference's class behind every point of Qwen2-VL, in transformers 5."""

from __future__ import annotations

import re
from dataclasses import replace

from parity.core.sources import Source

MODELING = "transformers/models/qwen2_vl/modeling_qwen2_vl.py"

FILES: dict[str, str] = {
    "LayerNorm": "torch/nn/modules/normalization.py",
    "Linear": "torch/nn/modules/linear.py",
    "Embedding": "torch/nn/modules/sparse.py",
    "Qwen2VLImageProcessorPil": "transformers/models/qwen2_vl/image_processing_pil_qwen2_vl.py",
    "Qwen2VLVideoProcessor": "transformers/models/qwen2_vl/video_processing_qwen2_vl.py",
    "Qwen2VLProcessor": "transformers/models/qwen2_vl/processing_qwen2_vl.py",
    "get_vision_position_ids": "transformers/vision_utils.py",
    "get_vision_cu_seqlens": "transformers/vision_utils.py",
    "create_causal_mask": "transformers/masking_utils.py",
}
"""Where a class or function is that is not in the model's own file."""
CLASSES: dict[str, str] = {
    r"processor\.(pixel_values|image_grid_thw)": "Qwen2VLImageProcessorPil",
    r"processor\.(pixel_values_videos|video_grid_thw)": "Qwen2VLVideoProcessor",
    r"processor\..*": "Qwen2VLProcessor",
    r"visual\.patch_embed": "PatchEmbed",
    r"visual\.position_ids": "get_vision_position_ids",
    r"visual\.rotary_pos_emb\.(cos|sin)": "Qwen2VLVisionRotaryEmbedding",
    r"visual\.cu_seqlens": "get_vision_cu_seqlens",
    r"visual\.(blocks\.\d+\.norm[12]|merger\.ln_q)": "LayerNorm",
    r"visual\..*\.(qkv|proj|fc1|fc2|mlp\.0|mlp\.2)": "Linear",
    r"visual\.blocks\.\d+\.attn": "VisionAttention",
    r"visual\.blocks\.\d+\.mlp": "VisionMlp",
    r"visual\.blocks\.\d+": "Qwen2VLVisionBlock",
    r"visual\.merger": "PatchMerger",
    r"language_model\.embed_tokens": "Embedding",
    r"language_model\.inputs_embeds": "Qwen2VLModel",
    r"language_model\.position_ids|rope_deltas": "Qwen2VLModel.get_rope_index",
    r"language_model\.rotary_emb\.(cos|sin)": "Qwen2VLRotaryEmbedding",
    r"language_model\.attention_mask": "create_causal_mask",
    r"language_model\.(layers\.\d+\.(input|post_attention)_layernorm|norm)": "Qwen2VLRMSNorm",
    r"language_model\..*_proj|lm_head": "Linear",
    r"language_model\.layers\.\d+\.self_attn": "Qwen2VLAttention",
    r"language_model\.layers\.\d+\.mlp": "Qwen2MLP",
    r"language_model\.layers\.\d+": "Qwen2VLDecoderLayer",
}
"""Patterns of points, the first that matches counting, and what makes them."""


def reference_source(source: Source, point: str, versions: dict[str, str]) -> Source:
    """``source`` with the reference's side of ``point``.

    Args:
        source: the candidate's side.
        point: canonical name.
        versions: of ``torch`` and ``transformers``, as the reference's record has them.
    """
    name = next((made for pattern, made in CLASSES.items() if re.fullmatch(pattern, point)), None)
    if name is None:
        return source
    file = FILES.get(name, MODELING)
    package = file.partition("/")[0]
    version = f"{package} {versions.get(package, '')}".strip()
    return replace(
        source, reference_class=name, reference_file=file, reference_package=version
    )  # fmt: skip
