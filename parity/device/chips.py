"""The Ascend chips: how they are called, and what their arithmetic lacks.

From CANN's documentation (``aclrtFloatOverflowMode``, ``SetHF32Mode``, operators' dtype tables);
nothing here was measured. One chip has several names: ``npu-smi`` says 910B3, CANN Ascend910B3, and
MindSpore ascend910b, which is its family. Two names are traps: CANN's Ascend910B, without a digit,
is a first-generation chip, and npu-smi's Ascend910 is one half of a 910C.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from parity.core.numerics import precision


@dataclass(frozen=True)
class Chip:
    """A family of chips that compute alike."""

    name: str
    """As people call it."""
    products: str
    """As Huawei's documentation calls what it is built into."""
    mindspore: str
    """What MindSpore calls it."""
    names: str
    """A pattern of what npu-smi and CANN call it, without ``Ascend``."""
    modern: bool
    """Whether it has bfloat16, HF32 and infinities; the others saturate, and have neither."""

    @property
    def title(self) -> str:
        """For people."""
        return f"{self.name} ({self.products})"

    @property
    def overflow(self) -> str:
        """What becomes of a number that is too large, unless told otherwise."""
        return "INFNAN_MODE" if self.modern else "SATURATION_MODE"


CHIPS = (
    Chip("910A", "Atlas training", "ascend910", r"910(A|B|ProA|ProB|PremiumA)", modern=False),
    Chip("910B", "Atlas A2", "ascend910b", r"910B\d[\w-]*", modern=True),
    Chip("910C", "Atlas A3", "ascend910_93", r"910(C\w*|_93\w*)?", modern=True),
    Chip("310P", "Atlas inference", "ascend310p", r"310P\w*", modern=False),
)  # fmt: skip


def chip_of(name: str) -> Chip | None:
    """The chip that MindSpore, CANN or npu-smi calls ``name``; ``None`` if it is not known."""
    for chip in CHIPS:
        if name == chip.mindspore:
            return chip
    bare = name.removeprefix("Ascend").strip()
    return next((chip for chip in CHIPS if name and re.fullmatch(chip.names, bare)), None)


def lacking(chip: Chip | None, dtype: str) -> str | None:
    """Why ``chip`` cannot run the precision ``dtype``; ``None`` if it can, or nobody knows.

    Raises:
        ParityError: there is no such precision.
    """
    wanted = precision(dtype).format.name
    if chip is None or chip.modern or wanted != "bfloat16":
        return None
    return f"{chip.title} has no {wanted}: Atlas A2 and A3 have it"


def resolved(facts: Mapping[str, str]) -> dict[str, str]:
    """What a device says of itself, with the default that its chip has where it names none."""
    chip = chip_of(facts.get("soc", ""))
    told = dict(facts)
    if chip is not None and told.get("overflow mode") == "default":
        told["overflow mode"] = f"default ({chip.overflow})"
    if chip is not None and not chip.modern:
        # MindSpore's switches are for Atlas A2 and later; the older chips have only this.
        told["overflow mode"] = chip.overflow
        told |= dict.fromkeys(("hf32 matmul", "hf32 convolution"), f"none (not on {chip.name})")
    return told
