"""The seam that tools depend on: names of the cells, names of their arguments, replacement."""

from __future__ import annotations

import re
from typing import Any

import mindspore as ms
import numpy as np
import pytest

from qwen2vl_ms.tests import tiny

INPUTS = tiny.batch([("text", 2), ("image", (1, 4, 8)), ("text", 3)], [("text", 4)])
LAYER = {"hidden_states", "attention_mask", "position_embeddings", "cache"}
BLOCK = {"hidden_states", "cu_seqlens", "position_embeddings"}
# Cells that are called with named arguments; all others get one positional argument.
NAMED = {
    "model.visual": {"hidden_states", "grid_thw"},
    "model.visual.patch_embed": {"hidden_states"},
    "model.visual.rotary_pos_emb": {"position_ids"},
    "model.visual.blocks.N": BLOCK,
    "model.visual.blocks.N.attn": BLOCK,
    "model.language_model": {"inputs_embeds", "position_ids", "attention_mask", "cache"},
    "model.language_model.rotary_emb": {"position_ids"},
    "model.language_model.layers.N": LAYER,
    "model.language_model.layers.N.self_attn": LAYER,
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    """The candidate and the reference."""
    reference = tiny.reference_model()
    return tiny.candidate_model(reference, tmp_path_factory.mktemp("hooks")), reference


def watched(
    model: Any, inputs: dict[str, Any]
) -> dict[str, tuple[tuple[Any, ...], dict[str, Any]]]:
    """The arguments of every cell during a run."""
    seen: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {}
    handles = []
    for name, cell in model.cells_and_names():

        def hook(_: Any, args: Any, kwargs: Any, name: str = name) -> Any:
            seen[name] = (args, kwargs)
            return args, kwargs

        handles.append(cell.register_forward_pre_hook(hook, with_kwargs=True))
    model(**inputs)
    for handle in handles:
        handle.remove()
    return seen


def pattern(name: str) -> str:
    return re.sub(r"(?<=blocks\.|layers\.)\d+", "N", name)


def test_cells_are_named_like_the_references_modules(models: tuple[Any, Any]) -> None:
    candidate, reference = models
    cells = {name for name, _ in candidate.cells_and_names()}
    modules = {name for name, _ in reference.named_modules()}
    assert cells - modules == set()
    # Activations without parameters are functions here.
    assert {pattern(name) for name in modules - cells} == {
        "model.visual.blocks.N.mlp.act",
        "model.language_model.layers.N.mlp.act_fn",
    }


def test_arguments_have_the_agreed_names(models: tuple[Any, Any]) -> None:
    seen = watched(models[0], {**INPUTS, "cache": models[0].make_cache(2, 40)})
    called = {name for name, _ in models[0].cells_and_names()} - {
        *("model.visual.blocks", "model.language_model.layers")  # lists
    }
    assert set(seen) == called
    for name, (args, kwargs) in seen.items():
        if name in ("", "model"):
            continue
        assert set(kwargs) == NAMED.get(pattern(name), set()), name
        assert len(args) == (0 if kwargs else 1), name


def test_integers_are_arrays_and_floats_are_tensors(models: tuple[Any, Any]) -> None:
    seen = {name: kwargs for name, (_, kwargs) in watched(models[0], INPUTS).items()}
    length = INPUTS["input_ids"].shape[1]
    text, block = seen["model.language_model"], seen["model.visual.blocks.1"]
    assert text["position_ids"].dtype == np.int64
    assert text["position_ids"].shape == (3, 2, length)
    assert text["attention_mask"].shape == (2, length)
    assert seen["model.visual"]["grid_thw"].dtype == np.int64
    assert seen["model.visual.rotary_pos_emb"]["position_ids"].shape == (32, 2)
    assert block["cu_seqlens"].dtype == np.int32
    assert [t.shape for t in block["position_embeddings"]] == [(32, 20)] * 2
    layer = seen["model.language_model.layers.1"]
    assert layer["attention_mask"].shape == (2, 1, length, length)
    assert layer["attention_mask"].dtype == ms.float32
    assert [t.shape for t in layer["position_embeddings"]] == [(2, length, 16)] * 2


def test_a_replaced_argument_takes_effect(models: tuple[Any, Any]) -> None:
    candidate, _ = models
    cell = candidate.model.visual.blocks[1]
    free = candidate(**INPUTS).logits.asnumpy()
    zeros = ms.Tensor(np.zeros((32, 80), np.float32))
    handle = cell.register_forward_pre_hook(
        lambda _, args, kwargs: (args, {**kwargs, "hidden_states": zeros}), with_kwargs=True
    )
    replaced = candidate(**INPUTS).logits.asnumpy()
    handle.remove()
    # The image is in the first row; the second is text.
    assert tiny.error(replaced[0], free[0]) > 1e-2
    np.testing.assert_array_equal(replaced[1], free[1])
    np.testing.assert_array_equal(candidate(**INPUTS).logits.asnumpy(), free)
