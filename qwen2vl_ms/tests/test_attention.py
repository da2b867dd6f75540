"""The three implementations mean the same; the fused one by its documentation only."""

from __future__ import annotations

import inspect
from dataclasses import replace
from typing import Any

import mindspore as ms
import numpy as np
import pytest

from qwen2vl_ms import Qwen2VLError, attention
from qwen2vl_ms.flash import decoder_arguments, vision_arguments
from qwen2vl_ms.ops import causal_mask
from qwen2vl_ms.precision import resolve_policy
from qwen2vl_ms.tests.flash_model import flash_attention_score
from qwen2vl_ms.tests.tiny import start

SCALE = 80**-0.5


@pytest.fixture(autouse=True)
def frameworks() -> None:
    start()


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


ENDS = (32, 56, 80)
PATCHES = tuple(normal(seed, ENDS[-1], 4, 16) * 2 for seed in range(3))  # [N, nh, hs]


def attend_by_segments(implementation: str, ends: tuple[int, ...]) -> np.ndarray:
    """Each segment alone, [N, nh * hs]."""
    segments = zip((0, *ends[:-1]), ends, strict=True)
    parts = [[x[start:end].swapaxes(0, 1)[None] for x in PATCHES] for start, end in segments]
    mixed = [
        attention.attention(implementation, *map(ms.Tensor, part), None, SCALE).asnumpy()[0]
        for part in parts
    ]
    return np.concatenate(mixed)


@pytest.mark.parametrize("implementation", ["eager", "chunked", "auto"])
@pytest.mark.parametrize("ends", [ENDS, (80,)])
def test_segments_see_only_themselves(
    implementation: str, ends: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "BLOCK_SCORES", 4 * 9 * 7)
    monkeypatch.setattr(attention, "KEY_BLOCK", 9)
    fused = flash_attention_score(*PATCHES, **vision_arguments(ends, 4, SCALE))
    ours = attend_by_segments(implementation, ends)
    np.testing.assert_allclose(ours, fused.reshape(80, -1), rtol=1e-4, atol=1e-5)


def keys_and_mask(past: int, length: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, ms.Tensor]:
    """Two rows, the first padded on the left; keys in a cache with three unused places."""
    padding = np.ones((2, past + length), np.int64)
    padding[0, :4] = 0
    query, key, value = (
        normal(i, 2, n, s, 16) for i, n, s in ((0, 6, length), (1, 2, 43), (2, 2, 43))
    )
    mask = causal_mask(padding, 2, length, past)
    return query, key[:, :, : past + length + 3], value[:, :, : past + length + 3], mask


@pytest.mark.parametrize(("past", "length"), [(0, 40), (39, 1), (30, 10)])
def test_the_decoder_looks_back_only(past: int, length: int) -> None:
    query, key, value, mask = keys_and_mask(past, length)
    complete = attention.widened_mask(mask, key.shape[2])
    arguments = arrays(decoder_arguments(complete, 6, SCALE))
    real = slice(4, None) if past == 0 else slice(None)  # a padded query may look nowhere
    with np.errstate(invalid="ignore"):
        fused = flash_attention_score(query, key, value, **arguments)[:, :, real]
    for implementation in ("eager", "chunked"):
        ours = attention.attention(
            implementation, *map(ms.Tensor, (query, key, value)), complete, SCALE
        ).asnumpy()
        ours = ours.reshape(2, length, 6, 16).swapaxes(1, 2)[:, :, real]
        np.testing.assert_allclose(ours, fused, rtol=1e-4, atol=1e-5)


def arrays(arguments: dict[str, Any]) -> dict[str, Any]:
    return {k: v.asnumpy() if isinstance(v, ms.Tensor) else v for k, v in arguments.items()}


def test_the_faults_of_a_port_would_be_seen() -> None:
    """Each of the kernel's conventions, broken, gives something else or is refused."""
    query, key, value, mask = keys_and_mask(30, 10)
    complete = attention.widened_mask(mask, key.shape[2])
    right = arrays(decoder_arguments(complete, 6, SCALE))
    good = flash_attention_score(query, key, value, **right)
    scale_left_out = {k: v for k, v in right.items() if k != "scalar_value"}
    kept_for_discarded = {**right, "attn_mask": 1 - right["attn_mask"]}
    for wrong in (scale_left_out, kept_for_discarded):
        assert np.abs(flash_attention_score(query, key, value, **wrong) - good).max() > 0.1
    zero_first = {**vision_arguments(ENDS, 4, SCALE), "actual_seq_qlen": (0, *ENDS)}
    with pytest.raises(AssertionError, match="a sequence of no keys"):
        flash_attention_score(*PATCHES, **zero_first)


@pytest.mark.parametrize("arguments", [vision_arguments(ENDS, 4, SCALE), {"head_num": 6}])
def test_the_kernel_takes_arguments_of_these_names(arguments: dict[str, Any]) -> None:
    mask = ms.Tensor(np.zeros((1, 1, 2, 2), np.float32))
    for built in (arguments, decoder_arguments(mask, 6, SCALE)):
        inspect.signature(ms.ops.flash_attention_score).bind(None, None, None, **built)


def test_too_many_segments_for_the_kernel() -> None:
    with pytest.raises(Qwen2VLError, match="1025 images and frames in one batch"):
        vision_arguments(tuple(range(4, 4 * 1026, 4)), 16, SCALE)


def test_the_choice() -> None:
    policy = resolve_policy("bf16")
    assert attention.choose(None, policy) == "auto"
    assert attention.choose("chunked", policy) == "chunked"
    with pytest.raises(Qwen2VLError, match=r"'flash' is Ascend's fused kernel.*device is CPU"):
        attention.choose("flash_attention_2", policy)
    with pytest.raises(Qwen2VLError, match="'sdpa': pass one of auto, eager, chunked, flash"):
        attention.choose("sdpa", policy)


def test_long_sequences_are_cut_into_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Automatic is eager for what fits and chunked beyond."""
    calls = []
    for name in ("_eager", "_chunked"):
        original = getattr(attention, name)
        monkeypatch.setattr(
            attention, name, lambda *a, f=original, n=name: calls.append(n) or f(*a)
        )
    monkeypatch.setattr(attention, "EAGER_SCORES", 4 * 32 * 32)
    attend_by_segments("auto", (32, 80))
    assert calls == ["_eager", "_chunked"]


@pytest.mark.parametrize(
    ("soc", "chosen"),
    [("ascend910b", "flash"), ("ascend910_93", "flash"), ("ascend950", "flash"), ("", "flash"),
     ("ascend910", "auto"), ("ascend310p", "auto"), ("Ascend310P", "auto")],
)  # fmt: skip
def test_chips_without_the_fused_kernel_do_without(
    soc: str, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "soc_in_use", lambda: soc)
    monkeypatch.setattr(ms, "get_context", {"device_target": "Ascend"}.get)
    half = replace(resolve_policy("fp32"), attention=ms.float16)
    assert attention.choose(None, half) == chosen
    assert attention.choose(None, replace(half, attention=ms.float32)) == "auto"
    assert attention.choose("flash", half) == "flash", "who names it gets it"
