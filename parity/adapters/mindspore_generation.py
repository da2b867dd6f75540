"""The candidate's greedy generation: its own, and step by step on given tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from parity.adapters.mindspore_candidate import MODEL_INPUTS, MindSporeCandidate
from parity.core.cases import Case
from parity.core.numerics import Precision
from parity.core.trace import Array

Tokens = list[list[int]]


class MindSporeGenerator:
    """A loaded port that generates."""

    def __init__(
        self, checkpoint: Path, precision: Precision, device: str, *, jit: bool = False
    ) -> None:
        """Load the port; see `MindSporeCandidate`."""
        self.candidate = MindSporeCandidate(checkpoint, precision, device, jit=jit)

    def preprocess(self, case: Case) -> dict[str, Array]:
        """The port's own processor on ``case``, as far as the model takes it."""
        inputs = self.candidate.preprocess(case)
        return {name: inputs[name] for name in MODEL_INPUTS if name in inputs}

    def free(self, inputs: Mapping[str, Any], count: int) -> Tokens:
        """The port's ``generate``: ``count`` new tokens of each row, whatever they are."""
        from qwen2vl_ms.generate import generate_with_info

        result = generate_with_info(
            self.candidate.model, **inputs, max_new_tokens=count, do_sample=False,
            repetition_penalty=1.0, eos_token_id=[],
        )  # fmt: skip
        return [list(row) for row in result.new_tokens]

    def forced(self, inputs: Mapping[str, Any], tokens: Sequence[Sequence[int]]) -> Tokens:
        """The port's choice at each step of each row, given ``tokens`` up to there."""
        from qwen2vl_ms.generate import Decoding
        from qwen2vl_ms.generation_prompt import checked_prompt
        from qwen2vl_ms.sampling import likeliest

        model, given = self.candidate.model, np.asarray(tokens)  # [B, count]
        integers = {name: value for name, value in inputs.items() if "pixel" not in name}
        prompt = checked_prompt(model.config, **integers)
        decoding = Decoding(model, prompt, prompt.input_ids.shape[1] + given.shape[1] - 1)
        pixels = {name: value for name, value in inputs.items() if "pixel" in name}
        chosen = [likeliest(decoding.prefill(**pixels))]
        chosen += [likeliest(decoding.step(column)) for column in given.T[:-1]]
        choices: Tokens = np.stack(chosen, axis=1).tolist()
        return choices
