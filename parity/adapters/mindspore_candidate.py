"""The candidate: the MindSpore port, run freely and on the reference's own inputs."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from mindspore import Tensor, nn

from parity.adapters.mindspore_device import device_facts, set_device, try_device
from parity.adapters.mindspore_stand_ins import declared_holes, leave_out, standing_in
from parity.core.cases import Case
from parity.core.errors import ParityError, describe_exception
from parity.core.narrow import NARROW
from parity.core.numerics import Precision
from parity.core.points import Point
from parity.core.rows import Kind
from parity.core.sources import Source
from parity.core.store import Bundle, ReferenceFiring, tensor_name
from parity.core.trace import Array, Tap, Trace
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
            except Exception as error:
                trace.stopped = describe_exception(error)

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


class Recording:
    """Hooks that record points and change nothing."""

    def __init__(self, points: Sequence[Point], trace: Trace) -> None:
        self.trace = trace
        self.groups: dict[str, list[Point]] = {}
        for point in points:
            if point.module:
                self.groups.setdefault(point.module, []).append(point)

    def before(self, name: str) -> Callable[..., Any]:
        """A pre-forward hook for the module ``name``."""
        inputs = [point for point in self.groups[name] if point.is_input]

        def hook(cell: Any, args: Any, kwargs: Any) -> Any:
            for point in inputs:
                value = argument(cell, args, kwargs, point.argument)
                self._record(point, value)
            return self.substitute(name, cell, args, kwargs)

        return hook

    def before_hole(self, name: str) -> Callable[..., Any]:
        """A pre-forward hook for a module that is not ported: it only sees what arrives."""
        inputs = [point for point in self.groups[name] if point.is_input]

        def hook(cell: Any, args: Any, kwargs: Any) -> Any:
            for point in inputs:
                if point.argument in kwargs:
                    self._record(point, kwargs[point.argument])
            self.see(name, args, kwargs)
            return args, kwargs

        return hook

    def see(self, name: str, args: Any, kwargs: Any) -> None:
        """Take note of the arguments of a module that is not ported."""

    def after(self, name: str) -> Callable[..., Any]:
        """A forward hook for the module ``name``."""
        results = [point for point in self.groups[name] if not point.is_input]

        def hook(cell: Any, args: Any, kwargs: Any, output: Any) -> Any:
            members = output if isinstance(output, tuple | list) else (output,)
            indices = [self.trace.fired(point.name) for point in results]
            for point in results:
                self._record(point, members[point.member])
            return self.hand_on(results, indices, output)

        return hook

    def substitute(self, name: str, cell: Any, args: Any, kwargs: Any) -> Any:
        """The arguments the module is to run on: its own."""
        return args, kwargs

    def hand_on(self, points: Sequence[Point], indices: Sequence[int], output: Any) -> Any:
        """The output that is handed on: the module's own."""
        return output

    def _record(self, point: Point, value: Any) -> None:
        array = as_array(value)
        dtype = dtype_name(value)
        if point.is_input:
            array = qwen2vl.canonical(point, array)
        self.trace.record(point.name, array, dtype)


class Forcing(Recording):
    """Hooks that replace what goes in and what comes out by the reference's."""

    def __init__(self, points: Sequence[Point], trace: Trace, bundle: Bundle) -> None:
        super().__init__(points, trace)
        self.bundle = bundle
        self._tensors: dict[tuple[str, str], Tensor] = {}
        self._calls: dict[str, int] = {}

    def substitute(self, name: str, cell: Any, args: Any, kwargs: Any) -> Any:
        """The reference's arguments in place of the module's own."""
        index = self._calls.get(name, 0)
        self._calls[name] = index + 1
        point = next((point for point in self.groups[name] if point.forced), None)
        firing = self.bundle.get(point.name, index) if point else None
        if point is None or firing is None:
            return args, kwargs
        args, kwargs = list(args), dict(kwargs)
        for order, wanted in enumerate(point.forced):
            holder, key = locate(cell, args, kwargs, wanted)
            if order == 0 and point.kind is Kind.FLOAT and not point.is_input:
                self._arrived(point, firing, index, holder[key])
            holder[key] = self._replacement(firing, wanted, holder[key])
        return tuple(args), kwargs

    def see(self, name: str, args: Any, kwargs: Any) -> None:
        """Record what reached a module that is not ported: the work of the code around it."""
        index = self._calls.get(name, 0)
        self._calls[name] = index + 1
        point = next((p for p in self.groups[name] if p.forced and not p.is_input), None)
        firing = self.bundle.get(point.name, index) if point else None
        if point is None or firing is None or point.kind is not Kind.FLOAT:
            return
        found = kwargs.get(point.forced[0], args[0] if args else next(iter(kwargs.values()), None))
        if isinstance(found, Tensor):
            self._arrived(point, firing, index, found)

    def _arrived(self, point: Point, firing: ReferenceFiring, index: int, value: Any) -> None:
        """Record what reached a module, unless it is the very tensor that was handed on."""
        name = firing.inputs[point.forced[0]]
        if value is self._tensors.get((name, str(value.dtype))):
            return
        if not np.issubdtype(self.bundle.tensor(name).dtype, np.floating):
            return  # token ids are a point of their own
        self.trace.arrivals[(point.name, index)] = Tap(as_array(value), dtype_name(value))

    def hand_on(self, points: Sequence[Point], indices: Sequence[int], output: Any) -> Any:
        """The reference's output in place of the module's own."""
        replaced = list(output) if isinstance(output, tuple | list) else [output]
        for point, index in zip(points, indices, strict=True):
            firing = self.bundle.get(point.name, index)
            own = replaced[point.member]
            if firing is not None and isinstance(own, Tensor):
                replaced[point.member] = self._tensor(firing.value, own)
        return tuple(replaced) if isinstance(output, tuple | list) else replaced[0]

    def _replacement(self, firing: ReferenceFiring, wanted: str, own: Any) -> Any:
        """The reference's argument, in the type the candidate uses for it."""
        if isinstance(own, tuple | list):
            return type(own)(
                self._replacement(firing, f"{wanted}.{i}", item) for i, item in enumerate(own)
            )
        name = firing.inputs.get(wanted)
        if name is None:
            return own
        if isinstance(own, Tensor):
            return self._tensor(name, own)
        return np.asarray(self.bundle.tensor(name)).astype(np.asarray(own).dtype)

    def _tensor(self, name: str, like: Tensor) -> Tensor:
        """A stored tensor on the device, made once for one content and dtype."""
        key = (name, str(like.dtype))
        if key not in self._tensors:
            self._tensors[key] = Tensor(self.bundle.tensor(name), dtype=like.dtype)
        return self._tensors[key]


def named_cells(model: nn.Cell) -> dict[str, nn.Cell]:
    """The cells of a model by the names of the points, which leave ``model.`` out."""
    return {name.removeprefix("model."): cell for name, cell in model.cells_and_names() if name}


@contextmanager
def hooked(model: nn.Cell, recording: Recording, text: bool) -> Iterator[None]:
    """Attach the hooks of ``recording``, and take them off again whatever happens."""
    cells = named_cells(model)
    handles = []
    try:
        for name, points in recording.groups.items():
            if not text and not name.startswith("visual"):
                continue
            cell = cells.get(name)
            if cell is None:
                continue  # its points do not fire, and are reported as missing
            if getattr(cell, "not_ported", False):
                hook = recording.before_hole(name)
                handles.append(cell.register_forward_pre_hook(hook, with_kwargs=True))
                continue
            handles.append(cell.register_forward_pre_hook(recording.before(name), with_kwargs=True))
            if any(not point.is_input for point in points):
                handles.append(cell.register_forward_hook(recording.after(name), with_kwargs=True))
        yield
    finally:
        for handle in handles:
            handle.remove()


def locate(cell: Any, args: list[Any], kwargs: dict[str, Any], wanted: str) -> tuple[Any, Any]:
    """Where the argument ``wanted`` of a call is: (the list or dict that holds it, its key).

    Raises:
        ParityError: the call has no such argument.
    """
    if wanted == qwen2vl.FIRST:
        return (args, 0) if args else (kwargs, next(iter(kwargs)))
    if wanted in kwargs:
        return kwargs, wanted
    names = list(inspect.signature(cell.construct).parameters)
    if wanted in names[: len(args)]:
        return args, names.index(wanted)
    raise ParityError(
        f"{type(cell).__name__} was called without {wanted!r}, which the reference's module "
        f"takes; it has to be an argument of that name (construct takes {names})"
    )


def argument(cell: Any, args: Any, kwargs: Any, name: str) -> Any:
    """The value of one argument of a call."""
    holder, key = locate(cell, list(args), dict(kwargs), name)
    return holder[key]


def as_array(value: Any) -> Array:
    """A copy of the values; floats narrower than 32 bits widened to float32 (exact)."""
    array = np.array(value.asnumpy() if isinstance(value, Tensor) else value)
    narrow = dtype_name(value) in NARROW if isinstance(value, Tensor) else False
    return array.astype(np.float32) if narrow else array


def bits(array: Array) -> str:
    """A hash by which two arrays of the same shape, dtype and bits are known."""
    return tensor_name(array, None)


def dtype_name(value: Any) -> str:
    """The dtype as PyTorch spells it."""
    return str(value.dtype).lower()
