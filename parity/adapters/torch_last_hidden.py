"""The reference's last hidden state on token ids alone: what MindONE tests of this model."""

from __future__ import annotations

from pathlib import Path

import torch

from parity.adapters.torch_recording import to_numpy
from parity.adapters.torch_reference import THREADS, load
from parity.core.numerics import Precision
from parity.core.trace import Array


def last_hidden_state(
    checkpoint: Path, precision: Precision, input_ids: Array, attention_mask: Array
) -> Array:
    """One forward on text, nothing cached.

    Args:
        checkpoint: Hugging Face checkpoint folder.
        precision: in which the weights are loaded and everything computes.
        input_ids: int64 ``[B, S]``.
        attention_mask: int64 ``[B, S]``.

    Returns:
        float32 ``[B, S, H]``, narrower values widened.

    Raises:
        ParityError: the checkpoint cannot be used.
    """
    torch.set_num_threads(THREADS)
    model = load(checkpoint, precision)
    with torch.no_grad():
        output = model.model(
            input_ids=torch.from_numpy(input_ids),
            attention_mask=torch.from_numpy(attention_mask),
            use_cache=False,
        )
    return to_numpy(output.last_hidden_state)
