"""Which parameters the model has, and under which names checkpoints store them.

Two generations of names are in use and both load:

    published checkpoints, and what transformers still writes    the port, as transformers 5 itself
    visual.*                                                     model.visual.*
    model.*                                                      model.language_model.*
    lm_head.weight                                               lm_head.weight

Nothing here needs a framework, so a checkpoint can be judged from its headers alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from qwen2vl_ms.config import Qwen2VLConfig, Qwen2VLTextConfig, Qwen2VLVisionConfig

Shape = tuple[int, ...]

HEAD = "lm_head.weight"
EMBEDDING = "model.language_model.embed_tokens.weight"
PATCHES = "model.visual.patch_embed.proj.weight"
HUB, TRANSFORMERS_5, EITHER = "hub", "transformers 5", "either"

# "{}" is a layer's number.
VISUAL_NAMES = (
    "patch_embed.proj.weight",
    *("blocks.{}.norm1.weight", "blocks.{}.norm1.bias"),
    *("blocks.{}.attn.qkv.weight", "blocks.{}.attn.qkv.bias"),
    *("blocks.{}.attn.proj.weight", "blocks.{}.attn.proj.bias"),
    *("blocks.{}.norm2.weight", "blocks.{}.norm2.bias"),
    *("blocks.{}.mlp.fc1.weight", "blocks.{}.mlp.fc1.bias"),
    *("blocks.{}.mlp.fc2.weight", "blocks.{}.mlp.fc2.bias"),
    *("merger.ln_q.weight", "merger.ln_q.bias"),
    *("merger.mlp.0.weight", "merger.mlp.0.bias"),
    *("merger.mlp.2.weight", "merger.mlp.2.bias"),
)
TEXT_NAMES = (
    "embed_tokens.weight",
    "layers.{}.input_layernorm.weight",
    *("layers.{}.self_attn.q_proj.weight", "layers.{}.self_attn.q_proj.bias"),
    *("layers.{}.self_attn.k_proj.weight", "layers.{}.self_attn.k_proj.bias"),
    *("layers.{}.self_attn.v_proj.weight", "layers.{}.self_attn.v_proj.bias"),
    "layers.{}.self_attn.o_proj.weight",
    "layers.{}.post_attention_layernorm.weight",
    *("layers.{}.mlp.gate_proj.weight", "layers.{}.mlp.up_proj.weight"),
    "layers.{}.mlp.down_proj.weight",
    "norm.weight",
)

# Stored name to parameter; None is known and left out: tables that qwen2vl_ms.rope computes.
PARAMETER_OF: Mapping[str, str | None] = {
    **{f"visual.{name}": f"model.visual.{name}" for name in VISUAL_NAMES},
    **{f"model.visual.{name}": f"model.visual.{name}" for name in VISUAL_NAMES},
    **{f"model.{name}": f"model.language_model.{name}" for name in TEXT_NAMES},
    **{f"model.language_model.{name}": f"model.language_model.{name}" for name in TEXT_NAMES},
    HEAD: HEAD,
    "visual.rotary_pos_emb.inv_freq": None,
    "model.visual.rotary_pos_emb.inv_freq": None,
    "model.rotary_emb.inv_freq": None,
    "model.language_model.rotary_emb.inv_freq": None,
    "model.layers.{}.self_attn.rotary_emb.inv_freq": None,
}
_NUMBER = re.compile(r"(?<=blocks\.|layers\.)\d+(?=\.)")


def parameter_name(stored_name: str) -> str | None:
    """The parameter of a stored tensor, or None for one that is known and left out.

    Raises:
        KeyError: The name is of neither generation.
    """
    parameter = PARAMETER_OF[_NUMBER.sub("{}", stored_name)]
    number = _NUMBER.search(stored_name)
    return parameter and parameter.format(number and number[0])


def naming_generation(stored_names: Iterable[str]) -> str:
    """Which generation of names a checkpoint uses.

    Returns:
        ``"hub"``, ``"transformers 5"``, both of them joined by "and", or ``"either"`` when no
        name tells (both call the head ``lm_head.weight``).
    """
    found = set()
    for name in stored_names:
        if name.startswith(("model.visual.", "model.language_model.")):
            found.add(TRANSFORMERS_5)
        elif name.startswith(("visual.", "model.")):
            found.add(HUB)
    return " and ".join(sorted(found)) or EITHER


def expected_shapes(config: Qwen2VLConfig) -> dict[str, Shape]:
    """Names and shapes of all the model's parameters, without making any.

    They are those of ``Qwen2VLForConditionalGeneration`` of transformers 5.23, but for the patch
    embedding, whose Conv3d kernel [E, 3, 2, 14, 14] is used as a matrix [E, 1176]. A tied head is
    no parameter of its own.
    """
    text = config.text_config
    shapes = {f"model.visual.{n}": s for n, s in _visual_shapes(config.vision_config).items()}
    shapes |= {f"model.language_model.{n}": s for n, s in _text_shapes(text).items()}
    if not config.tie_word_embeddings:
        shapes[HEAD] = (text.vocab_size, text.hidden_size)
    return shapes


def _visual_shapes(config: Qwen2VLVisionConfig) -> dict[str, Shape]:
    width, inner = config.embed_dim, config.intermediate_size
    merged = width * config.spatial_merge_size**2
    shapes: dict[str, Shape] = {"patch_embed.proj.weight": (width, config.patch_dim)}
    block = {
        **_norm("norm1", width),
        **_linear("attn.qkv", width, 3 * width),
        **_linear("attn.proj", width, width),
        **_norm("norm2", width),
        **_linear("mlp.fc1", width, inner),
        **_linear("mlp.fc2", inner, width),
    }
    shapes |= _repeated("blocks", config.depth, block)
    shapes |= _norm("merger.ln_q", width) | _linear("merger.mlp.0", merged, merged)
    return shapes | _linear("merger.mlp.2", merged, config.hidden_size)


def _text_shapes(config: Qwen2VLTextConfig) -> dict[str, Shape]:
    width, inner = config.hidden_size, config.intermediate_size
    kv_width = config.num_key_value_heads * config.head_dim
    layer: dict[str, Shape] = {
        "input_layernorm.weight": (width,),
        **_linear("self_attn.q_proj", width, width),
        **_linear("self_attn.k_proj", width, kv_width),
        **_linear("self_attn.v_proj", width, kv_width),
        "self_attn.o_proj.weight": (width, width),
        "post_attention_layernorm.weight": (width,),
        "mlp.gate_proj.weight": (inner, width),
        "mlp.up_proj.weight": (inner, width),
        "mlp.down_proj.weight": (width, inner),
    }
    return {
        "embed_tokens.weight": (config.vocab_size, width),
        **_repeated("layers", config.num_hidden_layers, layer),
        "norm.weight": (width,),
    }


def _linear(name: str, inputs: int, outputs: int) -> dict[str, Shape]:
    """A matrix [outputs, inputs] with a bias."""
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def _norm(name: str, width: int) -> dict[str, Shape]:
    """A LayerNorm's gain and bias."""
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def _repeated(name: str, count: int, shapes: Mapping[str, Shape]) -> dict[str, Shape]:
    """The same shapes in each of `count` layers."""
    return {f"{name}.{i}.{key}": shape for i in range(count) for key, shape in shapes.items()}
