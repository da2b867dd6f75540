"""All that is known of a chip's arithmetic at once, with the switches as a run sets them."""

from __future__ import annotations

from contextlib import AbstractContextManager

from parity.numerics_models.flash import fused_attention
from parity.numerics_models.model import HALF, WITH_FP16, NumericsModel
from parity.numerics_models.operands import every_product, half
from parity.numerics_models.saturation import saturating


def _first(dtype: str) -> AbstractContextManager[None]:
    """No fused attention and no infinities; float32 is multiplied as float16."""
    return saturating(dtype) if dtype in WITH_FP16 else every_product(half, dtype)


MODELS = (
    NumericsModel(
        "ascend-910a",
        "a 910A: float16 saturates, products of float32 are made of float16, no bfloat16",
        "fp16-saturation and fp16-operands together",
        ("fp32", "fp16"),
        _first,
        chip="ascend910",
    ),
    NumericsModel(
        "ascend-910b",
        "a 910B or 910C with HF32 off: the fused attention in half precision; float32 as on CPU",
        "flash-attention, and the switches that a run sets",
        HALF,
        fused_attention,
        chip="ascend910b",
    ),
)
