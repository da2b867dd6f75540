"""The reference: Hugging Face's Qwen2-VL in PyTorch, captured once into a bundle.

Executions: R in the run's dtype, recording every point's inputs and output; O, the whole model
in float64; L, in float64 with every module on the inputs it had in R, handing on R's output. L
is made twice, for judging whole blocks and for judging the modules inside them.

Weights and pixel values are rounded to the dtype once, by loading and at the model's door. The
truths compute with those rounded numbers, so that rounding them counts as nobody's error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import DynamicCache, Qwen2VLForConditionalGeneration

from parity.adapters.torch_inputs import reference_inputs
from parity.adapters.torch_recording import EndToEnd, Local, Recorder, hooked
from parity.adapters.torch_truth import Widen, widen_value, widened_copy
from parity.core.cases import Case
from parity.core.errors import ParityError, describe_exception
from parity.core.numerics import Precision
from parity.core.points import Point
from parity.core.store import BundleWriter, ReferenceFiring
from parity.core.trace import Array
from parity.subjects import qwen2vl

THREADS = 2
"""Fixed, because the order of summation follows from it."""


def capture(
    case: Case, checkpoint: Path, precision: Precision, points: Sequence[Point], into: BundleWriter
) -> None:
    """Run the reference on ``case`` and record every one of ``points`` into ``into``.

    Raises:
        ParityError: the checkpoint or the case cannot be used.
    """
    torch.set_num_threads(THREADS)
    inputs = reference_inputs(case, checkpoint)
    model = load(checkpoint, precision)
    truth = widened_copy(model)
    into.provenance["reference"] = provenance(precision)
    declared = {point.name for point in points}
    for name, array in inputs.items():
        if f"processor.{name}" not in declared:
            raise ParityError(
                f"the reference's processor gives {name}, which {qwen2vl.__name__} does not "
                "declare: it has been tested with other versions of transformers; add the point"
            )
        into.points[f"processor.{name}"] = [ReferenceFiring(into.add(array), str(array.dtype))]
    with torch.no_grad():
        recorder = Recorder(points, into)
        with hooked(model, recorder):
            sequences, deltas = run_reference(model, inputs, case.decode_steps)
        if deltas is not None:
            recorder.record_deltas(deltas)
        prompt = inputs["input_ids"].shape[1]
        into.tokens = sequences[:, prompt : prompt + case.decode_steps].tolist()
        rounded = rounded_inputs(inputs, precision)
        blocks = [point for point in points if point.level == "block"]
        for follower in (EndToEnd(points, into), Local(points, into, "local"),
                         Local(blocks, into, "local_block")):  # fmt: skip
            with hooked(truth, follower), Widen():
                run_truth(truth, rounded, into.tokens, recorder.position_ids)
            follower.finish()


def load(checkpoint: Path, precision: Precision) -> Any:
    """The model as users load it: eager attention, evaluation mode, in ``precision``.

    Raises:
        ParityError: it does not load completely, or its rotary frequencies were rounded.
    """
    try:
        model, report = Qwen2VLForConditionalGeneration.from_pretrained(
            checkpoint,
            dtype=getattr(torch, precision.torch),
            attn_implementation="eager",
            output_loading_info=True,
            local_files_only=True,
        )
    except Exception as error:
        raise ParityError(
            f"the reference cannot load the checkpoint {checkpoint}: {describe_exception(error)}; "
            "check that the folder is complete and copy damaged files again"
        ) from error
    wrong = {k: sorted(v) for k, v in report.items() if v and k != "error_msgs"}
    if wrong:
        raise ParityError(f"the reference loads {checkpoint} only in part: {wrong}")
    for name, buffer in model.named_buffers():
        if name.endswith("inv_freq") and buffer.dtype != torch.float32:
            raise ParityError(f"the reference's {name} is {buffer.dtype}; it has to stay float32")
    return model.eval()


def run_reference(
    model: Any, inputs: Mapping[str, Array], steps: int
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """One forward, or a greedy ``generate`` of ``steps`` tokens after the first.

    Returns the token sequences ``[B, S + new]`` and the rope deltas ``[B, 1]``, if it has any.
    """
    tensors = {name: torch.from_numpy(array) for name, array in inputs.items()}
    if not steps:
        model(**tensors, use_cache=False)
        return tensors["input_ids"], model.model.rope_deltas
    # One more new token than steps: a step feeds a token, and the last one is never fed.
    count = steps + 1
    sequences = model.generate(
        **tensors, do_sample=False, max_new_tokens=count, min_new_tokens=count, logits_to_keep=0
    )
    return sequences, model.model.rope_deltas


def rounded_inputs(inputs: Mapping[str, Array], precision: Precision) -> dict[str, torch.Tensor]:
    """What the model computes with: pixel values rounded to its dtype, integers as they are."""
    tensors = {name: torch.from_numpy(array) for name, array in inputs.items()}
    dtype = getattr(torch, precision.torch)
    return {name: t.to(dtype) if t.is_floating_point() else t for name, t in tensors.items()}


def run_truth(
    model: Any,
    inputs: Mapping[str, torch.Tensor],
    tokens: list[list[int]],
    positions: Sequence[Any],
) -> None:
    """The same forwards in float64, fed the reference's tokens and position ids."""
    tensors = widen_value(inputs)
    cache = DynamicCache(config=model.config.text_config)
    mask = tensors["attention_mask"]
    model.model.rope_deltas = None
    model(**tensors, position_ids=positions[0], past_key_values=cache, use_cache=True)
    for step, position in enumerate(positions[1:]):
        mask = torch.cat([mask, mask.new_ones(mask.shape[0], 1)], dim=1)
        column = torch.tensor([row[step] for row in tokens])[:, None]
        model(input_ids=column, attention_mask=mask, position_ids=position,
              past_key_values=cache, use_cache=True)  # fmt: skip


def provenance(precision: Precision) -> dict[str, object]:
    """What the reference's numbers depend on, besides its inputs."""
    import transformers

    return {
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "dtype": precision.torch,
        "threads": THREADS,
        "attention": "eager",
        "cpu": torch.backends.cpu.get_cpu_capability(),
    }
