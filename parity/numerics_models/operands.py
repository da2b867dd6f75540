"""Matrix products whose operands are rounded first: HF32, and float16 where there is no float32."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any

import numpy as np

from parity.core.arithmetic import HF32, operands_of
from parity.core.hf32 import hf32
from parity.core.rounding import rounded
from parity.core.trace import Array
from parity.numerics_models.model import (
    ATTENTION,
    LINEAR,
    MIXING,
    PRODUCTS,
    SCORES,
    NumericsModel,
    in_place,
    operands_through,
)

PATCHES = "qwen2vl_ms.vision:PatchEmbed.construct"


def half(values: Array) -> Array:
    """Round to float16, as the first chips' matrix unit needs it; what is too large is infinite."""
    return rounded(values, "float16").astype(np.float32)


def every_product(change: Any, dtype: str) -> AbstractContextManager[None]:
    """Round the operands of the linear layers and of both products of attention."""
    return operands_through(change, LINEAR, SCORES, MIXING)


@contextmanager
def _convolution(dtype: str) -> Iterator[None]:
    """Round those of the patch embedding alone, which is a linear layer in the port."""
    from qwen2vl_ms.vision import PatchEmbed

    plain = PatchEmbed.construct

    def construct(self: Any, hidden_states: Any) -> Any:
        with operands_through(hf32, LINEAR):
            return plain(self, hidden_states)

    with in_place(PATCHES, construct):
        yield


MODELS = (
    NumericsModel(
        "hf32-matmul",
        "every matrix product in HF32: operands of 11 bits of mantissa, sums in float32",
        "op_precision.matmul_allow_hf32; off by default",
        ("fp32",),
        partial(every_product, hf32),
        HF32,
        PRODUCTS + ATTENTION,
    ),
    NumericsModel(
        "hf32-conv",
        "the patch embedding in HF32, as a convolution computes it unless it is told otherwise",
        "op_precision.conv_allow_hf32; on by default; the port has no convolution",
        ("fp32",),
        _convolution,
        HF32,
        ("patch_embed",),
    ),
    NumericsModel(
        "fp16-operands",
        "every matrix product of float32 on operands rounded to float16",
        "aclnnMatmul, ALLOW_FP32_DOWN_PRECISION on Atlas training and inference products",
        ("fp32",),
        partial(every_product, half),
        operands_of("float16"),
        PRODUCTS + ATTENTION,
    ),
)
