"""The reference: Hugging Face's Qwen2-VL in PyTorch, captured once into a bundle.

Executions: R in the run's dtype, recording every point's inputs and output; R again without
hooks, as proof that they change nothing; O, the whole model in float64; L, in float64 with every
module on the inputs it had in R, handing on R's output. L is made twice, for judging whole blocks
and for judging the modules inside them. Where the dtype does not hold every stored weight, O is
made once more with the stored ones, to tell what rounding them costs.

Weights and pixel values are rounded to the dtype once, by loading and at the model's door. The
truths compute with those rounded numbers, so that rounding them counts as nobody's error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import Qwen2VLForConditionalGeneration

from parity.adapters.torch_execution import Called, run_reference, run_truth
from parity.adapters.torch_inputs import reference_inputs
from parity.adapters.torch_proofs import prove
from parity.adapters.torch_recording import EndToEnd, Local, Recorder, hooked
from parity.adapters.torch_rounding import WeightRounding, same_weights
from parity.adapters.torch_truth import Widen, widened_copy
from parity.core.cases import Case
from parity.core.errors import ParityError, describe_exception
from parity.core.numerics import Precision
from parity.core.points import Point
from parity.core.store import BundleWriter, ReferenceFiring
from parity.core.trace import Array
from parity.subjects import qwen2vl

THREADS = 2
"""Fixed, because the order of summation follows from it."""


class TorchReference:
    """A checkpoint in one precision, loaded once, to be captured on any number of cases."""

    def __init__(self, checkpoint: Path, precision: Precision) -> None:
        """Load it, in the precision and in float64.

        Raises:
            ParityError: the checkpoint cannot be used.
        """
        torch.set_num_threads(THREADS)
        self.checkpoint, self.precision = checkpoint, precision
        self.model = load(checkpoint, precision)
        stored = load_stored(checkpoint)
        same = same_weights(self.model, stored)
        self.truth = stored if same else widened_copy(self.model)
        self.stored = None if same else stored
        """The model with the stored weights, where rounding them changed one."""

    def capture(
        self, case: Case, points: Sequence[Point], into: BundleWriter, *, blocks: bool = True
    ) -> None:
        """Run on ``case`` and record every one of ``points`` into ``into``; see `record`.

        Raises:
            ParityError: the case cannot be used.
        """
        inputs = [reference_inputs(call, self.checkpoint) for call in case.calls]
        self.record(inputs, points, into, steps=case.decode_steps, chunks=case.chunks,
                    blocks=blocks)  # fmt: skip

    def record(
        self,
        inputs: Sequence[Mapping[str, Array]],
        points: Sequence[Point],
        into: BundleWriter,
        *,
        steps: int = 0,
        chunks: int = 1,
        blocks: bool = True,
    ) -> None:
        """Run on what a processor gave, or could have given, and record ``points`` into ``into``.

        Nothing is left of what was recorded before: it is as if the checkpoint were loaded anew.

        Args:
            inputs: the processor's outputs of each call, one after the other on this model.
            points: every point at module level.
            into: a writer that nothing was recorded into.
            steps: tokens to decode after each prompt.
            chunks: parts in which the decoder is fed a prompt.
            blocks: whether to make the truth of whole blocks too (``local_block``). A comparison
                at block level needs it, and one at module level never reads it.

        Raises:
            ParityError: the inputs cannot be used.
        """
        into.provenance["reference"] = provenance(self.precision)
        into.chunks = chunks
        record_inputs(inputs, points, into)
        with torch.no_grad():
            recorder = Recorder(points, into)
            with hooked(self.model, recorder):
                called = self._run(inputs, steps, chunks)
            into.proofs = prove(called, lambda: self._run(inputs, steps, chunks))
            into.tokens = [call.tokens for call in called]
            for call in called:
                if call.deltas is not None:
                    recorder.record_deltas(call.deltas)
            self._follow(EndToEnd(points, into), inputs, recorder)
            self._follow(Local(points, into, "local"), inputs, recorder)
            if blocks:
                whole = [point for point in points if point.level == "block"]
                self._follow(Local(whole, into, "local_block"), inputs, recorder)
            if self.stored is not None:
                self._follow(WeightRounding(points, into), inputs, recorder)

    def _run(self, inputs: Sequence[Mapping[str, Array]], steps: int, chunks: int) -> list[Called]:
        """The calls in a row, on the model as it is after loading."""
        self.model.model.rope_deltas = None
        return [run_reference(self.model, one, steps, chunks) for one in inputs]

    def _follow(
        self, follower: EndToEnd, inputs: Sequence[Mapping[str, Array]], recorder: Recorder
    ) -> None:
        """The calls in float64, seen by ``follower``."""
        stored = isinstance(follower, WeightRounding)
        model, into = self.stored if stored else self.truth, recorder.into
        each = len(recorder.position_ids) // len(inputs)
        with hooked(model, follower), Widen():
            for number, (one, tokens) in enumerate(zip(inputs, into.tokens, strict=True)):
                positions = recorder.position_ids[number * each : (number + 1) * each]
                run_truth(model, rounded_inputs(one, self.precision), tokens, positions,
                          into.chunks)  # fmt: skip
        follower.finish()


def record_inputs(
    inputs: Sequence[Mapping[str, Array]], points: Sequence[Point], into: BundleWriter
) -> None:
    """Record what the processor gave to each call.

    Raises:
        ParityError: it gives something that is not declared.
    """
    declared = {point.name for point in points}
    for name, array in (item for one in inputs for item in one.items()):
        if f"processor.{name}" not in declared:
            raise ParityError(
                f"the reference's processor gives {name}, which {qwen2vl.__name__} does not "
                "declare: it has been tested with other versions of transformers; add the point"
            )
        firing = ReferenceFiring(into.add(array), str(array.dtype))
        into.points.setdefault(f"processor.{name}", []).append(firing)


def load(checkpoint: Path, precision: Precision) -> Any:
    """The model as users load it: eager attention, evaluation mode, in ``precision``.

    Raises:
        ParityError: it does not load completely, or its rotary frequencies were rounded.
    """
    return _load(checkpoint, getattr(torch, precision.torch))


def load_stored(checkpoint: Path) -> Any:
    """The model in float64, with its weights as they are stored.

    Raises:
        ParityError: as `load`.
    """
    return _load(checkpoint, torch.float64)


def _load(checkpoint: Path, dtype: torch.dtype) -> Any:
    try:
        model, report = Qwen2VLForConditionalGeneration.from_pretrained(
            checkpoint,
            dtype=dtype,
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


def rounded_inputs(inputs: Mapping[str, Array], precision: Precision) -> dict[str, torch.Tensor]:
    """What the model computes with: pixel values rounded to its dtype, integers as they are."""
    tensors = {name: torch.from_numpy(array) for name, array in inputs.items()}
    dtype = getattr(torch, precision.torch)
    return {name: t.to(dtype) if t.is_floating_point() else t for name, t in tensors.items()}


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
