"""Selecting MindSpore's device and its precision switches, and what it says of both."""

from __future__ import annotations

import os
from collections.abc import Collection
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import Tensor, ops

from parity.core.errors import ParityError

NONE, UNKNOWN = "none", "unknown"
OVERFLOW = "MS_ASCEND_CHECK_OVERFLOW_MODE"
PRECISION_MODE = "must_keep_origin_dtype"
"""MindSpore's default, set all the same: its documentation says that the default may change."""


def set_device(device: str, hf32: Collection[str] | None = None) -> None:
    """Select the device, and on it what makes two runs comparable; a process keeps its first one.

    On Ascend kernels are deterministic, dtypes are kept, and HF32 is off where it is not asked for
    (CANN's own default is on for convolutions). On CPU launching is synchronous.

    Args:
        device: as MindSpore names it, with an index behind a colon: ``Ascend:0``.
        hf32: what may compute in HF32, of ``matmul`` and ``conv``; ``None`` keeps what was chosen
            earlier in this process, and turns it off if nothing was.

    Raises:
        ParityError: MindSpore knows no such device, has been set to another one, or cannot switch
            any more.
    """
    target, _, index = device.partition(":")
    if hf32 and target != "Ascend":
        raise ParityError(f"{device} has no HF32, which was asked for {' and '.join(hf32)}")
    try:
        ms.set_device(target, int(index) if index else 0)
        if target == "CPU":
            # Errors then name the operator that failed; on CPU small modules even get faster.
            ms.runtime.launch_blocking()
        if target == "Ascend":
            _switch(hf32)
    except (RuntimeError, ValueError, TypeError, ImportError) as error:
        raise ParityError(f"device {device!r} cannot be used: {_reason(error)}") from error


def _switch(hf32: Collection[str] | None) -> None:
    """Set Ascend's switches, each of which MindSpore lets a process set once."""
    from mindspore.device_context.ascend import op_precision

    if ms.get_context("deterministic") != "ON":
        ms.set_deterministic(True)
    if hf32 is None and _switched():
        return
    op_precision.precision_mode(PRECISION_MODE)
    op_precision.matmul_allow_hf32("matmul" in (hf32 or ()))
    op_precision.conv_allow_hf32("conv" in (hf32 or ()))


def _switched() -> bool:
    """Whether an earlier call in this process has chosen; not known of another version."""
    try:
        return bool(_conf().is_matmul_allow_hf32_configured())
    except (ImportError, AttributeError):
        return False


def _reason(error: Exception) -> str:
    """The first line of a message, and which library could not be loaded, if that is why."""
    lines = str(error).splitlines() or [type(error).__name__]
    failed = next((line for line in lines if "cannot open shared object file" in line), "")
    library = failed.partition(" failed. ")[2].partition(":")[0]
    needs = f" ({library} is missing: source CANN's set_env.sh)" if library else ""
    return lines[0] + needs


def try_device(device: str) -> dict[str, str]:
    """Select ``device`` and multiply on it, which starts it.

    Returns:
        Its facts, as `device_facts`.

    Raises:
        ParityError: it cannot be used, or computes a wrong product.
    """
    set_device(device)
    ones = Tensor(np.ones((16, 16), np.float32))
    try:
        product = ops.matmul(ones, ones).asnumpy()
    except RuntimeError as error:
        raise ParityError(f"device {device!r} cannot be used: {_reason(error)}") from error
    if not (product == 16).all():
        raise ParityError(f"device {device!r} says that 16 times 1 * 1 is {product[0, 0]}")
    return device_facts(device)


def device_facts(device: str) -> dict[str, str]:
    """The chip and the switches that change numbers on it, as they are now.

    Args:
        device: as MindSpore names it, with an index behind a colon: ``Ascend:0``.

    Returns:
        ``soc``, ``hf32 matmul``, ``hf32 convolution``, ``precision mode``, ``deterministic`` and
        ``overflow mode``. What only Ascend has is ``none`` elsewhere.
    """
    facts = _ascend() if device.startswith("Ascend") else dict.fromkeys(_ASCEND_ONLY, NONE)
    return {**facts, "deterministic": str(ms.get_context("deterministic")).lower()}


_ASCEND_ONLY = ("soc", "hf32 matmul", "hf32 convolution", "precision mode", "overflow mode")


def _conf() -> Any:
    """What holds the switches; MindSpore has no public name for reading them."""
    from mindspore._c_expression import AscendOpPrecisionConf

    return AscendOpPrecisionConf.get_instance()


def _ascend() -> dict[str, str]:
    """What MindSpore's own Python layer asks."""
    try:
        from mindspore._c_expression import MSContext

        switches = _conf()
        return {
            "soc": str(MSContext.get_instance().get_ascend_soc_version()),
            # CANN rounds operands of convolutions to HF32 unless told not to, not of matmuls.
            "hf32 matmul": switch(switches.matmul_allow_hf32(), "off"),
            "hf32 convolution": switch(switches.conv_allow_hf32(), "on"),
            "precision mode": switches.precision_mode() or f"default ({PRECISION_MODE})",
            "overflow mode": os.environ.get(OVERFLOW, "default"),
        }
    except (ImportError, AttributeError, RuntimeError):
        return dict.fromkeys(_ASCEND_ONLY, UNKNOWN)  # another version; no reason to lose a run


def switch(value: str, default: str) -> str:
    """The word for MindSpore's ``"1"``, ``"0"`` and ``""``, the last being CANN's default."""
    return {"1": "on", "0": "off", "": f"default ({default})"}.get(value, value)
