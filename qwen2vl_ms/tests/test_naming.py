"""Names and shapes of every parameter: of the real sizes too, without allocating any."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
import transformers

from qwen2vl_ms import Qwen2VLConfig
from qwen2vl_ms.naming import (
    HEAD,
    PATCHES,
    Shape,
    expected_shapes,
    naming_generation,
    parameter_name,
)
from qwen2vl_ms.tests import tiny
from qwen2vl_ms.tests.published import CONFIGS


def reference_shapes(values: dict[str, Any]) -> dict[str, Shape]:
    """Names and shapes of the reference's parameters, made on the meta device."""
    config = transformers.Qwen2VLConfig(**copy.deepcopy(values))
    with torch.device("meta"):
        model = transformers.Qwen2VLForConditionalGeneration(config)
    model.tie_weights()  # on the meta device the head is made of its own first
    assert all(p.device.type == "meta" for p in model.parameters())
    shapes = {name: tuple(p.shape) for name, p in model.named_parameters()}
    rows, *kernel = shapes[PATCHES]
    assert kernel == [3, 2, 14, 14]
    return {**shapes, PATCHES: (rows, math.prod(kernel))}


# Parameters of the published checkpoints, as the hub counts them.
COUNTS = {"2B": 2_208_985_600, "7B": 8_291_375_616, "72B": 73_405_560_320}


@pytest.mark.parametrize("size", CONFIGS)
def test_the_published_sizes_are_the_references(size: str) -> None:
    ours = expected_shapes(Qwen2VLConfig.from_dict(CONFIGS[size]))
    reference = reference_shapes(CONFIGS[size])
    assert ours == reference
    assert (HEAD in ours) == (size != "2B")
    assert sum(map(math.prod, ours.values())) == COUNTS[size]


def test_a_wrong_size_is_seen() -> None:
    ours = expected_shapes(Qwen2VLConfig.from_dict(CONFIGS["2B"]))
    other = {**copy.deepcopy(CONFIGS["2B"]), "num_key_value_heads": 4}
    different = {name for name, shape in reference_shapes(other).items() if ours[name] != shape}
    kinds = [f"{kind}_proj.{part}" for kind in "kv" for part in ("weight", "bias")]
    layers = range(CONFIGS["2B"]["num_hidden_layers"])
    prefix = "model.language_model.layers"
    assert different == {f"{prefix}.{i}.self_attn.{kind}" for i in layers for kind in kinds}


@pytest.mark.parametrize("tied", [True, False])
def test_the_cells_have_these_parameters(tied: bool) -> None:
    from qwen2vl_ms.model import Qwen2VLForConditionalGeneration

    tiny.start()
    for change in ({}, {"num_hidden_layers": 3, "num_key_value_heads": 1, "vocab_size": 99}):
        config = Qwen2VLConfig.from_dict(tiny.reference_config(tied, **change).to_dict())
        cells = Qwen2VLForConditionalGeneration(config).parameters_and_names()
        assert {name: tuple(p.shape) for name, p in cells} == expected_shapes(config)


def test_every_parameter_is_stored_under_its_name() -> None:
    for values in CONFIGS.values():
        for name in expected_shapes(Qwen2VLConfig.from_dict(values)):
            hub = name.replace("model.visual.", "visual.").replace("language_model.", "")
            assert parameter_name(name) == parameter_name(hub) == name


def test_generations_are_told_apart() -> None:
    assert naming_generation(["visual.merger.ln_q.bias", "model.norm.weight", HEAD]) == "hub"
    newer = ["model.visual.merger.ln_q.bias", "model.language_model.norm.weight", HEAD]
    assert naming_generation(newer) == "transformers 5"
    assert naming_generation([*newer, "visual.merger.ln_q.bias"]) == "hub and transformers 5"
    assert naming_generation([HEAD]) == "either"
