"""Hooks that replace what goes into and comes out of a module by the reference's values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from mindspore import Tensor

from parity.adapters.mindspore_recording import Recording, locate
from parity.adapters.mindspore_values import as_array, dtype_name
from parity.core.points import Point
from parity.core.rows import Kind
from parity.core.store import Bundle, ReferenceFiring
from parity.core.trace import Tap, Trace


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
