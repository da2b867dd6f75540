"""The whole model against the reference: prompts of every kind, and decoding."""

from __future__ import annotations

import re
from typing import Any

import mindspore as ms
import numpy as np
import pytest
import torch
from transformers import DynamicCache

from qwen2vl_ms import Qwen2VLError
from qwen2vl_ms.tests import tiny

LIMIT = 3.0  # of PyTorch's own error; measured: at most 1.5
STEPS = 6

IMAGE, OTHER, CLIP = ("image", (1, 4, 8)), ("image", (1, 6, 4)), ("video", (3, 4, 6))
CASES = {
    "single image": [[("text", 4), IMAGE, ("text", 3)]],
    "two images": [[("text", 2), IMAGE, ("text", 3), OTHER, ("text", 2)]],
    "video": [[("text", 2), CLIP, ("text", 4)]],
    "left-padded batch": [
        [("text", 2), IMAGE, ("text", 3), CLIP, ("text", 2)],
        [("text", 3), OTHER, ("text", 1)],
        [("text", 5)],
    ],
    "text only": [[("text", 9)]],
    "left-padded text": [[("text", 9)], [("text", 4)]],
}


@pytest.fixture(scope="module", params=[False, True], ids=["untied", "tied"])
def models(request: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any, Any]:
    """The candidate, the reference, and the reference in float64."""
    reference = tiny.reference_model(tied=request.param)
    candidate = tiny.candidate_model(reference, tmp_path_factory.mktemp("model"))
    return candidate, reference, tiny.truth_model(reference)


def reference_logits(model: Any, inputs: dict[str, Any], dtype: torch.dtype, **more: Any) -> Any:
    arguments = {
        key: value.to(dtype) if value.is_floating_point() else value
        for key, value in tiny.tensors(inputs).items()
    }
    model.model.rope_deltas = None  # the reference keeps the last call's
    with torch.no_grad(), tiny.Widened():
        return model(**arguments, use_cache=bool(more), **more).logits.numpy()


@pytest.mark.parametrize("case", CASES)
def test_logits(models: tuple[Any, Any, Any], case: str) -> None:
    candidate, reference, truth = models
    inputs = tiny.batch(*CASES[case])
    ours = candidate(**inputs)
    theirs = reference_logits(reference, inputs, torch.float32)
    exact = reference_logits(truth, inputs, torch.float64)
    assert tiny.ratio(ours.logits.asnumpy(), theirs, exact) <= LIMIT
    if reference.model.rope_deltas is not None:
        np.testing.assert_array_equal(ours.rope_deltas, reference.model.rope_deltas.numpy())
    assert ours.cache is None


def teacher(step: int, batch: int) -> np.ndarray:
    """The tokens that both sides are given at a decoding step."""
    return np.random.default_rng(step).integers(2, 90, (batch, 1))


def decode_reference(model: Any, inputs: dict[str, Any], dtype: torch.dtype) -> list[np.ndarray]:
    """Logits of the prompt's last token and of each step, positions as ``generate`` has them."""
    cache, mask = DynamicCache(), inputs["attention_mask"]
    logits = [reference_logits(model, inputs, dtype, past_key_values=cache)]
    deltas = model.model.rope_deltas
    for step in range(STEPS):
        mask = np.pad(mask, ((0, 0), (0, 1)), constant_values=1)
        index = torch.from_numpy(mask.cumsum(1)[:, -1:] - 1)
        with torch.no_grad(), tiny.Widened():
            output = model(
                input_ids=torch.from_numpy(teacher(step, len(mask))),
                attention_mask=torch.from_numpy(mask),
                position_ids=(index + deltas).expand(3, -1, -1),
                past_key_values=cache,
            )
        logits.append(output.logits.numpy())
    return [step[:, -1] for step in logits]


def decode_candidate(model: Any, inputs: dict[str, Any], lose: str = "") -> list[np.ndarray]:
    """The same from the candidate; `lose` names an argument that is dropped when decoding."""
    mask = inputs["attention_mask"]
    batch, length = mask.shape
    output = model(**inputs, cache=model.make_cache(batch, length + STEPS))
    logits = [output.logits.asnumpy()[:, -1]]
    for step in range(STEPS):
        mask = np.pad(mask, ((0, 0), (0, 1)), constant_values=1)
        arguments = {
            "attention_mask": mask,
            "cache": output.cache,
            "rope_deltas": output.rope_deltas,
        }
        arguments.pop(lose, None)
        output = model(input_ids=teacher(step, len(mask)), **arguments)
        logits.append(output.logits.asnumpy()[:, -1])
    return logits


@pytest.mark.parametrize("case", ["two images", "left-padded batch"])
def test_decoding(models: tuple[Any, Any, Any], case: str) -> None:
    candidate, reference, truth = models
    inputs = tiny.batch(*CASES[case])
    ours = decode_candidate(candidate, inputs)
    theirs = decode_reference(reference, inputs, torch.float32)
    exact = decode_reference(truth, inputs, torch.float64)
    assert len(ours) == STEPS + 1
    ratios = [tiny.ratio(*sides) for sides in zip(ours, theirs, exact, strict=True)]
    assert all(r <= LIMIT for r in ratios), ratios
    lost = decode_candidate(candidate, inputs, lose="rope_deltas")
    assert tiny.ratio(lost[-1], theirs[-1], exact[-1]) > 1000 * LIMIT


def test_decoding_padded_text_goes_on_where_the_prompt_ended(
    models: tuple[Any, Any, Any],
) -> None:
    """The reference's ``forward`` counts columns, in the prompt and after it; so do the deltas."""
    candidate, reference, _ = models
    inputs = tiny.batch(*CASES["left-padded text"])
    cache, ids = DynamicCache(), teacher(0, 2)
    reference_logits(reference, inputs, torch.float32, past_key_values=cache)
    mask = np.pad(inputs["attention_mask"], ((0, 0), (0, 1)), constant_values=1)
    following = {"input_ids": ids, "attention_mask": mask}
    theirs = reference_logits(reference, following, torch.float32, past_key_values=cache)
    output = candidate(**inputs, cache=candidate.make_cache(2, mask.shape[1]))
    ours = candidate(**following, cache=output.cache, rope_deltas=output.rope_deltas)
    assert tiny.error(ours.logits.asnumpy(), theirs) < 1e-5


def test_two_prompts_do_not_mix(models: tuple[Any, Any, Any]) -> None:
    """What a call returns depends on its arguments alone."""
    candidate, _, _ = models
    first, second = (tiny.batch(*CASES[c], seed=7) for c in ("two images", "video"))
    alone = decode_candidate(candidate, first)
    decode_candidate(candidate, second)
    np.testing.assert_array_equal(decode_candidate(candidate, first), alone)


def test_tensors_and_arrays_are_the_same(models: tuple[Any, Any, Any]) -> None:
    candidate, _, _ = models
    inputs = tiny.batch(*CASES["left-padded batch"])
    from_tensors = candidate(**{name: ms.Tensor(value) for name, value in inputs.items()})
    np.testing.assert_array_equal(
        from_tensors.logits.asnumpy(), candidate(**inputs).logits.asnumpy()
    )


def test_given_positions_are_used(models: tuple[Any, Any, Any]) -> None:
    candidate, _, _ = models
    inputs = tiny.batch(*CASES["two images"])
    computed = candidate(**inputs)
    length = inputs["input_ids"].shape[1]
    flat = np.tile(np.arange(length), (3, 1, 1))
    given = candidate(**inputs, position_ids=flat)
    assert tiny.error(given.logits.asnumpy(), computed.logits.asnumpy()) > 1e-2
    assert given.rope_deltas.tolist() == [[0]]


BASE = tiny.batch([("text", 2), IMAGE, ("text", 2)])
LENGTH = BASE["input_ids"].shape[1]
BROKEN: dict[str, dict[str, Any]] = {
    "input_ids hold 7 image tokens ([7] in the rows), and the images give 8 features": {
        "input_ids": np.where(np.arange(LENGTH) == 3, 5, BASE["input_ids"])
    },
    "the image pixels and image_grid_thw go together": {"pixel_values": None},
    "without mm_token_type_ids": {"mm_token_type_ids": None},
    "input_ids has shape (12,): it has to be [batch, tokens]": {"input_ids": np.zeros(12, int)},
    "input_ids has dtype float64": {"input_ids": np.zeros((1, LENGTH))},
    f"input_ids has an id of 200 at [0, 1], the vocabulary ends at {tiny.VOCABULARY - 1}": {
        "input_ids": np.where(np.arange(LENGTH) == 1, 200, BASE["input_ids"])
    },
    f"attention_mask has shape (1, 3): with these input_ids and 0 cached tokens it has to be "
    f"(1, {LENGTH})": {"attention_mask": np.ones((1, 3), int)},
    f"position_ids has shape (1, {LENGTH})": {"position_ids": np.ones((1, LENGTH), int)},
    "rope_deltas has shape (2, 1)": {"rope_deltas": np.ones((2, 1), int)},
    "image_grid_thw has shape (3,)": {"image_grid_thw": np.array([1, 4, 8])},
    "pixel values have shape (4, 1176)": {"pixel_values": np.zeros((4, 1176), np.float32)},
}


@pytest.mark.parametrize("message", BROKEN)
def test_arguments_that_do_not_fit(models: tuple[Any, Any, Any], message: str) -> None:
    with pytest.raises(Qwen2VLError, match=re.escape(message)):
        models[0](**{**BASE, **BROKEN[message]})


def test_images_after_a_cached_prompt_need_positions(models: tuple[Any, Any, Any]) -> None:
    cache = models[0](**BASE, cache=models[0].make_cache(1, 2 * LENGTH)).cache
    mask = np.ones((1, 2 * LENGTH), np.int64)
    with pytest.raises(Qwen2VLError, match=f"a cache that holds {LENGTH} tokens"):
        models[0](**{**BASE, "attention_mask": mask}, cache=cache)


def test_what_does_not_fit_the_cache(models: tuple[Any, Any, Any]) -> None:
    candidate = models[0]
    with pytest.raises(Qwen2VLError, match=f"{LENGTH} tokens do not fit: the cache holds 0 of at"):
        candidate(**BASE, cache=candidate.make_cache(1, LENGTH - 1))
    with pytest.raises(Qwen2VLError, match="a batch of 1 with a cache made for 2 rows"):
        candidate(**BASE, cache=candidate.make_cache(2, LENGTH))
    with pytest.raises(Qwen2VLError, match="a cache for 1 rows of 0 tokens"):
        candidate.make_cache(1, 0)


@pytest.mark.parametrize("case", ["two images", "left-padded batch"])
@pytest.mark.parametrize("size", [1, 5])
def test_a_prompt_in_chunks_gives_the_same(
    models: tuple[Any, Any, Any], case: str, size: int
) -> None:
    candidate, inputs = models[0], tiny.batch(*CASES[case])
    batch, length = inputs["input_ids"].shape
    whole = candidate(**inputs, logits_to_keep=1)
    parts = candidate(
        **inputs, cache=candidate.make_cache(batch, length), chunk_size=size, logits_to_keep=1
    )
    assert parts.logits.shape == (batch, 1, tiny.VOCABULARY)
    assert tiny.error(parts.logits.asnumpy(), whole.logits.asnumpy()) < 1e-5
    np.testing.assert_array_equal(parts.rope_deltas, whole.rope_deltas)


def test_the_last_logits_alone_are_the_same(models: tuple[Any, Any, Any]) -> None:
    inputs = tiny.batch(*CASES["two images"])
    every, last = (models[0](**inputs, logits_to_keep=n).logits.asnumpy() for n in (0, 3))
    assert tiny.error(last, every[:, -3:]) < 1e-6
    assert last.shape[1] == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"chunk_size": 4}, "chunk_size needs a cache"), ({"chunk_size": 0}, "chunk_size is 0")],
)
def test_chunks_that_cannot_be(
    models: tuple[Any, Any, Any], arguments: dict[str, int], message: str
) -> None:
    cache = None if arguments["chunk_size"] else models[0].make_cache(1, LENGTH)
    with pytest.raises(Qwen2VLError, match=message):
        models[0](**BASE, **arguments, cache=cache)
