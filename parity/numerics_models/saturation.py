"""float16 without infinities: what is too large becomes 65504, and what is no number 0."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from parity.numerics_models.model import WITH_FP16, NumericsModel, in_place, original, together

LARGEST = 65504.0
SEAM = "qwen2vl_ms.ops"
NAMES = ("cast", "rounded", "residual")
"""Where the port's numbers become float16."""


def saturated(x: Any) -> Any:
    """A tensor of float16 as a chip that saturates has it; others as they are."""
    import mindspore as ms
    from mindspore import Tensor, ops

    if not isinstance(x, Tensor) or x.dtype != ms.float16:
        return x
    number = ops.select(ops.isnan(x), ops.zeros_like(x), x)
    return ops.clamp(number, Tensor(-LARGEST, ms.float16), Tensor(LARGEST, ms.float16))


@contextmanager
def saturating(dtype: str) -> Iterator[None]:
    """Saturate wherever the port rounds to float16, and where it adds to the residual stream."""
    plain = {name: original(f"{SEAM}:{name}") for name in NAMES}

    def cast(x: Any, dtype: Any) -> Any:
        return saturated(plain["cast"](x, dtype))

    def rounded(x: Any, dtype: Any) -> Any:
        return x if x.dtype == dtype else plain["cast"](cast(x, dtype), x.dtype)

    def residual(x: Any, update: Any) -> Any:
        return saturated(plain["residual"](x, update))

    patches = {f"{SEAM}:cast": cast, f"{SEAM}:rounded": rounded, f"{SEAM}:residual": residual}
    # The attention seam has these under the same names.
    patches |= {f"qwen2vl_ms.attention:{name}": patches[f"{SEAM}:{name}"]
                for name in ("cast", "rounded")}  # fmt: skip
    with together(*(in_place(target, value) for target, value in patches.items())):
        yield


MODELS = (
    NumericsModel(
        "fp16-saturation",
        "float16 saturates: infinity becomes 65504, NaN becomes 0",
        "aclrtFloatOverflowMode: Atlas training and inference products have no other mode",
        WITH_FP16,
        saturating,
    ),
)
