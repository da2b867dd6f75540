"""Each operation in float32 against float64, as a multiple of PyTorch's own float32 error."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mindspore as ms
import numpy as np
import pytest
import torch
from torch.nn import functional as torch_ops
from transformers.activations import QuickGELUActivation
from transformers.masking_utils import eager_mask
from transformers.models.qwen2_vl import modeling_qwen2_vl as theirs

from qwen2vl_ms import attention, ops
from qwen2vl_ms.tests.tiny import error, ratio, start

EPS = 1e-6


@pytest.fixture(autouse=True)
def frameworks() -> None:
    start()


def normal(*shape: int, scale: float = 1.0) -> np.ndarray:
    return (np.random.default_rng(len(shape)).standard_normal(shape) * scale).astype(np.float32)


def rms_norm(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """``Qwen2VLRMSNorm`` without its cast to float32."""
    return weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + EPS))


def grouped_attention(q: Any, k: Any, v: Any, mask: Any) -> torch.Tensor:
    """``eager_attention_forward`` without its cast to float32."""
    k, v = theirs.repeat_kv(k, 3), theirs.repeat_kv(v, 3)
    weights = torch.softmax(q @ k.transpose(2, 3) * 0.25 + mask, dim=-1)
    return (weights @ v).transpose(1, 2).flatten(2)


def eager(*args: Any) -> Any:
    return attention.attention("eager", *args, 0.25)


def chunked(*args: Any) -> Any:
    """In blocks smaller than the inputs, the last of each shorter than the others."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attention, "BLOCK_SCORES", 2 * 6 * 13 * 4)
        patch.setattr(attention, "KEY_BLOCK", 13)
        return attention.attention("chunked", *args, 0.25)


MASK = np.where(np.tri(9, 40, 31) > 0, 0, np.finfo(np.float32).min).astype(np.float32)
MASK = np.tile(MASK, (2, 1, 1, 1))
HEADS = (normal(2, 6, 9, 16, scale=2), normal(2, 2, 40, 16, scale=2), normal(2, 2, 40, 16))
ROWS, WEIGHT, BIAS = normal(64, 1280, scale=3), normal(1280), normal(1280)

# name: (the port's, the reference's, inputs, allowed multiple of PyTorch's error).
# Measured on x86-64 (tests/measure_ops.py); each limit is about twice the measured multiple.
CASES: dict[str, tuple[Callable[..., Any], Callable[..., Any], tuple[np.ndarray, ...], float]] = {
    "linear": (ops.linear, torch_ops.linear, (ROWS, normal(320, 1280), normal(320)), 3.0),
    "linear without bias": (ops.linear, torch_ops.linear, (ROWS, normal(320, 1280)), 3.0),
    "gelu": (ops.gelu, torch_ops.gelu, (ROWS,), 1.5),
    "quick gelu": (ops.quick_gelu, QuickGELUActivation(), (ROWS,), 2.5),
    "silu": (ops.silu, torch_ops.silu, (ROWS,), 4.0),
    "softmax": (attention.softmax, lambda x: torch.softmax(x, -1), (ROWS,), 10.0),
    "layer norm": (
        lambda *a: ops.layer_norm(*a, EPS),
        lambda x, w, b: torch_ops.layer_norm(x, x.shape[-1:], w, b, EPS),
        (ROWS, WEIGHT, BIAS),
        2.0,
    ),
    "rms norm": (lambda *a: ops.rms_norm(*a, EPS), rms_norm, (ROWS, WEIGHT), 3.0),
    "attention": (eager, grouped_attention, (*HEADS, MASK), 3.0),
    "chunked attention": (chunked, grouped_attention, (*HEADS, MASK), 3.0),
}


def errors(candidate: Any, reference: Any, inputs: tuple[np.ndarray, ...]) -> float:
    """The candidate's error as a multiple of PyTorch's, both against float64."""
    tensors = [torch.from_numpy(x) for x in inputs]
    ours = candidate(*map(ms.Tensor, inputs))
    assert ours.dtype == ms.float32
    return ratio(ours.asnumpy(), reference(*tensors), reference(*(t.double() for t in tensors)))


@pytest.mark.parametrize("name", CASES)
def test_error_is_a_small_multiple_of_pytorchs(name: str) -> None:
    candidate, reference, inputs, limit = CASES[name]
    assert errors(candidate, reference, inputs) <= limit


# What a mistake looks like: the smallest of these is a hundred times over its limit.
FAULTS: dict[str, Callable[..., Any]] = {
    "gelu": lambda x: ms.ops.gelu(x, approximate="tanh"),
    "quick gelu": ops.gelu,
    "layer norm": lambda *a: ops.layer_norm(*a, 1e-3),
    "rms norm": lambda *a: ops.rms_norm(*a, 1e-3),
    "attention": lambda q, k, v, m: eager(q, k[:, ::-1], v[:, ::-1], m),
    "chunked attention": lambda q, k, v, m: chunked(q, k[:, ::-1], v[:, ::-1], m),
    "linear": lambda x, w, b: ops.linear(x, w, None),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_far_over_the_limit(name: str) -> None:
    _, reference, inputs, limit = CASES[name]
    assert errors(FAULTS[name], reference, inputs) > 100 * limit


def test_gathered_rows_are_exact() -> None:
    table, ids = normal(11, 4), np.array([[3, 0, 10], [3, 3, 1]])
    rows = ops.embedding(ms.Tensor(ids, ms.int32), ms.Tensor(table)).asnumpy()
    np.testing.assert_array_equal(rows, table[ids])


@pytest.mark.parametrize("past", [0, 3])
@pytest.mark.parametrize("padded", [False, True])
def test_the_mask_is_the_references(past: int, padded: bool) -> None:
    batch, length = 2, 5
    mask = np.ones((batch, past + length), np.int64)
    mask[0, :2] = 0
    theirs = eager_mask(
        batch,
        length,
        past + length,
        q_offset=past,
        attention_mask=torch.from_numpy(mask).bool() if padded else None,
    )
    ours = ops.causal_mask(mask if padded else None, batch, length, past).asnumpy()
    assert ours.dtype == np.float32
    np.testing.assert_array_equal(ours, np.broadcast_to(theirs.numpy(), ours.shape))


def test_a_row_that_may_look_nowhere_averages_all_keys() -> None:
    """As in the reference: every score is the same, and nothing becomes NaN."""
    q, k, v = HEADS
    blind = np.full((2, 1, 9, 40), np.finfo(np.float32).min)
    expected = np.repeat(v.mean(axis=2), 3, axis=1).reshape(2, 1, -1)
    for attend in (eager, chunked):
        ours = attend(*map(ms.Tensor, (q, k, v, blind))).asnumpy()
        np.testing.assert_allclose(ours, np.broadcast_to(expected, ours.shape), atol=1e-6)


def test_the_unused_rest_of_a_cache_is_not_looked_at() -> None:
    q, k, v = HEADS
    longer = [np.concatenate([x, np.full((2, 2, 30, 16), 1e3, np.float32)], axis=2) for x in (k, v)]
    for attend in (eager, chunked):
        alone = attend(*map(ms.Tensor, (q, k, v, MASK))).asnumpy()
        wide = attention.widened_mask(ms.Tensor(MASK), 70)
        ours = attend(*map(ms.Tensor, (q, *longer)), wide).asnumpy()
        np.testing.assert_allclose(ours, alone, rtol=1e-5, atol=1e-6)


def test_the_seam_is_where_rounding_is() -> None:
    """No other module of the port calls MindSpore arithmetic that is not exact."""
    inexact = re.compile(
        r"ops\.(MatMul|BatchMatMul|softmax|Softmax|gelu|silu|LayerNorm|exp|matmul)"
    )
    package = Path(ops.__file__).parent
    found = {p.name for p in package.glob("*.py") if inexact.search(p.read_text(encoding="utf-8"))}
    assert found == {"attention.py", "ops.py"}


def test_blocks_of_rows_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of seven rows, the last one shorter, against all rows at once."""
    weight, bias = normal(320, 1280), normal(320)
    inputs = [ms.Tensor(x) for x in (ROWS, weight, bias)]
    whole = ops.linear(*inputs).asnumpy(), ops.quick_gelu(inputs[0]).asnumpy()
    sizes = []
    original = ops._bias_add
    monkeypatch.setattr(ops, "_bias_add", lambda x, b: sizes.append(len(x)) or original(x, b))
    monkeypatch.setattr(ops, "LARGE", 1000)
    monkeypatch.setattr(ops, "BLOCK", 7 * 320)
    assert error(ops.linear(*inputs).asnumpy(), whole[0]) < 1e-6
    assert error(ops.quick_gelu(inputs[0]).asnumpy(), whole[1]) < 1e-6
    assert sizes == [7] * 9 + [1]
