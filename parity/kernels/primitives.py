"""The primitives of the ledger: their truths, and how one of them is put into a module.

Truths are those of `parity.subjects.ops`. A device may offer a fused primitive, such as SiLU, whose
inaccuracy is that of the exponential inside it. So a kernel is put in the place of its primitive
and into everything that can be built from it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any, TypeAlias

import numpy as np

from parity.subjects.ops import EXACT, Float, Ops

Kernel: TypeAlias = Callable[..., Float]


def cast(x: Float) -> Float:
    """What a cast is measured against: the value itself."""
    return x


TRUTHS: dict[str, Kernel] = {
    **{field.name: getattr(EXACT, field.name) for field in fields(Ops)},
    "sin": np.sin,
    "cos": np.cos,
    "cast": cast,
}
"""Every primitive in float64."""


def _by_exp(exp: Kernel) -> dict[str, Kernel]:
    """Sigmoid, SiLU and softmax from an exponential."""

    def sigmoid(x: Float) -> Float:
        return 1.0 / (1.0 + exp(-x))

    def softmax(x: Float) -> Float:
        powers = exp(x - np.max(x, axis=-1, keepdims=True))
        return np.asarray(powers / np.sum(powers, axis=-1, keepdims=True))

    return {"sigmoid": sigmoid, "silu": lambda x: x * sigmoid(x), "softmax": softmax}


def _by_tanh(tanh: Kernel) -> dict[str, Kernel]:
    """Sigmoid and SiLU from a hyperbolic tangent."""

    def sigmoid(x: Float) -> Float:
        return 0.5 * (1.0 + tanh(0.5 * x))

    return {"sigmoid": sigmoid, "silu": lambda x: x * sigmoid(x)}


def _by_sigmoid(sigmoid: Kernel) -> dict[str, Kernel]:
    return {"silu": lambda x: x * sigmoid(x)}


# Each builds the same functions: a tanh GELU is another function than the erf one, and is none of
# them, so that no kernel ever explains it.
_BUILT: dict[str, Callable[[Kernel], dict[str, Any]]] = {
    "exp": _by_exp, "tanh": _by_tanh, "sigmoid": _by_sigmoid,
}  # fmt: skip

ELEMENTARY = ("exp", "tanh", "erf", "rsqrt", "mean", "matmul")
"""What is built from nothing else here."""
FUSED = ("sigmoid", "silu", "softmax", "layer_norm")
"""What can be built from others; named only where nothing of `ELEMENTARY` explains as much."""
PRIMITIVES = (*ELEMENTARY, *FUSED)
"""What modules are made of, `ELEMENTARY` ones first."""


def parts(name: str) -> set[str]:
    """The more elementary primitives that ``name`` can be built from."""
    return {part for part, build in _BUILT.items() if name in build(TRUTHS[part])}


def watched(used: set[str]) -> Ops:
    """Exact primitives that add their names to ``used``, and those of what they are built from."""

    def noting(name: str) -> Kernel:
        def kernel(*operands: Any) -> Float:
            used.update({name}, parts(name))
            return np.asarray(TRUTHS[name](*operands))

        return kernel

    return replace(EXACT, **{name: noting(name) for name in PRIMITIVES})


def with_kernel(name: str, kernel: Kernel) -> Ops:
    """Exact primitives, but for ``name`` and what can be built from it.

    Args:
        name: one of `ELEMENTARY` or `FUSED`.
        kernel: takes and returns float64 arrays, as the primitive does.
    """
    built = _BUILT[name](kernel) if name in _BUILT else {}
    return replace(EXACT, **{name: kernel, **built})
