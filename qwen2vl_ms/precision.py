"""Precision policies: which dtype each part of the model computes in.

    policy        patch embedding  attention  everything else   mirrors
    fp32          float32          float32    float32           the reference loaded in float32
    fp16          float16          float16    float16           the reference loaded in float16
    bf16          bfloat16         bfloat16   bfloat16          the reference loaded in bfloat16
    ascend-mixed  bfloat16         float16    bfloat16          what MindONE publishes for Ascend

In every policy the norms, the softmax and the vision tower's rotation compute in float32, and what
they return is rounded, as in the reference.

A device either has kernels for a dtype or it has not. Where it has (Ascend), they are used. Where
it has not (MindSpore's CPU backend has nearly none for bfloat16, and slow ones for float16), each
operation is emulated: operands, which hold values of the dtype, are widened to float32, the kernel
computes in float32, and its result is rounded. That is what PyTorch's own CPU kernels do inside.
Weights are then kept in float32, with values rounded to the dtype, so that they are not widened
again at every use.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import Tensor

from qwen2vl_ms.errors import Qwen2VLError
from qwen2vl_ms.ops import linear


@dataclass(frozen=True)
class Policy:
    """The dtypes of one model.

    Attributes:
        name: As in the table above.
        hidden: Of the residual stream, the linear layers and the logits.
        patch_embed: Of the patch embedding.
        attention: Of queries, keys and values, from the product of both to what leaves it.
        native: Whether the device's own kernels compute in these dtypes; else they are emulated.
    """

    name: str
    hidden: Any
    patch_embed: Any
    attention: Any
    native: bool

    def kernel(self, dtype: Any) -> Any:
        """The dtype in which kernels compute and weights are kept, for values of ``dtype``."""
        return dtype if self.native else ms.float32

    def weight_dtype(self, parameter: str) -> Any:
        """The dtype to which a parameter's values are rounded, by its name."""
        return self.patch_embed if ".patch_embed." in f".{parameter}" else self.hidden


# Policy name: (hidden, patch_embed, attention), in MindSpore's names.
POLICIES = {
    "fp32": ("float32", "float32", "float32"),
    "fp16": ("float16", "float16", "float16"),
    "bf16": ("bfloat16", "bfloat16", "bfloat16"),
    "ascend-mixed": ("bfloat16", "bfloat16", "float16"),
}


def resolve_policy(value: Any = None) -> Policy:
    """Find the policy that a user asks for, on the device in use.

    Args:
        value: A policy's name, or ``mindspore.float32``, ``float16`` or ``bfloat16``, or None for
            float32.

    Raises:
        Qwen2VLError: There is no such policy, or the device cannot compute in one of its dtypes.
    """
    name = _name(value)
    hidden, patch_embed, attention = (getattr(ms, dtype) for dtype in POLICIES[name])
    native = ms.get_context("device_target") != "CPU"
    if native:
        for dtype in dict.fromkeys((hidden, patch_embed, attention)):
            check_device_computes(dtype)
    return Policy(name, hidden, patch_embed, attention, native=native or name == "fp32")


def _name(value: Any) -> str:
    names: dict[Any, str] = {None: "fp32", **{name: name for name in POLICIES}}
    names |= {getattr(ms, POLICIES[name][0]): name for name in ("fp32", "fp16", "bf16")}
    try:
        return names[value]
    except (KeyError, TypeError):
        raise Qwen2VLError(
            f"mindspore_dtype is {value!r}: pass mindspore.float32, float16 or bfloat16, or one of "
            f"the policies {', '.join(POLICIES)}"
        ) from None


def check_device_computes(dtype: Any) -> None:
    """Multiply two matrices of ``dtype`` with the device's own kernel.

    Raises:
        Qwen2VLError: The device has no such kernel.
    """
    ones = Tensor(np.ones((16, 16), np.float32)).astype(dtype)
    try:
        linear(ones, ones).astype(ms.float32).asnumpy()
    except (RuntimeError, TypeError, ValueError) as error:
        device = ms.get_context("device_target")
        raise Qwen2VLError(
            f"this {device} device has no matrix product in {dtype}: choose another policy "
            f"({', '.join(POLICIES)}); bfloat16 needs an Atlas A2 or later"
        ) from error
