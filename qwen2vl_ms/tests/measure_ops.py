"""Why `qwen2vl_ms.ops` uses what it uses: accuracy and time of the alternatives on this device.

    python -m qwen2vl_ms.tests.measure_ops

Accuracy is the error in float32 against float64, as a multiple of PyTorch's own float32 error.
Time is the best of several calls, which run one at a time; compare times within one run only.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import mindspore as ms
import numpy as np
import torch
from mindspore import Tensor
from mindspore import ops as framework

from qwen2vl_ms import attention, ops
from qwen2vl_ms.tests.tiny import ratio, start

REPEATS = 9


def in_float64(function: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """The same operation computed in float64 and rounded."""
    return lambda x: function(x.astype(ms.float64)).astype(ms.float32)


def softmax_by_hand(exponential: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    def function(x: Tensor) -> Tensor:
        powers = exponential(x - x.max(axis=-1, keepdims=True))
        return powers / powers.sum(axis=-1, keepdims=True)

    return function


def sigmoid_by_tanh(x: Tensor) -> Tensor:
    return (framework.tanh(x * 0.5) + 1.0) * 0.5


def rms_norm_by_broadcasting(x: Tensor) -> Tensor:
    return Tensor(WEIGHT) * (
        x * framework.rsqrt(framework.square(x).mean(-1, keep_dims=True) + 1e-6)
    )


WIDTH = 1280
WEIGHT = np.linspace(0.5, 1.5, WIDTH, dtype=np.float32)

# operation: (PyTorch's, {what: MindSpore's}), the first being what `qwen2vl_ms.ops` uses.
ALTERNATIVES: dict[str, tuple[Callable[..., Any], dict[str, Callable[[Tensor], Tensor]]]] = {
    "softmax": (
        lambda x: torch.softmax(x, -1),
        {
            "Softmax": attention.softmax,
            "Exp and a division": softmax_by_hand(framework.exp),
            "Expm1 and a division": softmax_by_hand(lambda x: framework.expm1(x) + 1.0),
            "exp of LogSoftmax": lambda x: framework.exp(framework.log_softmax(x, -1)),
            "Softmax in float64": in_float64(attention.softmax),
        },
    ),
    "quick gelu": (
        lambda x: x * torch.sigmoid(1.702 * x),
        {
            "Sigmoid": ops.quick_gelu,
            "SiLU, scaled": lambda x: framework.silu(x * 1.702) * (1 / 1.702),
            "Tanh": lambda x: x * sigmoid_by_tanh(x * 1.702),
            "Sigmoid in float64": lambda x: x * in_float64(framework.sigmoid)(x * 1.702),
        },
    ),
    "silu": (
        torch.nn.functional.silu,
        {
            "SiLU": ops.silu,
            "Expm1": lambda x: x / (framework.expm1(-x) + 2.0),
            "Expm1 and Reciprocal": lambda x: x * framework.reciprocal(framework.expm1(-x) + 2.0),
            "Sigmoid in float64": lambda x: x * in_float64(framework.sigmoid)(x),
        },
    ),
    "gelu": (
        torch.nn.functional.gelu,
        {
            "Erf": ops.gelu,
            "GeLU": lambda x: framework.gelu(x, approximate="none"),
            "GeLU in float64": in_float64(lambda x: framework.gelu(x, approximate="none")),
        },
    ),
    "rms norm": (
        lambda x: (
            torch.from_numpy(WEIGHT).to(x.dtype)
            * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6))
        ),
        {
            "tiled factors": lambda x: ops.rms_norm(x, Tensor(WEIGHT), 1e-6),
            "broadcast factors": lambda x: rms_norm_by_broadcasting(x),
        },
    ),
}


def milliseconds(function: Callable[[Tensor], Tensor], x: Tensor) -> float:
    """The shortest of several calls."""
    times = []
    for _ in range(REPEATS):
        begin = time.perf_counter()
        function(x)
        times.append(time.perf_counter() - begin)
    return 1e3 * min(times)


def main() -> None:
    """Print one line for each alternative."""
    start()
    x = (np.random.default_rng(0).standard_normal((1024, WIDTH)) * 3).astype(np.float32)
    for name, (reference, alternatives) in ALTERNATIVES.items():
        theirs, exact = (
            reference(torch.from_numpy(x).to(t)) for t in (torch.float32, torch.float64)
        )
        for what, function in alternatives.items():
            found = ratio(function(Tensor(x)).asnumpy(), theirs, exact)
            took = milliseconds(function, Tensor(x))
            print(f"{name:10} {what:22} error x{found:8.2f}   {took:8.2f} ms")


if __name__ == "__main__":
    main()
