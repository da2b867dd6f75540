"""The reference: Hugging Face's Qwen2-VL in PyTorch, captured once into a bundle.

Three executions: R in the case's dtype, recording every point's inputs and output; L, every
module again in float64 on the inputs it had in R; O, the whole model in float64.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import DynamicCache, Qwen2VLForConditionalGeneration

from parity.adapters.torch_inputs import reference_inputs
from parity.adapters.torch_truth import Widen, widen_value, widened_copy
from parity.core.cases import Case
from parity.core.errors import ParityError
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
    for point in points:
        if point.module is None and (name := point.name.removeprefix("processor.")) in inputs:
            array = inputs[name]
            into.points[point.name] = [ReferenceFiring(into.add(array), str(array.dtype))]
    with torch.no_grad():
        recorder = Recorder(points, into, truth)
        with recorder.attached(model):
            sequences, deltas = run_reference(model, inputs, case.decode_steps)
        recorder.record_deltas(deltas)
        prompt = inputs["input_ids"].shape[1]
        into.tokens = sequences[:, prompt : prompt + case.decode_steps].tolist()
        follower = EndToEnd(points, into)
        with follower.attached(truth), Widen():
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
        raise ParityError(f"the reference cannot load {checkpoint}: {error}") from error
    wrong = {k: sorted(v) for k, v in report.items() if v and k != "error_msgs"}
    if wrong:
        raise ParityError(f"the reference loads {checkpoint} only in part: {wrong}")
    for name, buffer in model.named_buffers():
        if name.endswith("inv_freq") and buffer.dtype != torch.float32:
            raise ParityError(f"the reference's {name} is {buffer.dtype}; it has to stay float32")
    return model.eval()


def run_reference(
    model: Any, inputs: Mapping[str, Array], steps: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """One forward, or a greedy ``generate`` of ``steps`` tokens after the first.

    Returns the token sequences ``[B, S + new]`` and the rope deltas ``[B, 1]``.
    """
    tensors = {name: torch.from_numpy(array) for name, array in inputs.items()}
    if not steps:
        model(**tensors, use_cache=False)
        deltas = model.model.rope_deltas
        rows = tensors["input_ids"].shape[0]
        zeros = torch.zeros(rows, 1, dtype=torch.int64)
        return tensors["input_ids"], zeros if deltas is None else deltas
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
def hooked(
    model: torch.nn.Module,
    before: Mapping[str, Callable[..., None]],
    after: Mapping[str, Callable[..., None]],
) -> Iterator[None]:
    """Attach hooks by module name, and take them off again whatever happens."""
    handles = []
    try:
        for name, hook in before.items():
            module = find(model, name)
            handles.append(module.register_forward_pre_hook(hook, with_kwargs=True))
        for name, hook in after.items():
            handles.append(find(model, name).register_forward_hook(hook, with_kwargs=True))
        yield
    finally:
        for handle in handles:
            handle.remove()


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


def bound(module: torch.nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of a call by name, keywords that ``forward`` only collects included."""
    call = inspect.signature(module.forward).bind(*args, **kwargs)
    named = dict(call.arguments)
    named.update(named.pop("kwargs", {}))
    return named


def outputs_of(value: Any) -> tuple[Any, ...]:
    """A module's results as a tuple."""
    return tuple(value) if isinstance(value, tuple | list) else (value,)


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


class Recorder:
    """Records R, and L beside it: each module again in float64 on the inputs it just had."""

    def __init__(self, points: Sequence[Point], into: BundleWriter, truth: torch.nn.Module) -> None:
        self.groups = by_module(points)
        self.into = into
        self.truth = truth
        self.position_ids: list[Any] = []
        self._calls: dict[str, tuple[dict[str, Any], Any]] = {}
        self._arrays: dict[int, tuple[torch.Tensor, Array]] = {}

    def attached(self, model: torch.nn.Module) -> Any:
        """A context in which ``model``'s modules are recorded."""
        before = {name: self._before(name) for name in self.groups}
        after = {
            name: self._after(name)
            for name, points in self.groups.items()
            if any(not point.is_input for point in points)
        }
        return hooked(model, before, after)

    def _before(self, name: str) -> Callable[..., None]:
        def hook(module: torch.nn.Module, args: Any, kwargs: Any) -> None:
            named = bound(module, args, kwargs)
            self._calls[name] = (named, _cached(module, named))
            for point in self.groups[name]:
                if point.is_input:
                    value = self._array(named[point.argument])
                    self._record(point, qwen2vl.canonical(point, value), value.dtype.name)
                    if point.name == "language_model.position_ids":
                        self.position_ids.append(named[point.argument])

        return hook

    def _after(self, name: str) -> Callable[..., None]:
        def hook(module: torch.nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            named, cached = self._calls.pop(name)
            points = [point for point in self.groups[name] if not point.is_input]
            local = (None,) * 2
            if any(point.kind is Kind.FLOAT for point in points):
                local = outputs_of(self._again(name, named, cached))
            results = outputs_of(output)
            for point in points:
                index = int(point.port.partition(".")[2] or 0)
                value = self._array(results[index])
                truth = local[index] if point.kind is Kind.FLOAT else None
                self._record(point, value, _dtype(results[index]), truth, named)

        return hook

    def _again(self, name: str, named: dict[str, Any], cached: Any) -> Any:
        """The module in float64 on the same inputs, with a cache as it was before the call."""
        arguments = widen_value({k: v for k, v in named.items() if k != "past_key_values"})
        if cached is not None:
            arguments["past_key_values"] = _restored(cached)
        with Widen():
            return find(self.truth, name)(**arguments)

    def _record(
        self,
        point: Point,
        value: Array,
        dtype: str,
        truth: torch.Tensor | None = None,
        named: Mapping[str, Any] | None = None,
    ) -> None:
        local = None if truth is None else self.into.add_residual(to_numpy(truth), value)
        inputs = {} if named is None else self._inputs(point, named)
        firing = ReferenceFiring(self.into.add(value), dtype, local=local, inputs=inputs)
        self.into.points.setdefault(point.name, []).append(firing)

    def _inputs(self, point: Point, named: Mapping[str, Any]) -> dict[str, str]:
        """The arguments the forced run needs; members of a tuple get a number each."""
        stored: dict[str, str] = {}
        for argument in point.forced:
            value = next(iter(named.values())) if argument == qwen2vl.FIRST else named[argument]
            if isinstance(value, tuple):
                for index, item in enumerate(value):
                    stored[f"{argument}.{index}"] = self.into.add(self._array(item))
            elif value is not None:
                stored[argument] = self.into.add(self._array(value))
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

    def __init__(self, points: Sequence[Point], into: BundleWriter) -> None:
        self.groups = by_module([p for p in points if p.kind in (Kind.FLOAT, Kind.TABLE)])
        self.into = into
        self.fired: dict[str, int] = {}

    def attached(self, model: torch.nn.Module) -> Any:
        """A context in which ``model``'s modules are compared with what R recorded."""
        before, after = {}, {}
        for name, points in self.groups.items():
            if inputs := [point for point in points if point.is_input]:
                before[name] = self._before(inputs)
            if results := [point for point in points if not point.is_input]:
                after[name] = self._after(results)
        return hooked(model, before, after)

    def _before(self, points: list[Point]) -> Callable[..., None]:
        def hook(module: torch.nn.Module, args: Any, kwargs: Any) -> None:
            named = bound(module, args, kwargs)
            for point in points:
                self._record(point, named[point.argument])

        return hook

    def _after(self, points: list[Point]) -> Callable[..., None]:
        def hook(module: torch.nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            for point in points:
                index = int(point.port.partition(".")[2] or 0)
                self._record(point, outputs_of(output)[index])

        return hook

    def _record(self, point: Point, truth: torch.Tensor) -> None:
        index = self.fired.get(point.name, 0)
        self.fired[point.name] = index + 1
        firing = self.into.points[point.name][index]
        if point.kind is Kind.FLOAT:
            firing.end_to_end = self.into.add_residual(to_numpy(truth), self.into.value(firing))

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
                        "times in its float64 truth; this is a fault of the harness"
                    )


def _dtype(tensor: torch.Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _cached(module: torch.nn.Module, named: Mapping[str, Any]) -> Any:
    """Keys and values a layer's cache holds before the call: (layer index, k, v), or ``None``."""
    cache = named.get("past_key_values")
    if cache is None:
        return None
    attention = getattr(module, "self_attn", module)
    index = getattr(attention, "layer_idx", None)
    if index is None:
        return None
    layer = cache.layers[index] if index < len(cache.layers) else None
    if layer is None or not layer.is_initialized or layer.keys.numel() == 0:
        return (index, None, None)
    return (index, layer.keys, layer.values)


def _restored(cached: Any) -> DynamicCache:
    """A fresh float64 cache with that content."""
    index, keys, values = cached
    cache = DynamicCache()
    if keys is not None:
        cache.update(keys.double(), values.double(), index)
    return cache
