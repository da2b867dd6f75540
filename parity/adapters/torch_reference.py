"""The reference: Hugging Face's Qwen2-VL in PyTorch, captured once into a bundle.

Executions: R in the case's dtype, recording every point's inputs and output; O, the whole model
in float64; L, in float64 with every module on the inputs it had in R, handing on R's output. L
is made twice, for judging whole blocks and for judging the modules inside them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from transformers import DynamicCache, Qwen2VLForConditionalGeneration

from parity.adapters.torch_inputs import reference_inputs
from parity.adapters.torch_truth import Widen, widen_value, widened_copy
from parity.core.cases import Case
from parity.core.errors import ParityError, describe_exception
from parity.core.numerics import Precision
from parity.core.points import Point
from parity.core.rows import Kind
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
    into.provenance["reference"] = provenance()
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
        blocks = [point for point in points if point.level == "block"]
        for follower in (EndToEnd(points, into), Local(points, into, "local"),
                         Local(blocks, into, "local_block")):  # fmt: skip
            with hooked(truth, follower), Widen():
                run_truth(truth, inputs, into.tokens, recorder.position_ids)
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


def run_truth(
    model: Any, inputs: Mapping[str, Array], tokens: list[list[int]], positions: Sequence[Any]
) -> None:
    """The same forwards in float64, fed the reference's tokens and position ids."""
    tensors = {name: widen_value(torch.from_numpy(a)) for name, a in inputs.items()}
    cache = DynamicCache(config=model.config.text_config)
    mask = tensors["attention_mask"]
    model.model.rope_deltas = None
    model(**tensors, position_ids=positions[0], past_key_values=cache, use_cache=True)
    for step, position in enumerate(positions[1:]):
        mask = torch.cat([mask, mask.new_ones(mask.shape[0], 1)], dim=1)
        column = torch.tensor([row[step] for row in tokens])[:, None]
        model(input_ids=column, attention_mask=mask, position_ids=position,
              past_key_values=cache, use_cache=True)  # fmt: skip


def provenance() -> dict[str, object]:
    """What the reference's numbers depend on, besides its inputs."""
    import transformers

    return {
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "threads": THREADS,
        "attention": "eager",
        "cpu": torch.backends.cpu.get_cpu_capability(),
    }


@contextmanager
def hooked(model: torch.nn.Module, visitor: Visitor) -> Iterator[None]:
    """Let ``visitor`` see and replace what goes in and out; the hooks come off in any case."""
    handles = []
    try:
        for name in visitor.groups:
            module = find(model, name)
            enter, leave = _enter(visitor, name), _leave(visitor, name)
            handles.append(module.register_forward_pre_hook(enter, with_kwargs=True))
            handles.append(module.register_forward_hook(leave))
        yield
    finally:
        for handle in handles:
            handle.remove()


def _enter(visitor: Visitor, name: str) -> Callable[..., Any]:
    def hook(module: torch.nn.Module, args: Any, kwargs: Any) -> Any:
        named = bound(module, args, kwargs)
        seen = visitor.before(name, named)
        return None if seen is named else ((), seen)

    return hook


def _leave(visitor: Visitor, name: str) -> Callable[..., Any]:
    def hook(module: torch.nn.Module, args: Any, output: Any) -> Any:
        several = isinstance(output, tuple | list)
        results = list(output) if several else [output]
        seen = visitor.after(name, results)
        if seen is results:
            return None
        return tuple(seen) if several else seen[0]

    return hook


def find(model: torch.nn.Module, name: str) -> torch.nn.Module:
    """The module with the canonical ``name``.

    Raises:
        ParityError: there is none.
    """
    path = name if name == "lm_head" else f"model.{name}"
    try:
        return model.get_submodule(path)
    except AttributeError as error:
        raise ParityError(f"the reference has no module {path}: {error}") from error


def bound(
    module: torch.nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> dict[str, Any]:
    """Arguments of a call by name, keywords that ``forward`` only collects included."""
    call = inspect.signature(module.forward).bind(*args, **kwargs)
    named = dict(call.arguments)
    named.update(named.pop("kwargs", {}))
    return named


def argument_name(wanted: str, named: Mapping[str, Any]) -> str:
    """The name under which a call has the argument ``wanted``."""
    return next(iter(named)) if wanted == qwen2vl.FIRST else wanted


def to_numpy(tensor: torch.Tensor) -> Array:
    """The tensor's values; floats narrower than 32 bits widened to float32 (exact)."""
    detached = tensor.detach()
    if detached.is_floating_point() and detached.element_size() < 4:
        detached = detached.float()
    return np.asarray(detached.contiguous().numpy())


def by_module(points: Sequence[Point]) -> dict[str, list[Point]]:
    """Points grouped by the module they belong to, those without one left out."""
    groups: dict[str, list[Point]] = {}
    for point in points:
        if point.module:
            groups.setdefault(point.module, []).append(point)
    return groups


class Visitor(Protocol):
    """Sees what goes into and comes out of the modules in ``groups``."""

    groups: dict[str, list[Point]]

    def before(self, name: str, named: dict[str, Any]) -> dict[str, Any]:
        """Return ``named``, or the arguments to use instead."""

    def after(self, name: str, results: list[Any]) -> list[Any]:
        """Return ``results``, or the results to hand on instead."""


class Recorder:
    """Records R: inputs and output of every point, as the reference computes them."""

    def __init__(self, points: Sequence[Point], into: BundleWriter) -> None:
        self.groups = by_module(points)
        self.into = into
        self.position_ids: list[Any] = []
        self._calls: dict[str, dict[str, Any]] = {}
        self._arrays: dict[int, tuple[torch.Tensor, Array]] = {}

    def before(self, name: str, named: dict[str, Any]) -> dict[str, Any]:
        """Record input points, and keep the arguments for what follows."""
        self._calls[name] = named
        for point in self.groups[name]:
            if point.is_input:
                value = named[point.argument]
                array = qwen2vl.canonical(point, self._array(value))
                self._record(point, array, _dtype(value), self._inputs(point, named))
                if point.name == "language_model.position_ids":
                    self.position_ids.append(value)
        return named

    def after(self, name: str, results: list[Any]) -> list[Any]:
        """Record output points."""
        named = self._calls.pop(name)
        for point in self.groups[name]:
            if not point.is_input:
                result = results[point.member]
                self._record(point, self._array(result), _dtype(result), self._inputs(point, named))
        return results

    def _record(self, point: Point, value: Array, dtype: str, inputs: dict[str, str]) -> None:
        firing = ReferenceFiring(self.into.add(value), dtype, inputs=inputs)
        self.into.points.setdefault(point.name, []).append(firing)

    def _inputs(self, point: Point, named: Mapping[str, Any]) -> dict[str, str]:
        """The arguments the forced run needs; members of a tuple get a number each."""
        stored: dict[str, str] = {}
        for wanted in point.forced:
            value = named[argument_name(wanted, named)]
            if isinstance(value, tuple):
                for index, item in enumerate(value):
                    stored[f"{wanted}.{index}"] = self.into.add(self._array(item))
            elif value is not None:
                stored[wanted] = self.into.add(self._array(value))
        return stored

    def record_deltas(self, deltas: torch.Tensor) -> None:
        """Record the rope deltas, an attribute of the reference rather than an output."""
        value = self._array(deltas)
        self.into.points["rope_deltas"] = [ReferenceFiring(self.into.add(value), value.dtype.name)]

    def _array(self, tensor: torch.Tensor) -> Array:
        """The tensor's values; one array for one tensor, so that it is hashed once."""
        if id(tensor) not in self._arrays:
            self._arrays[id(tensor)] = (tensor, to_numpy(tensor))
        return self._arrays[id(tensor)][1]


class EndToEnd:
    """Records O: what every point is when the whole model runs in float64."""

    field = "end_to_end"

    def __init__(self, points: Sequence[Point], into: BundleWriter) -> None:
        self.groups = by_module([p for p in points if p.kind in (Kind.FLOAT, Kind.TABLE)])
        self.into = into
        self.fired: dict[str, int] = {}

    def before(self, name: str, named: dict[str, Any]) -> dict[str, Any]:
        """Record input points."""
        for point in self.groups[name]:
            if point.is_input:
                self._record(point, named[point.argument])
        return named

    def after(self, name: str, results: list[Any]) -> list[Any]:
        """Record output points."""
        for point in self.groups[name]:
            if not point.is_input:
                self._record(point, results[point.member])
        return results

    def _record(self, point: Point, truth: torch.Tensor) -> ReferenceFiring:
        index = self.fired.get(point.name, 0)
        self.fired[point.name] = index + 1
        firing = self.into.points[point.name][index]
        if point.kind is Kind.FLOAT:
            residual = self.into.add_residual(to_numpy(truth), self.into.value(firing))
            setattr(firing, self.field, residual)
        return firing

    def finish(self) -> None:
        """Check that the truth run met every point as often as the reference did.

        Raises:
            ParityError: it did not, so the bundle would be wrong.
        """
        for points in self.groups.values():
            for point in points:
                recorded = len(self.into.points.get(point.name, ()))
                fired = self.fired.get(point.name, 0)
                if recorded != fired:
                    raise ParityError(
                        f"{point.name} occurred {recorded} times in the reference and {fired} "
                        f"times in its float64 truth ({self.field}); this is a fault of the harness"
                    )


class Local(EndToEnd):
    """Records L: every module in float64 on the inputs it had in R, handing on R's output.

    What reaches a module before its input is replaced is recorded too: it is the work of the
    code between the modules, done on clean values.
    """

    def __init__(self, points: Sequence[Point], into: BundleWriter, field: str) -> None:
        super().__init__(points, into)
        self.field = field
        self._calls: dict[str, int] = {}

    def before(self, name: str, named: dict[str, Any]) -> dict[str, Any]:
        """Record what arrives, then replace it."""
        super().before(name, named)
        index = self._calls.get(name, 0)
        self._calls[name] = index + 1
        replaced = dict(named)
        for point in self.groups[name]:
            if point.kind is Kind.FLOAT and point.forced:
                self._replace(self.into.points[point.name][index], point, replaced)
        return replaced

    def _replace(self, firing: ReferenceFiring, point: Point, named: dict[str, Any]) -> None:
        for order, wanted in enumerate(point.forced):
            key = argument_name(wanted, named)
            own = named[key]
            if isinstance(own, tuple):
                named[key] = tuple(
                    self._tensor(firing.inputs[f"{wanted}.{i}"]) for i in range(len(own))
                )
            elif own is not None and own.is_floating_point():
                if order == 0 and self.field == "local" and not point.is_input:
                    value = self.into.tensor(firing.inputs[wanted])
                    firing.arrival = self.into.add_residual(to_numpy(own), value)
                named[key] = self._tensor(firing.inputs[wanted])

    def after(self, name: str, results: list[Any]) -> list[Any]:
        """Record output points, then hand on the reference's."""
        handed = list(results)
        for point in self.groups[name]:
            if not point.is_input:
                firing = self._record(point, results[point.member])
                handed[point.member] = self._tensor(firing.value)
        return handed

    def _tensor(self, name: str) -> torch.Tensor:
        return torch.from_numpy(self.into.tensor(name)).double()


def _dtype(tensor: torch.Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
