"""What MindSpore says of the device and its precision switches, for the report's provenance."""

from __future__ import annotations

import os

import mindspore as ms

NONE, UNKNOWN = "none", "unknown"


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


def _ascend() -> dict[str, str]:
    """What MindSpore's own Python layer asks; it has no public names for reading these."""
    try:
        from mindspore._c_expression import AscendOpPrecisionConf, MSContext

        switches = AscendOpPrecisionConf.get_instance()
        return {
            "soc": str(MSContext.get_instance().get_ascend_soc_version()),
            # CANN rounds operands of convolutions to HF32 unless told not to, not of matmuls.
            "hf32 matmul": switch(switches.matmul_allow_hf32(), "off"),
            "hf32 convolution": switch(switches.conv_allow_hf32(), "on"),
            "precision mode": switches.precision_mode() or "default (must_keep_origin_dtype)",
            "overflow mode": os.environ.get("MS_ASCEND_CHECK_OVERFLOW_MODE", "default"),
        }
    except (ImportError, AttributeError, RuntimeError):
        return dict.fromkeys(_ASCEND_ONLY, UNKNOWN)  # another version; no reason to lose a run


def switch(value: str, default: str) -> str:
    """The word for MindSpore's ``"1"``, ``"0"`` and ``""``, the last being CANN's default."""
    return {"1": "on", "0": "off", "": f"default ({default})"}.get(value, value)
