"""What rounding the weights costs, apart from what arithmetic on the rounded ones costs.

Both sides of a comparison compute with weights that were rounded to the dtype once, so that
rounding them is nobody's error. It still moves the results: by how much is measured here, end to
end, as one float64 run with the rounded weights against one with the stored weights. Pixel values
and rotary tables are the same rounded numbers in both.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from parity.adapters.torch_recording import EndToEnd
from parity.core.store import BundleWriter, ReferenceFiring
from parity.core.trace import Array

Floats = NDArray[np.float64]


def same_weights(rounded: torch.nn.Module, stored: torch.nn.Module) -> bool:
    """Whether rounding to the dtype of ``rounded`` changed none of the float64 ``stored``."""
    pairs = zip(rounded.parameters(), stored.parameters(), strict=True)
    return all(torch.equal(mine.double(), exact) for mine, exact in pairs)


class WeightRounding(EndToEnd):
    """Sees the model with the stored weights run in float64, after O was recorded."""

    field = "weight_rounding"

    def note(self, firing: ReferenceFiring, truth: Array) -> None:
        """Keep how far O, which computes with the rounded weights, is from this."""
        firing.weight_rounding = relative_change(
            rounded_truth(self.into, firing), truth.astype(np.float64)
        )


def rounded_truth(into: BundleWriter, firing: ReferenceFiring) -> Floats:
    """O at one firing."""
    value = into.value(firing).astype(np.float64)
    if firing.end_to_end is None:
        return value
    return value + into.tensor(firing.end_to_end).astype(np.float64)


def relative_change(changed: Floats, base: Floats) -> float:
    """``||changed - base|| / ||base||``; 0 where the two are equal, infinite if only base is 0."""
    change, size = float(np.linalg.norm(changed - base)), float(np.linalg.norm(base))
    return change / size if size else change and float("inf")
