"""Hooks that record what the candidate's modules are given and give back."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from mindspore import nn

from parity.adapters.mindspore_values import as_array, dtype_name
from parity.core.errors import ParityError
from parity.core.points import Point
from parity.core.trace import Trace
from parity.subjects import qwen2vl


class Recording:
    """Hooks that record points and change nothing."""

    def __init__(self, points: Sequence[Point], trace: Trace) -> None:
        self.trace = trace
        self.attached: list[str] = []
        """Modules that hooks were put on."""
        self.called: set[str] = set()
        """Those of them whose hooks were called."""
        self.groups: dict[str, list[Point]] = {}
        for point in points:
            if point.module:
                self.groups.setdefault(point.module, []).append(point)

    def before(self, name: str) -> Callable[..., Any]:
        """A pre-forward hook for the module ``name``."""
        inputs = [point for point in self.groups[name] if point.is_input]

        def hook(cell: Any, args: Any, kwargs: Any) -> Any:
            self.called.add(name)
            for point in inputs:
                value = argument(cell, args, kwargs, point.argument)
                self._record(point, value)
            return self.substitute(name, cell, args, kwargs)

        return hook

    def before_hole(self, name: str) -> Callable[..., Any]:
        """A pre-forward hook for a module that is not ported: it only sees what arrives."""
        inputs = [point for point in self.groups[name] if point.is_input]

        def hook(cell: Any, args: Any, kwargs: Any) -> Any:
            self.called.add(name)
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
            recording.attached.append(name)
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


def named_cells(model: nn.Cell) -> dict[str, nn.Cell]:
    """The cells of a model by the names of the points, which leave ``model.`` out."""
    return {name.removeprefix("model."): cell for name, cell in model.cells_and_names() if name}


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
