"""The language model's modules on random inputs, against float64, with and without a cache."""

from __future__ import annotations

from typing import Any

import mindspore as ms
import numpy as np
import pytest
import torch
from transformers import DynamicCache
from transformers.masking_utils import eager_mask

from qwen2vl_ms.cache import KVCache
from qwen2vl_ms.tests import tiny

BATCH, TOKENS, WIDTH = 2, 11, 64
LIMIT = 3.0  # of PyTorch's own error; measured: at most 1.6


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    """The whole candidate and the whole reference."""
    reference = tiny.reference_model(seed=1)
    return tiny.candidate_model(reference, tmp_path_factory.mktemp("text")), reference


@pytest.fixture
def cache(pair: tuple[Any, Any]) -> KVCache:
    """An empty one with room to spare."""
    cache: KVCache = pair[0].make_cache(BATCH, TOKENS + 5)
    return cache


@pytest.fixture(scope="module")
def models(pair: tuple[Any, Any]) -> tuple[Any, Any, Any]:
    """The language model of the candidate, of the reference and of the reference in float64."""
    candidate, reference = pair
    truth = tiny.truth_model(reference)
    return tuple(m.model.language_model for m in (candidate, reference, truth))  # type: ignore[return-value]


def hidden() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((BATCH, TOKENS, WIDTH)).astype(np.float32)


def positions() -> np.ndarray:
    """Three different rows, as in the middle of an image."""
    return np.random.default_rng(1).integers(0, 60, (3, BATCH, TOKENS))


def padding() -> np.ndarray:
    mask = np.ones((BATCH, TOKENS), np.int64)
    mask[0, :3] = 0
    return mask


def arguments(reference: Any) -> dict[str, torch.Tensor]:
    """What a decoder layer gets beside the hidden states."""
    mask = eager_mask(BATCH, TOKENS, TOKENS, attention_mask=torch.from_numpy(padding()).bool())
    tables = reference.rotary_emb(torch.zeros(1), torch.from_numpy(positions()))
    return {"attention_mask": mask, "position_embeddings": tables}


MODULES = {
    "norm": False,
    "layers.0.input_layernorm": False,
    "layers.0.mlp": False,
    "layers.0.mlp.up_proj": False,
    "layers.0.self_attn.k_proj": False,
    "layers.0.self_attn": True,
    "layers.1": True,
}


@pytest.mark.parametrize("name", MODULES)
def test_a_module_is_as_good_as_pytorchs(models: tuple[Any, Any, Any], name: str) -> None:
    candidate, reference, truth = models
    x, named = torch.from_numpy(hidden()), arguments(reference) if MODULES[name] else {}
    with torch.no_grad(), tiny.Widened():
        theirs = reference.get_submodule(name)(x, **named)
        wide = {k: tiny.to_truth(v) for k, v in named.items()}
        exact = truth.get_submodule(name)(x.double(), **wide)
    ours_named = {k: tiny.to_candidate(v) for k, v in named.items()}
    ours = dict(candidate.cells_and_names())[name](ms.Tensor(hidden()), **ours_named).asnumpy()
    if isinstance(theirs, tuple):  # attention returns its weights too
        theirs, exact = theirs[0], exact[0]
    assert tiny.ratio(ours, theirs, exact) <= LIMIT


def run(candidate: Any, part: slice, cache: KVCache | None, **changes: Any) -> np.ndarray:
    """The candidate's output for some columns, after those in the cache."""
    inputs = {
        "inputs_embeds": ms.Tensor(hidden()[:, part]),
        "position_ids": positions()[:, :, part],
        "attention_mask": padding()[:, : part.stop],
        "cache": cache,
        **changes,
    }
    return candidate(**inputs).asnumpy()


@pytest.fixture(scope="module")
def expected(models: tuple[Any, Any, Any]) -> tuple[np.ndarray, np.ndarray]:
    """The final hidden states of the reference in float32 and in float64."""
    _, reference, truth = models
    named = {
        "position_ids": torch.from_numpy(positions()),
        "attention_mask": torch.from_numpy(padding()),
        "use_cache": False,
    }
    x = torch.from_numpy(hidden())
    with torch.no_grad(), tiny.Widened():
        theirs = reference(inputs_embeds=x, **named).last_hidden_state.numpy()
        return theirs, truth(inputs_embeds=x.double(), **named).last_hidden_state.numpy()


def test_the_whole_stack(models: tuple[Any, Any, Any], expected: Any) -> None:
    ours = run(models[0], slice(0, TOKENS), None)
    assert tiny.ratio(ours, *expected) <= LIMIT


def test_chunks_through_a_cache_give_the_same(
    models: tuple[Any, Any, Any], cache: KVCache, expected: Any
) -> None:
    done, parts = 0, []
    for stop in (4, 5, 9, TOKENS):
        assert cache.length == done
        parts.append(run(models[0], slice(done, stop), cache))
        done = stop
    kept = padding() == 1  # a padded row averages all keys that are there, and fewer were
    sides = (np.concatenate(parts, axis=1), *expected)
    assert tiny.ratio(*(side[kept] for side in sides)) <= LIMIT


@pytest.mark.parametrize(
    "fault",
    [
        {"position_ids": positions()[[0, 2, 1]]},
        {"position_ids": np.broadcast_to(positions()[:1], (3, BATCH, TOKENS))},
        {"attention_mask": None},
    ],
    ids=["sections swapped", "one row for all", "padding attended to"],
)
def test_a_fault_is_far_over_the_limit(
    models: tuple[Any, Any, Any], expected: Any, fault: dict[str, Any]
) -> None:
    ours = run(models[0], slice(0, TOKENS), None, **fault)
    assert tiny.ratio(ours, *expected) > 1000 * LIMIT


def test_the_cache_holds_what_the_references_does(
    models: tuple[Any, Any, Any], cache: KVCache
) -> None:
    candidate, reference, _ = models
    theirs = DynamicCache()
    run(candidate, slice(0, TOKENS), cache)
    with torch.no_grad():
        reference(
            inputs_embeds=torch.from_numpy(hidden()),
            position_ids=torch.from_numpy(positions()),
            attention_mask=torch.from_numpy(padding()),
            past_key_values=theirs,
        )
    for ours, layer in zip(cache.layers, theirs.layers, strict=True):
        for own, other in ((ours.key, layer.keys), (ours.value, layer.values)):
            written, rest = np.split(own.asnumpy(), [TOKENS], axis=2)
            np.testing.assert_allclose(written, other.numpy(), rtol=1e-4, atol=1e-4)
            assert not rest.any()
