"""What a numerics model is, and the ways in which one takes operations of the port's over."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from parity.core.trace import Array

HALF = ("fp16", "bf16", "ascend-mixed")
WITH_FP16 = ("fp16", "ascend-mixed")
INSIDE_ATTENTION = {"fp16": "float16", "bf16": "bfloat16", "ascend-mixed": "float16"}
"""What queries, keys and values are numbers of, by precision."""
Single: TypeAlias = NDArray[np.float32]
Product = Callable[[Single, Single], Single]
"""Of matrices [..., r, K] and [..., n, K], float32: [..., r, n]."""


PRODUCTS = ("patch_embed", "linear", "head")
ATTENTION = ("vision_attention", "text_attention")


@dataclass(frozen=True)
class NumericsModel:
    """One property of a device's arithmetic, or all that is known of a device's."""

    name: str
    about: str
    source: str
    """The documentation that says so."""
    dtypes: tuple[str, ...]
    """Precisions in which it changes something."""
    enter: Callable[[str], AbstractContextManager[None]]
    """Given the precision, a context in which the port computes so."""
    arithmetic: str = ""
    """What the dtype ledger calls it (`parity.core.arithmetic`); empty for whole chips, and where
    only an overflow shows it."""
    roles: tuple[str, ...] = ()
    """Roles of the points whose arithmetic it changes."""
    chip: str = ""
    """MindSpore's name of the chip, if it stands for a whole one: it lacks what that lacks."""


@contextmanager
def in_place(target: str, value: Any) -> Iterator[None]:
    """Put ``value`` in the place of ``module:attribute`` (or ``module:Class.attribute``)."""
    module, _, path = target.partition(":")
    owner: Any = importlib.import_module(module)
    *classes, name = path.split(".")
    for part in classes:
        owner = getattr(owner, part)
    original = owner.__dict__[name]
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, original)


@contextmanager
def together(*contexts: AbstractContextManager[None]) -> Iterator[None]:
    """Several at once."""
    with ExitStack() as stack:
        for context in contexts:
            stack.enter_context(context)
        yield


def original(target: str) -> Any:
    """What is at ``module:attribute`` now."""
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)


LINEAR = "qwen2vl_ms.ops:_matmul_bt"
SCORES = "qwen2vl_ms.attention:_batch_matmul_bt"
MIXING = "qwen2vl_ms.attention:_batch_matmul"


@contextmanager
def operands_through(change: Callable[[Array], Array], *targets: str) -> Iterator[None]:
    """Change both operands of matrix products, and let the device's kernel multiply them."""

    def wrapped(kernel: Any) -> Any:
        def product(one: Any, other: Any) -> Any:
            from mindspore import Tensor

            return kernel(*(Tensor(change(x.asnumpy())) for x in (one, other)))

        return product

    with together(*(in_place(target, wrapped(original(target))) for target in targets)):
        yield


@contextmanager
def products_by(multiply: Product) -> Iterator[None]:
    """Let ``multiply`` take the place of every matrix product."""

    def transposed(one: Any, other: Any) -> Any:
        from mindspore import Tensor

        return Tensor(multiply(one.asnumpy(), other.asnumpy()))

    def plain(one: Any, other: Any) -> Any:
        from mindspore import Tensor

        return Tensor(multiply(one.asnumpy(), other.asnumpy().swapaxes(-1, -2)))

    with together(
        in_place(LINEAR, transposed), in_place(SCORES, transposed), in_place(MIXING, plain)
    ):
        yield
