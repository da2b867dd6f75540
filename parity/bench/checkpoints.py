"""Random weights of the real widths, as checkpoint folders that every contestant loads its own way.

Few layers and a vocabulary of 64, since a layer costs what a layer costs; the numbers follow from
the parameters' names alone.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from parity.settings import FIXTURES

VOCABULARY = 64
HEAD = 128
SHAPES: Mapping[str, Mapping[str, int]] = {
    # Vision tower of the real width; the least text model that fits under it.
    "vision": {"depth": 2, "embed_dim": 1280, "vision_heads": 16, "hidden": 1536, "heads": 12,
               "kv_heads": 2, "mlp": 64, "layers": 1},
    # Two decoder layers of the 2B size; the least vision tower that fits beside them.
    "decoder": {"depth": 1, "embed_dim": 32, "vision_heads": 2, "hidden": 1536, "heads": 12,
                "kv_heads": 2, "mlp": 8960, "layers": 2},
    # What the harness's own cost is measured on: both towers of a middle size.
    "middle": {"depth": 8, "embed_dim": 512, "vision_heads": 8, "hidden": 512, "heads": 4,
               "kv_heads": 2, "mlp": 1408, "layers": 8},
    # For tests of the machinery.
    "toy": {"depth": 1, "embed_dim": 32, "vision_heads": 2, "hidden": 256, "heads": 2,
            "kv_heads": 1, "mlp": 48, "layers": 1},
}  # fmt: skip


def folder_of(name: str, scratch: Path) -> Path:
    """The checkpoint folder called ``name``, written into ``scratch`` if it is not there."""
    if name == "tiny":
        return FIXTURES / "qwen2vl-tiny"
    folder = scratch / name
    if not folder.exists():
        write(SHAPES[name], folder)
    return folder


def write(shape: Mapping[str, int], folder: Path) -> None:
    """Write a checkpoint of ``shape``."""
    from safetensors.numpy import save_file

    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config(shape), indent=2), encoding="utf-8")
    tensors = {name: weight(name, size) for name, size in parameters(shape).items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def config(shape: Mapping[str, int]) -> dict[str, Any]:
    """The contents of its ``config.json``, in the hub's layout."""
    return {
        "architectures": ["Qwen2VLForConditionalGeneration"],
        "model_type": "qwen2_vl",
        "bos_token_id": 1,
        "eos_token_id": 2,
        "vision_start_token_id": 60,
        "vision_end_token_id": 61,
        "image_token_id": 62,
        "video_token_id": 63,
        "hidden_act": "silu",
        "hidden_size": shape["hidden"],
        "intermediate_size": shape["mlp"],
        "num_attention_heads": shape["heads"],
        "num_hidden_layers": shape["layers"],
        "num_key_value_heads": shape["kv_heads"],
        "max_position_embeddings": 32768,
        "rms_norm_eps": 1e-6,
        "rope_theta": 1000000.0,
        "rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]},
        "tie_word_embeddings": False,
        "use_sliding_window": False,
        "vocab_size": VOCABULARY,
        "torch_dtype": "float32",
        "vision_config": {
            "depth": shape["depth"],
            "embed_dim": shape["embed_dim"],
            "hidden_size": shape["hidden"],
            "num_heads": shape["vision_heads"],
            "mlp_ratio": 4,
            "in_chans": 3,
            "hidden_act": "quick_gelu",
            "patch_size": 14,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
        },
    }


def parameters(
    shape: Mapping[str, int], vocabulary: int = VOCABULARY
) -> dict[str, tuple[int, ...]]:
    """Name and shape of every parameter, by the hub's names."""
    found: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (vocabulary, shape["hidden"]),
        "model.norm.weight": (shape["hidden"],),
        "lm_head.weight": (vocabulary, shape["hidden"]),
        "visual.patch_embed.proj.weight": (shape["embed_dim"], 3, 2, 14, 14),
    }
    for index in range(shape["depth"]):
        found |= _prefixed(f"visual.blocks.{index}.", _vision_block(shape["embed_dim"]))
    found |= _prefixed("visual.merger.", _merger(shape["embed_dim"], shape["hidden"]))
    for index in range(shape["layers"]):
        found |= _prefixed(f"model.layers.{index}.", _decoder_layer(shape))
    return found


def _prefixed(prefix: str, names: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    return {prefix + name: size for name, size in names.items()}


def _linear(name: str, inputs: int, outputs: int, bias: bool = True) -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {f"{name}.weight": (outputs, inputs)}
    return {**found, f"{name}.bias": (outputs,)} if bias else found


def _vision_block(width: int) -> dict[str, tuple[int, ...]]:
    return {
        "norm1.weight": (width,), "norm1.bias": (width,),
        "norm2.weight": (width,), "norm2.bias": (width,),
        **_linear("attn.qkv", width, 3 * width), **_linear("attn.proj", width, width),
        **_linear("mlp.fc1", width, 4 * width), **_linear("mlp.fc2", 4 * width, width),
    }  # fmt: skip


def _merger(width: int, hidden: int) -> dict[str, tuple[int, ...]]:
    return {
        "ln_q.weight": (width,), "ln_q.bias": (width,),
        **_linear("mlp.0", 4 * width, 4 * width), **_linear("mlp.2", 4 * width, hidden),
    }  # fmt: skip


def _decoder_layer(shape: Mapping[str, int]) -> dict[str, tuple[int, ...]]:
    hidden, mlp, kv = shape["hidden"], shape["mlp"], shape["kv_heads"] * HEAD
    return {
        "input_layernorm.weight": (hidden,), "post_attention_layernorm.weight": (hidden,),
        **_linear("self_attn.q_proj", hidden, hidden), **_linear("self_attn.k_proj", hidden, kv),
        **_linear("self_attn.v_proj", hidden, kv),
        **_linear("self_attn.o_proj", hidden, hidden, bias=False),
        **_linear("mlp.gate_proj", hidden, mlp, bias=False),
        **_linear("mlp.up_proj", hidden, mlp, bias=False),
        **_linear("mlp.down_proj", mlp, hidden, bias=False),
    }  # fmt: skip


def weight(name: str, size: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """The values of one parameter: matrices keep the size of what they multiply."""
    values = random(name, size)
    if len(size) > 1:
        return values / np.float32(np.sqrt(np.prod(size[1:])))
    # The only weights of one axis are the norms', which are near 1; biases are near 0.
    return np.float32(0.1) * values + np.float32(name.endswith(".weight"))


def random(name: str, size: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """Normal numbers that follow from ``name``."""
    generator = np.random.default_rng(zlib.crc32(name.encode()))
    return generator.standard_normal(size, dtype=np.float32)
