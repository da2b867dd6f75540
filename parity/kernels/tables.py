"""The operands of sine and cosine: the angles of the rotary tables."""

from __future__ import annotations

import numpy as np

from parity.core.points import Point
from parity.core.store import Bundle
from parity.core.trace import Array
from parity.subjects.modules import Config

VISION_THETA = 10000.0


def angles(bundle: Bundle, point: Point, config: Config) -> Array:
    """The angles of the table ``point`` in the prompt, float32, one for each rotated pair.

    Args:
        bundle: has the position ids that the reference gave to the table's module.
        point: a rotary table, of either tower.
        config: of the checkpoint.

    Returns:
        float32 ``[..., f]``: positions times the frequencies of all axes (the text model then
        takes some from each).
    """
    ids = bundle.tensor(bundle.points[point.name][0].inputs["position_ids"]).astype(np.float32)
    vision = point.stage == "vision"
    width = config.vision_head_dim // 2 if vision else config.head_dim
    theta = VISION_THETA if vision else config.rope_theta
    powers = np.arange(0, width, 2, dtype=np.float32) / np.float32(width)
    frequencies = np.float32(1.0) / np.power(np.float32(theta), powers)
    return np.asarray(ids[..., None] * frequencies)
