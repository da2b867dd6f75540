"""What a point of Qwen2-VL does, which decides how large its rounding may be.

Gates, the operator ledger and the hypotheses are all made for a kind of module, not for a layer.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from parity.core.points import Point

ROLES: dict[str, str] = {
    "patch_embed": r"visual\.patch_embed",
    "rotary": r".*\.(rotary_pos_emb|rotary_emb)\.(cos|sin)",
    "layer_norm": r"visual\.(blocks\.\d+\.norm[12]|merger\.ln_q)",
    "rms_norm": r"language_model\.(layers\.\d+\.(input|post_attention)_layernorm|norm)",
    "linear": r".*\.(qkv|proj|fc1|fc2|mlp\.0|mlp\.2|[qkvo]_proj|gate_proj|up_proj|down_proj)",
    "vision_attention": r"visual\.blocks\.\d+\.attn",
    "vision_mlp": r"visual\.blocks\.\d+\.mlp",
    "vision_block": r"visual\.blocks\.\d+",
    "merger": r"visual\.merger",
    "embedding": r"language_model\.(embed_tokens|inputs_embeds)",
    "text_attention": r"language_model\.layers\.\d+\.self_attn",
    "text_mlp": r"language_model\.layers\.\d+\.mlp",
    "text_block": r"language_model\.layers\.\d+",
    "head": r"lm_head",
}
"""Names of the roles, and the points that have them; everything else is ``other``."""


def role(point: str) -> str:
    """The role of the point called ``point``; ``other`` for integers and the processor's."""
    return next((name for name, pattern in ROLES.items() if re.fullmatch(pattern, point)), "other")


def with_roles(points: Iterable[Point]) -> list[Point]:
    """``points`` with their roles."""
    return [replace(point, role=role(point.name)) for point in points]
