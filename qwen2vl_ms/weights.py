"""Strict loading: which stored tensor is which parameter.

Two generations of names are in use and both load:

    published checkpoints, and what transformers still writes    the port, as transformers 5 itself
    visual.*                                                     model.visual.*
    model.*                                                      model.language_model.*
    lm_head.weight                                               lm_head.weight

Everything has to fit: all that is missing, unexpected, misshapen or of another kind is one error.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from mindspore import Parameter, Tensor

from qwen2vl_ms.checkpoint import STORED_AS, SafetensorsFile, open_checkpoint
from qwen2vl_ms.errors import Qwen2VLError

if TYPE_CHECKING:
    from qwen2vl_ms.model import Qwen2VLForConditionalGeneration

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
HEAD = "lm_head.weight"
EMBEDDING = "model.language_model.embed_tokens.weight"
PATCHES = "model.visual.patch_embed.proj.weight"

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
Stored = Mapping[str, SafetensorsFile]


def load_weights(model: Qwen2VLForConditionalGeneration, folder: str | Path) -> None:
    """Fill every parameter of a model from a checkpoint folder, one tensor at a time.

    Args:
        model: Built from the checkpoint's configuration.
        folder: Holds safetensors in float32, float16 or bfloat16, in one file or sharded. The
            latter two are widened to float32, exactly.

    Raises:
        Qwen2VLError: One error that lists all that does not fit; the model is unchanged.
    """
    stored = open_checkpoint(folder)
    parameters = dict(model.parameters_and_names())
    sources, problems = _sources(stored, {*parameters, HEAD})
    problems += [f"{name} is missing" for name in sorted(set(parameters) - set(sources))]
    problems += _misfits(stored, sources, parameters)
    if not problems and HEAD not in parameters:  # tied: the head is the embedding
        problems += _head_differs(stored, sources)
    if problems:
        listed = "".join(f"\n  - {problem}" for problem in problems)
        raise Qwen2VLError(f"the weights in {folder} do not fit its configuration:{listed}")
    for name, parameter in parameters.items():
        values = stored[sources[name]].read(sources[name])
        parameter.set_data(Tensor(values.reshape(parameter.shape)))


def parameter_name(stored_name: str) -> str | None:
    """The parameter of a stored tensor, or None for one that is known and left out.

    Raises:
        KeyError: The name is of neither generation.
    """
    parameter = PARAMETER_OF[_NUMBER.sub("{}", stored_name)]
    number = _NUMBER.search(stored_name)
    return parameter and parameter.format(number and number[0])


def _sources(stored: Stored, known: set[str]) -> tuple[dict[str, str], list[str]]:
    """The stored name of each parameter, and the tensors that are none, or one twice."""
    sources: dict[str, str] = {}
    problems = []
    for name in sorted(stored):
        try:
            parameter = parameter_name(name)
        except KeyError:
            parameter = name
        if parameter in sources:
            problems.append(f"{name} is there twice, the other is {sources[parameter]}")
        elif parameter is not None and parameter not in known:
            problems.append(f"{name} is unexpected")
        elif parameter is not None:
            sources[parameter] = name
    return sources, problems


def _misfits(
    stored: Stored, sources: Mapping[str, str], parameters: Mapping[str, Parameter]
) -> Iterator[str]:
    """What has another shape than its parameter, or a dtype that is not loaded."""
    for name, source in sources.items():
        file = stored[source]
        shape = tuple(parameters[name if name in parameters else EMBEDDING].shape)
        found = file.shape(source)
        if name == PATCHES and len(found) == 5:  # a Conv3d's [E, 3, 2, 14, 14], used as [E, 1176]
            found = (found[0], math.prod(found[1:]))
        if found != shape:
            yield f"{source} has shape {list(file.shape(source))}, the model's is {list(shape)}"
        if file.dtype(source) not in STORED_AS:
            yield f"{source} is {file.dtype(source)}: {', '.join(STORED_AS)} are supported"


def _head_differs(stored: Stored, sources: Mapping[str, str]) -> Iterator[str]:
    """With tied embeddings a stored head has to equal the embedding."""
    if HEAD in sources:
        head, embedding = (stored[sources[n]].read(sources[n]) for n in (HEAD, EMBEDDING))
        if not np.array_equal(head, embedding):
            yield f"{HEAD} differs from {sources[EMBEDDING]}, and tie_word_embeddings is true"
