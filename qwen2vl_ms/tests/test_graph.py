"""Compiled blocks compute what the same code computes op by op, and keep to static shapes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mindspore as ms
import numpy as np
import pytest

from qwen2vl_ms import Qwen2VLForConditionalGeneration
from qwen2vl_ms.tests import tiny

IMAGE, TALL, CLIP = ("image", (1, 4, 8)), ("image", (1, 6, 4)), ("video", (3, 4, 6))
PROMPTS = {
    "two images": [[("text", 3), IMAGE, ("text", 2), TALL, ("text", 4)]],
    "left-padded batch": [[("text", 2), TALL, ("text", 3)], [("text", 4), CLIP, ("text", 2)]],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tiny.start()
    return tiny.saved(tiny.reference_model(seed=4), tmp_path_factory.mktemp("graph"))


def both(folder: Path, policy: str) -> list[Any]:
    """The port op by op, and compiled."""
    load = Qwen2VLForConditionalGeneration.from_pretrained
    return [load(folder, policy, jit=jit) for jit in (False, True)]


@pytest.fixture(scope="module")
def pair(folder: Path) -> list[Any]:
    return both(folder, "fp32")


def logits(model: Any, inputs: dict[str, Any], steps: int = 0) -> list[np.ndarray]:
    """Of the prompt, and of each of ``steps`` greedy steps after it."""
    mask = inputs["attention_mask"]
    cache = model.make_cache(len(mask), mask.shape[1] + steps) if steps else None
    output = model(**inputs, cache=cache)
    found = [output.logits.astype(ms.float32).asnumpy()[:, -1]]
    for _ in range(steps):
        mask = np.pad(mask, ((0, 0), (0, 1)), constant_values=1)
        output = model(
            input_ids=found[-1].argmax(-1)[:, None],
            attention_mask=mask,
            cache=cache,
            rope_deltas=output.rope_deltas,
        )
        found.append(output.logits.astype(ms.float32).asnumpy()[:, -1])
    return found


@pytest.mark.parametrize("policy", ["fp32", "bf16"])
def test_a_graph_gives_the_same(folder: Path, pair: list[Any], policy: str) -> None:
    """In bfloat16 too: a compiler that drops a rounding would change a good part of the bits."""
    models = pair if policy == "fp32" else both(folder, policy)
    inputs = tiny.batch(*PROMPTS["left-padded batch"])
    op_by_op, compiled = (logits(model, inputs, steps=3) for model in models)
    for one, other in zip(op_by_op, compiled, strict=True):
        np.testing.assert_array_equal(one.argmax(-1), other.argmax(-1))
        assert tiny.error(other, one) < 1e-5


def graphs() -> int:
    """How many the framework has compiled in this process."""
    from mindspore.graph import api

    return len(api.ms_compile_cache)


@pytest.mark.slow
def test_steps_compile_nothing_anew(pair: list[Any]) -> None:
    """The cache's shapes never change, so a step's graphs serve all steps of that cache."""
    compiled, inputs = pair[1], tiny.batch([("text", 3), IMAGE, ("text", 5)])
    logits(compiled, inputs, steps=7)
    before = graphs()
    logits(compiled, inputs, steps=7)
    assert graphs() == before
    logits(compiled, inputs, steps=8)  # a longer cache is another shape
    assert graphs() > before


@pytest.mark.slow
def test_a_prompt_in_chunks_gives_the_same(pair: list[Any]) -> None:
    inputs = tiny.batch(*PROMPTS["left-padded batch"])
    batch, length = inputs["input_ids"].shape
    one, other = (
        model(**inputs, cache=model.make_cache(batch, length), chunk_size=6, logits_to_keep=1)
        for model in pair
    )
    values = [output.logits.astype(ms.float32).asnumpy() for output in (one, other)]
    assert tiny.error(values[1], values[0]) < 1e-5


def test_hooks_on_blocks_work(pair: list[Any]) -> None:
    """Also those that are registered after the blocks were compiled."""
    compiled, inputs = pair[1], tiny.batch(*PROMPTS["two images"])
    free = logits(compiled, inputs)[0]
    seen = []
    cells = dict(compiled.cells_and_names())
    blocks = ("model.visual.blocks.1", "model.language_model.layers.1")
    handles = [cells[b].register_forward_hook(lambda *a, b=b: seen.append(b)) for b in blocks]
    handles.append(
        cells[blocks[1]].register_forward_hook(lambda _cell, _args, output: output * 0.5)
    )
    replaced = logits(compiled, inputs)[0]
    for handle in handles:
        handle.remove()
    assert seen == list(blocks)
    assert tiny.error(replaced, free) < 1.0
    np.testing.assert_array_equal(logits(compiled, inputs)[0], free)


def test_a_large_image_is_not_compiled(pair: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Attention in parts as one graph would hold the memory of all parts."""
    inputs = tiny.batch([("text", 2), ("image", (1, 8, 10)), ("text", 2)])
    expected = logits(pair[0], inputs)[0]
    compiled = pair[1]
    calls = []
    for block in compiled.model.visual.blocks:
        monkeypatch.setattr(block, "graph", lambda *a, b=block: calls.append(b) or a[0])
    monkeypatch.setattr("qwen2vl_ms.vision.EAGER_SCORES", 4 * 79**2)
    assert tiny.error(logits(compiled, inputs)[0], expected) < 1e-5
    assert calls == []
    monkeypatch.setattr("qwen2vl_ms.vision.EAGER_SCORES", 4 * 80**2)
    logits(compiled, inputs)
    assert len(calls) == len(compiled.model.visual.blocks)
