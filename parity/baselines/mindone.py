"""What MindONE tests of its Qwen2-VL: the last hidden state on seven text tokens.

From mindspore-lab/mindone at 154328ff, ``tests/transformers_tests/models/qwen2_vl/
test_modeling_qwen2_vl.py`` (``DTYPE_AND_THRESHOLDS``, ``Qwen2VLModelTester``) and at 003ff4ba,
``tests/modeling_test_utils.py`` (``compute_diffs``, ``get_modules``): the relative Frobenius norm
``||reference - candidate|| / ||reference||`` has to be under 5e-2 in fp32, fp16 and bf16 alike.

The token ids are the ones that its seed draws. Two things are kinder than the original: the model
is the one that the faults are planted in, instead of random weights in two layers, and all tokens
are attended to, where the original's random mask leaves one. In bf16 the reference computes in
float32, as the original's does.
"""

from __future__ import annotations

import numpy as np

from parity.baselines.seen import Seen
from parity.core.trace import Array

THRESHOLD = 5e-2
POINT = "language_model.norm"
"""Where the last hidden state is."""
IDS: tuple[int, ...] = (81, 14, 3, 94, 35, 31, 28)
"""``ids_numpy([1, 7], 99)`` with ``random.Random(42)``, from ``modeling_common.py``."""
REFERENCES = {"fp32": "fp32", "fp16": "fp16", "bf16": "fp32", "ascend-mixed": "fp32"}
"""The candidate's precision: the reference's. The original has no mixed one; it is held as bf16."""


def inputs() -> tuple[Array, Array]:
    """Token ids and attention mask, int64 ``[1, 7]``."""
    ids = np.array([IDS], dtype=np.int64)
    return ids, np.ones_like(ids)


def blamed(seen: Seen) -> list[str]:
    """The last hidden state, if it is not within the threshold."""
    reference, candidate = seen.hidden.reference, seen.hidden.candidate
    if candidate is None or candidate.shape != reference.shape:
        return [POINT]
    return [] if relative_norm(reference, candidate) < THRESHOLD else [POINT]


def relative_norm(reference: Array, candidate: Array) -> float:
    """``||reference - candidate|| / ||reference||``."""
    wrong = np.subtract(reference, candidate)
    return float(np.linalg.norm(wrong) / np.linalg.norm(reference))
