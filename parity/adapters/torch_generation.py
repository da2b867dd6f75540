"""The reference's greedy generation, and how sure it was of each token."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from parity.adapters.torch_inputs import reference_inputs
from parity.adapters.torch_reference import THREADS, load, provenance, rounded_inputs
from parity.adapters.torch_truth import Widen, widen_value, widened_copy
from parity.core.cases import Case
from parity.core.errors import ParityError
from parity.core.generation import Generation, ReferenceStep, measured_step
from parity.core.numerics import Precision


def capture_generation(
    case: Case, checkpoint: Path, precision: Precision, count: int, key: dict[str, object]
) -> Generation:
    """Generate ``count`` tokens after every row of every call of ``case``, ends of text included.

    The logits are those of the generation itself; their truth is one pass in float64 over prompt
    and tokens, which is the same as step by step.

    Raises:
        ParityError: the checkpoint or the case cannot be used.
    """
    torch.set_num_threads(THREADS)
    model = load(checkpoint, precision)
    truth = widened_copy(model)
    rows: list[list[ReferenceStep]] = []
    for call in case.calls:
        inputs = rounded_inputs(reference_inputs(call, checkpoint), precision)
        with torch.no_grad():
            rows += _measured(model, truth, inputs, count, case.name)
    return Generation(key, rows, {"reference": provenance(precision)})


def _measured(
    model: Any, truth: Any, inputs: Mapping[str, torch.Tensor], count: int, case: str
) -> Iterator[list[ReferenceStep]]:
    """The steps of every row of one call.

    Raises:
        ParityError: the checkpoint asks for more than greedy generation.
    """
    sequences, logits, positions = _greedy(model, inputs, count)
    exact = _truth(truth, inputs, sequences, positions, count)
    for tokens, *pair in zip(sequences[:, -count:].tolist(), logits, exact, strict=True):
        steps = [measured_step(own.numpy(), true.numpy()) for own, true in zip(*pair, strict=True)]
        if [step.token for step in steps] != tokens:
            raise ParityError(
                f"the reference's tokens on {case} are not the likeliest of its logits: its "
                "generation_config.json asks for more than greedy; remove that from the checkpoint"
            )
        yield steps


def _greedy(
    model: Any, inputs: Mapping[str, torch.Tensor], count: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Sequences [B, S + count], logits of each step [B, count, V], the prompt's position ids."""
    settings = model.generation_config
    # Nothing ends a row, and nothing but the logits chooses.
    settings.eos_token_id, settings.repetition_penalty = None, 1.0
    seen: list[torch.Tensor] = []

    def note(module: Any, args: Any, kwargs: dict[str, Any]) -> None:
        seen.append(kwargs["position_ids"])

    handle = model.model.language_model.register_forward_pre_hook(note, with_kwargs=True)
    try:
        output = model.generate(
            **inputs, do_sample=False, max_new_tokens=count, output_logits=True,
            return_dict_in_generate=True,
        )  # fmt: skip
    finally:
        handle.remove()
    logits = torch.stack(output.logits, dim=1).double()  # [B, count, V]
    return output.sequences, logits, torch.cat(seen, dim=-1)


def _truth(
    model: Any,
    inputs: Mapping[str, torch.Tensor],
    sequences: torch.Tensor,
    positions: torch.Tensor,
    count: int,
) -> torch.Tensor:
    """Float64 logits [B, count, V] of the same tokens, in one pass, at the same positions."""
    fed = sequences[:, :-1]  # the last token is never fed
    new = fed.shape[1] - inputs["input_ids"].shape[1]
    tensors = dict(widen_value(inputs))
    tensors["input_ids"] = fed
    for name, fill in (("attention_mask", 1), ("mm_token_type_ids", 0)):
        tensors[name] = torch.nn.functional.pad(tensors[name], (0, new), value=fill)
    with Widen():
        output = model(
            **tensors, position_ids=positions, use_cache=False, logits_to_keep=count
        )  # fmt: skip
    logits: torch.Tensor = output.logits
    return logits
