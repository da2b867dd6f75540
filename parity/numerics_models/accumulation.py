"""Matrix products in half precision whose sums are kept in float16."""

from __future__ import annotations

from contextlib import AbstractContextManager

import numpy as np
from numpy.typing import NDArray

from parity.core.arithmetic import FLOAT16_SUMS
from parity.core.rounding import rounded
from parity.numerics_models.model import PRODUCTS, NumericsModel, products_by

STEP = 16
"""Numbers that the cube multiplies and adds at once, before the sum is rounded."""


def accumulated(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float32]:
    """[..., r, K] and [..., n, K] to [..., r, n], the sum rounded after every `STEP` products."""
    total = np.zeros((*one.shape[:-1], other.shape[-2]), np.float32)
    for start in range(0, one.shape[-1], STEP):
        part = slice(start, start + STEP)
        step = one[..., part] @ other[..., part].swapaxes(-1, -2)
        total = rounded(total + step, "float16").astype(np.float32)
    return total


def _enter(dtype: str) -> AbstractContextManager[None]:
    return products_by(accumulated)


MODELS = (
    NumericsModel(
        "fp16-accumulation",
        f"sums of matrix products kept in float16, {STEP} products at a time",
        "op_select_implmode high_performance; the default adds up in float32",
        ("fp16",),
        _enter,
        FLOAT16_SUMS,
        PRODUCTS,
    ),
)
