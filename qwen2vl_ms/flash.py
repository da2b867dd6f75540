"""The arguments of Ascend's fused attention, ``mindspore.ops.flash_attention_score``.

Written to its documentation (MindSpore 2.10) and tested against a NumPy model of it
(qwen2vl_ms/tests/flash_model.py); it has not run on hardware. Where its conventions differ from
PyTorch's, and a port goes wrong quietly:

    scalar_value      defaults to 1.0, and not to 1 / sqrt(hs)
    attn_mask         1 means discard
    actual_seq_qlen   where each segment ends, without a leading 0
    sparse_mode       1 takes a complete mask as it is; 0 also cuts it to a band
"""

from __future__ import annotations

from typing import Any

import mindspore as ms
from mindspore import Tensor

from qwen2vl_ms.errors import Qwen2VLError

COMPLETE_MASK = 1
WITHOUT = ("ascend910", "ascend310p", "ascend310b", "ascend310")
"""Chips that the kernel's documentation leaves out, by MindSpore's names: all before Atlas A2."""
MAX_SEGMENTS = 1024


def has_kernel(soc: str) -> bool:
    """Whether a chip has the kernel, as far as its documentation says.

    Args:
        soc: MindSpore's name of the chip; one that is not known is taken for a newer one.
    """
    return soc.lower() not in WITHOUT


def soc_in_use() -> str:
    """MindSpore's name of the Ascend chip; empty where there is none, or it cannot be asked."""
    try:
        from mindspore._c_expression import MSContext

        return str(MSContext.get_instance().get_ascend_soc_version())
    except (ImportError, AttributeError, RuntimeError):
        return ""


def decoder_arguments(mask: Tensor | None, heads: int, scale: float) -> dict[str, Any]:
    """For queries [B, nh, S, hs] and keys [B, nkv, L, hs]; key heads are shared by the kernel.

    Args:
        mask: Additive, [B, 1, S, L], 0 where a query may look; None to look everywhere.
        heads: Query heads.
        scale: Of the true head width, whatever a kernel pads it to.
    """
    arguments = {"head_num": heads, "scalar_value": float(scale), "input_layout": "BNSD"}
    if mask is not None:
        discarded = (mask.astype(ms.float32) < 0).astype(ms.uint8)
        arguments |= {"attn_mask": discarded, "sparse_mode": COMPLETE_MASK}
    return arguments


def vision_arguments(ends: tuple[int, ...], heads: int, scale: float) -> dict[str, Any]:
    """For queries, keys and values [N, nh, hs] of one or more segments that see only themselves.

    Args:
        ends: Where each segment ends, increasing, without a leading 0; the last is N.
        heads: Heads.
        scale: Of the true head width, whatever a kernel pads it to.

    Raises:
        Qwen2VLError: There are more segments than the kernel takes.
    """
    if len(ends) > MAX_SEGMENTS:
        raise Qwen2VLError(
            f"{len(ends)} images and frames in one batch: the fused attention takes "
            f"{MAX_SEGMENTS}; pass fewer, or attn_implementation='chunked'"
        )
    return {
        "head_num": heads,
        "scalar_value": float(scale),
        "input_layout": "TND",
        "actual_seq_qlen": ends,
        "actual_seq_kvlen": ends,
    }
