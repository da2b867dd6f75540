"""The candidate: the MindSpore port, run freely and on the reference's own inputs."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from mindspore import Tensor

from parity.adapters.mindspore_compiled import untapped
from parity.adapters.mindspore_device import device_facts, set_device, try_device
from parity.adapters.mindspore_forcing import Forcing
from parity.adapters.mindspore_recording import Recording, hooked, named_cells
from parity.adapters.mindspore_stand_ins import declared_holes, leave_out, standing_in
from parity.adapters.mindspore_values import as_array, bits
from parity.core.cases import Case
from parity.core.errors import describe_exception
from parity.core.numerics import Precision
from parity.core.points import Point
from parity.core.sources import Source
from parity.core.store import Bundle
from parity.core.trace import Array, Trace
from parity.subjects import qwen2vl

if TYPE_CHECKING:
    from parity.adapters.mindspore_kernels import MindSporeKernels

MODEL_INPUTS = ("input_ids", "attention_mask", "mm_token_type_ids", "pixel_values",
                "image_grid_thw", "pixel_values_videos", "video_grid_thw")  # fmt: skip


class MindSporeCandidate:
    """A loaded port and its processor, on one device, in one precision."""

    def __init__(
        self, checkpoint: Path, precision: Precision, device: str, *, jit: bool = False
    ) -> None:
        """Load the port.

        Args:
            checkpoint: Hugging Face checkpoint folder.
            precision: its name is the port's policy.
            device: as MindSpore names it, with an index behind a colon: ``Ascend:0``.
            jit: compile each block; hooks then see blocks and nothing inside them.

        Raises:
            ParityError: the device is not there.
            Qwen2VLError: the checkpoint cannot be loaded.
        """
        set_device(device)
        from qwen2vl_ms import Qwen2VLForConditionalGeneration

        self.checkpoint = checkpoint
        self.model = Qwen2VLForConditionalGeneration.from_pretrained(
            checkpoint, mindspore_dtype=precision.name, jit=jit
        )
        self.model.set_train(False)

    @staticmethod
    def kernels(device: str) -> MindSporeKernels:
        """The device's own kernels, for the operator ledger.

        Raises:
            ParityError: the device is not there.
        """
        from parity.adapters.mindspore_kernels import MindSporeKernels

        return MindSporeKernels(device)

    def sources(self, points: Sequence[Point]) -> dict[str, Source]:
        """Where the port computes each point, by reading its files."""
        from parity.adapters.mindspore_sources import sources

        return sources({"": self.model, **named_cells(self.model)}, points)

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """Each token id as the text that the port's tokenizer reads it as."""
        from qwen2vl_ms.tokenization import Qwen2Tokenizer

        tokenizer = Qwen2Tokenizer.from_pretrained(self.checkpoint)
        known = {one: tokenizer.decode([one]) for one in set(ids)}
        return [known[one] for one in ids]

    @staticmethod
    def device_facts(device: str) -> dict[str, str]:
        """What MindSpore says of the device and its precision switches, for provenance."""
        return device_facts(device)

    @staticmethod
    def select_device(device: str, hf32: Collection[str]) -> None:
        """Select the device with ``matmul`` or ``conv`` or both in HF32, before anything is run.

        Raises:
            ParityError: it is not there, or has no HF32.
        """
        set_device(device, hf32)

    @staticmethod
    def try_device(device: str) -> dict[str, str]:
        """Compute something on the device; what it says of itself.

        Raises:
            ParityError: it cannot be used.
        """
        return try_device(device)

    def holes(self) -> list[str]:
        """Canonical paths of the cells that declare themselves not ported."""
        return declared_holes(named_cells(self.model))

    def leave_out(self, paths: Sequence[str]) -> None:
        """Make the cells at ``paths`` placeholders that are never executed."""
        cells = named_cells(self.model)
        for path in paths:
            leave_out(cells[path], path)

    def standing_in(
        self, results: Mapping[str, Sequence[Point]], bundle: Bundle
    ) -> AbstractContextManager[None]:
        """Let the reference's ``results`` stand in for the cells named, for one execution."""
        return standing_in(named_cells(self.model), results, bundle)

    def preprocess(self, case: Case) -> dict[str, Array]:
        """The port's own processor on ``case``."""
        from qwen2vl_ms import Qwen2VLProcessor

        processor = Qwen2VLProcessor.from_pretrained(self.checkpoint)
        texts = [
            str(processor.apply_chat_template(conversation, add_generation_prompt=True))
            for conversation in case.messages
        ]
        parts = [part for prompt in case.prompts for part in prompt]
        images = [str(part.image) for part in parts if part.image]
        videos = [[str(frame) for frame in part.frames] for part in parts if part.frames]
        budget = {} if case.max_pixels is None else {"max_pixels": case.max_pixels}
        batch = processor(
            text=texts,
            images=images or None,
            videos=videos or None,
            padding=True,
            images_kwargs=budget,
            videos_kwargs={"do_sample_frames": False} if videos else None,
        )
        found = {name: np.asarray(value) for name, value in batch.items()}
        found["attention_mask"] = np.multiply(found["attention_mask"], case.mask_value)
        return found

    def free(
        self,
        inputs: Mapping[str, Array],
        tokens: Sequence[Sequence[int]],
        points: Sequence[Point],
        stages: Collection[str],
        chunks: int = 1,
    ) -> Trace:
        """Run one call on ``inputs`` with nothing replaced; record every one of ``points``.

        Args:
            inputs: the processor's outputs.
            tokens: what to feed after the prompt, for each row.
            points: what to record.
            stages: what is asked for; a part of the model that none of them needs is not run.
            chunks: parts in which the decoder is fed the prompt.
        """
        trace = Trace()
        for name, array in inputs.items():
            trace.record(f"processor.{name}", array, str(array.dtype))
        recording = self.recording(points, trace)
        self._execute(inputs, tokens, chunks, stages, trace, recording)
        return trace

    @property
    def recording(self) -> type[Recording]:
        """The hooks of the free run."""
        return Recording

    def forced(self, bundle: Bundle, points: Sequence[Point], stages: Collection[str]) -> Trace:
        """Run with every module on the reference's inputs, handing on the reference's output."""
        trace = Trace()
        recording = Forcing(points, trace, bundle)
        for call, tokens in enumerate(bundle.tokens):
            inputs = {
                name: bundle.tensor(firing.value)
                for name in MODEL_INPUTS
                if (firing := bundle.get(f"processor.{name}", call)) is not None
            }
            self._execute(inputs, tokens, bundle.chunks, stages, trace, recording)
            if trace.stopped:
                break
        return trace

    def _execute(
        self,
        inputs: Mapping[str, Array],
        tokens: Sequence[Sequence[int]],
        chunks: int,
        stages: Collection[str],
        trace: Trace,
        recording: Recording,
    ) -> None:
        """Run what ``stages`` need, under hooks; an exception is recorded, not raised."""
        for name in (name for name in MODEL_INPUTS if name in inputs):
            trace.fed.setdefault(name, []).append(bits(inputs[name]))
        text = not set(stages) <= {"preprocessing", "vision"}
        with hooked(self.model, recording, text):
            try:
                if text:
                    self._generate(inputs, tokens, chunks, trace)
                elif "vision" in stages:
                    self._see(inputs, trace)
                trace.untapped |= untapped(self.model, recording, None)
            except Exception as error:
                trace.stopped = describe_exception(error)
                trace.untapped |= untapped(self.model, recording, error)

    def _see(self, inputs: Mapping[str, Array], trace: Trace) -> None:
        """The vision tower alone, once for images and once for videos."""
        for pixels, grid in (("pixel_values", "image_grid_thw"),
                             ("pixel_values_videos", "video_grid_thw")):  # fmt: skip
            if pixels in inputs:
                seen = Tensor(inputs[pixels])
                features = self.model.model.visual(hidden_states=seen, grid_thw=inputs[grid])
                trace.results.append(bits(as_array(features)))

    def _generate(
        self,
        inputs: Mapping[str, Array],
        tokens: Sequence[Sequence[int]],
        chunks: int,
        trace: Trace,
    ) -> None:
        """The prompt, then one forward for each of the reference's tokens."""
        prompt = {name: inputs[name] for name in MODEL_INPUTS if name in inputs}
        rows, length = inputs["input_ids"].shape
        # As the reference: a forward pass alone keeps no cache.
        steps = len(tokens[0]) if len(tokens) else 0
        cache = self.model.make_cache(rows, length + steps) if steps or chunks > 1 else None
        size = qwen2vl.part_length(length, chunks) if chunks > 1 else None
        output = self.model(**prompt, cache=cache, chunk_size=size)
        trace.results.append(bits(as_array(output.logits)))
        if any(name.endswith("grid_thw") for name in prompt):
            value = as_array(output.rope_deltas)
            trace.record("rope_deltas", value.astype(np.int64), "int64")
        mask = inputs["attention_mask"]
        for column in zip(*tokens, strict=True):
            mask = np.concatenate([mask, np.ones((len(mask), 1), mask.dtype)], axis=1)
            output = self.model(
                input_ids=np.array(column, np.int64)[:, None],
                attention_mask=mask,
                cache=output.cache,
                rope_deltas=output.rope_deltas,
            )
            trace.results.append(bits(as_array(output.logits)))
