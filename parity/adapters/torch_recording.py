"""What is recorded of the reference while it runs, and what is handed on in its truths.

Visitors see what goes into and comes out of every module that has points: one records R, one O,
one L (see ``torch_reference``).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
import torch

from parity.core.errors import ParityError
from parity.core.points import Point
from parity.core.rows import Kind
from parity.core.store import BundleWriter, ReferenceFiring
from parity.core.trace import Array
from parity.subjects import qwen2vl


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
        stored = self.into.add(value, dtype if value.dtype == np.float32 else None)
        firing = ReferenceFiring(stored, dtype, inputs=inputs)
        self.into.points.setdefault(point.name, []).append(firing)

    def _inputs(self, point: Point, named: Mapping[str, Any]) -> dict[str, str]:
        """The arguments the forced run needs; members of a tuple get a number each."""
        stored: dict[str, str] = {}
        for wanted in point.forced:
            value = named[argument_name(wanted, named)]
            if isinstance(value, tuple):
                for index, item in enumerate(value):
                    stored[f"{wanted}.{index}"] = self.into.add(self._array(item), _dtype(item))
            elif value is not None:
                stored[wanted] = self.into.add(self._array(value), _dtype(value))
        return stored

    def record_deltas(self, deltas: torch.Tensor) -> None:
        """Record a call's rope deltas, an attribute of the reference rather than an output."""
        value = self._array(deltas)
        firing = ReferenceFiring(self.into.add(value), value.dtype.name)
        self.into.points.setdefault(qwen2vl.DELTAS, []).append(firing)

    def _array(self, tensor: torch.Tensor) -> Array:
        """The tensor's values; one array for one tensor, so that it is hashed once."""
        if id(tensor) not in self._arrays:
            self._arrays[id(tensor)] = (tensor, to_numpy(tensor))
        return self._arrays[id(tensor)][1]


class EndToEnd:
    """Records O: what every point is when the whole model runs in float64.

    Rotary tables are handed on as R has them, rounded to its dtype where it rounds them: they
    are constants like the weights, rounded once for every execution. A wrong table shows at its
    own point.
    """

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
        """Record output points; hand on some as the reference has them."""
        handed = list(results)
        for point in self.groups[name]:
            if not point.is_input:
                firing = self._record(point, results[point.member])
                if self.hands_on(point):
                    handed[point.member] = self._tensor(firing.value)
        return handed

    def hands_on(self, point: Point) -> bool:
        """Whether the reference's value goes on instead of the truth's own."""
        return point.kind is Kind.TABLE

    def _tensor(self, name: str) -> torch.Tensor:
        return torch.from_numpy(self.into.tensor(name)).double()

    def _record(self, point: Point, truth: torch.Tensor) -> ReferenceFiring:
        index = self.fired.get(point.name, 0)
        self.fired[point.name] = index + 1
        firing = self.into.points[point.name][index]
        if point.kind is Kind.FLOAT:
            self.note(firing, to_numpy(truth))
        return firing

    def note(self, firing: ReferenceFiring, truth: Array) -> None:
        """Keep what the truth shows at one firing."""
        setattr(firing, self.field, self.into.add_residual(truth, self.into.value(firing)))

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

    def hands_on(self, point: Point) -> bool:
        """Every value."""
        return True


def _dtype(tensor: torch.Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
