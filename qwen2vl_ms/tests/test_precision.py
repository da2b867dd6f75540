"""Policies, and each low-precision operation against PyTorch's own in the same dtype."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mindspore as ms
import numpy as np
import pytest
import torch
from transformers.activations import QuickGELUActivation
from transformers.models.qwen2_vl import modeling_qwen2_vl as theirs

from qwen2vl_ms import Qwen2VLError, attention, ops
from qwen2vl_ms.precision import POLICIES, check_device_computes, resolve_policy
from qwen2vl_ms.tests.tiny import start

DTYPES = {"fp16": (ms.float16, torch.float16), "bf16": (ms.bfloat16, torch.bfloat16)}
EPS = 1e-6


@pytest.fixture(autouse=True)
def frameworks() -> None:
    start()


def normal(*shape: int, scale: float = 1.0) -> np.ndarray:
    return (np.random.default_rng(len(shape)).standard_normal(shape) * scale).astype(np.float32)


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        (None, "fp32"),
        (ms.float32, "fp32"),
        (ms.float16, "fp16"),
        (ms.bfloat16, "bf16"),
        *((name, name) for name in POLICIES),
    ],
)
def test_what_a_user_may_ask_for(asked: Any, name: str) -> None:
    assert resolve_policy(asked).name == name


@pytest.mark.parametrize("asked", ["float8", ms.int8, ms.float64, 16, [], "FP16"])
def test_what_there_is_not(asked: Any) -> None:
    with pytest.raises(Qwen2VLError, match=r"pass mindspore\.float32, float16 or bfloat16, or one"):
        resolve_policy(asked)


def test_the_mixed_policy() -> None:
    policy = resolve_policy("ascend-mixed")
    assert (policy.hidden, policy.patch_embed, policy.attention) == (
        *(ms.bfloat16, ms.bfloat16, ms.float16),
    )
    assert policy.weight_dtype("model.visual.patch_embed.proj.weight") == ms.bfloat16
    assert policy.kernel(ms.bfloat16) == ms.float32  # emulated on CPU


def test_a_dtype_the_device_lacks() -> None:
    """The CPU backend really has no bfloat16 product."""
    check_device_computes(ms.float32)
    with pytest.raises(Qwen2VLError, match="this CPU device has no matrix product in BFloat16"):
        check_device_computes(ms.bfloat16)


def rms(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    norm = theirs.Qwen2VLRMSNorm(x.shape[-1], EPS)
    norm.weight.data = weight
    return norm(x)


def text_rotation(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """``apply_multimodal_rotary_pos_emb`` after its sections: in the hidden dtype."""
    cos, sin = cos.unsqueeze(1), sin.unsqueeze(1)  # [B, 1, S, hs]
    return x * cos + theirs.rotate_half(x) * sin


def grouped_attention(q: Any, k: Any, v: Any, mask: Any) -> torch.Tensor:
    module = torch.nn.Module()
    module.num_key_value_groups = 3
    return theirs.eager_attention_forward(module, q, k, v, mask, scaling=0.25)[0].flatten(2)


def eager(q: Any, k: Any, v: Any, mask: Any) -> Any:
    wide = (x.astype(ms.float32) for x in (q, k, v))
    return attention.attention("eager", *wide, mask, 0.25, q.dtype)


def rotated(x: Any, cos: Any, sin: Any, dtype: Any = None) -> Any:
    wide = (t.astype(ms.float32) for t in (x, cos, sin))
    return ops.rotate(*wide, dtype or x.dtype).astype(x.dtype)


ROWS, WEIGHT, BIAS = normal(64, 320, scale=3), normal(320), normal(320)
TABLES = normal(2, 3, 7, 8), np.cos(normal(2, 7, 8)), np.sin(normal(2, 7, 8))
HEADS = (normal(2, 6, 9, 16, scale=2), normal(2, 2, 40, 16, scale=2), normal(2, 2, 40, 16))
MASK = np.tile(np.where(np.tri(9, 40, 31) > 0, 0, -6e4).astype(np.float32), (2, 1, 1, 1))

# name: (the port's, the reference's, inputs, which of them are weights that CPU keeps in float32,
# the largest share of results that may differ). A result may be rounded the other way where the
# sum of a long product lies next to the middle of two numbers. GELU: 1 + erf cancels in the left
# tail, and both erf have their own last bits (measured: 0.03 in fp16).
Case = tuple[Callable[..., Any], Callable[..., Any], tuple[np.ndarray, ...], int, float]
OPERATIONS: dict[str, Case] = {
    "linear": (
        ops.linear,
        torch.nn.functional.linear,
        (ROWS, normal(80, 320), normal(80)),
        2,
        0.01,
    ),
    "gelu": (ops.gelu, torch.nn.functional.gelu, (ROWS,), 0, 0.06),
    "quick gelu": (ops.quick_gelu, QuickGELUActivation(), (ROWS,), 0, 0.002),
    "silu": (ops.silu, torch.nn.functional.silu, (ROWS,), 0, 0.002),
    "layer norm": (
        lambda *a: ops.layer_norm(*a, EPS),
        lambda x, w, b: torch.nn.functional.layer_norm(x, x.shape[-1:], w, b, EPS),
        (ROWS, WEIGHT, BIAS),
        2,
        0.01,
    ),
    "rms norm": (lambda *a: ops.rms_norm(*a, EPS), rms, (ROWS, WEIGHT), 1, 0.01),
    "rotation": (rotated, text_rotation, TABLES, 0, 0.0),
    "attention": (eager, grouped_attention, (*HEADS, MASK), 0, 0.02),
}


def differing(candidate: Any, name: str, dtype: str) -> float:
    """The share of results that are not the reference's, bit for bit."""
    _, reference, inputs, weights, _ = OPERATIONS[name]
    ours_dtype, theirs_dtype = DTYPES[dtype]
    tensors = [torch.from_numpy(x).to(theirs_dtype) for x in inputs]
    ours = [ms.Tensor(x.float().numpy()).astype(ours_dtype) for x in tensors]
    kept = len(ours) - weights
    ours[kept:] = [x.astype(ms.float32) for x in ours[kept:]]
    with torch.no_grad():
        expected = reference(*tensors).float().numpy()
    result = candidate(*ours)
    assert result.dtype == ours_dtype
    return float((result.astype(ms.float32).asnumpy() != expected).mean())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", OPERATIONS)
def test_results_are_rounded_where_pytorch_rounds(name: str, dtype: str) -> None:
    candidate, *_, allowed = OPERATIONS[name]
    assert differing(candidate, name, dtype) <= allowed


# A rounding left out, or one too many, changes a good part of all results.
FAULTS: dict[str, Callable[..., Any]] = {
    "quick gelu": lambda x: ops.cast(ops.quick_gelu(x.astype(ms.float32)), x.dtype),
    "rms norm": lambda x, w: ops.cast(ops.rms_norm(x.astype(ms.float32), w, EPS), x.dtype),
    "rotation": lambda x, c, s: rotated(x, c, s, ms.float32),
    "attention": lambda q, k, v, m: ops.cast(
        eager(*(x.astype(ms.float32) for x in (q, k, v, m))), q.dtype
    ),
    "linear": lambda x, w, b: ops.linear(x, w) + b.astype(x.dtype),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", FAULTS)
def test_a_rounding_left_out_is_seen(name: str, dtype: str) -> None:
    allowed = OPERATIONS[name][4]
    assert differing(FAULTS[name], name, dtype) > 5 * max(allowed, 0.01)
