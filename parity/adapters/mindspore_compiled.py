"""Modules that no hook sees, because the candidate runs them inside a compiled function.

Hooks that are there when MindSpore compiles are traced into the graph: those of this harness are a
compile error, and of others the side effects are lost. Hooks that come later are left out. Neither
is told of by MindSpore, so hooks that were attached and not called are counted.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import mindspore as ms
from mindspore import nn

from parity.adapters.mindspore_recording import Recording, named_cells

REMEDY = "compile each block from inside its own construct, or look at it uncompiled"


def untapped(model: nn.Cell, recording: Recording, error: Exception | None) -> dict[str, str]:
    """Why hooks were not called, by the module that they are on.

    Args:
        model: after an execution under the hooks.
        recording: the hooks.
        error: what ended the execution early.
    """
    if error is not None and not was_compiling(error):
        return {}  # what was not reached had no hooks to call
    silent = [name for name in recording.attached if name not in recording.called]
    compiled = compiled_parts(model)
    around = {name: next((p for p in compiled if p.leaves_out(name)), None) for name in silent}
    return {name: _reason(part, error) for name, part in around.items() if part is not None}


@dataclass(frozen=True)
class CompiledPart:
    """A cell that runs compiled, or code of which does."""

    name: str
    """Of the cell; empty for the whole model."""
    from_outside: bool
    """Whether others hold the compiled function, so that the cell's own hooks are left out too."""

    def leaves_out(self, name: str) -> bool:
        """Whether the hooks of the cell ``name`` are not called."""
        inside = not self.name or name.startswith(f"{self.name}.")
        return inside or (self.from_outside and name == self.name)


def _reason(part: CompiledPart, error: Exception | None) -> str:
    """Why no hook inside ``part`` was called, and what to do."""
    around = part.name or "the whole model"
    if error is None:
        return f"hooks not called: {around} runs compiled, which leaves them out; {REMEDY}"
    told = f"{type(error).__name__}: {' '.join(str(error).split())[:80]}"
    return f"hooks do not compile: {around} runs compiled and traced them ({told}); {REMEDY}"


def was_compiling(error: Exception) -> bool:
    """Whether an exception was raised while MindSpore compiled something."""
    frames = traceback.extract_tb(error.__traceback__)
    return any(one.name == "compile" and "mindspore" in one.filename for one in frames)


def compiled_parts(model: nn.Cell) -> list[CompiledPart]:
    """What of a model runs compiled: all of it, or cells of which there are compiled functions.

    Functions that ``ms.jit`` made are found where a cell of the model holds them.
    """
    if ms.get_context("mode") == ms.GRAPH_MODE:
        return [CompiledPart("", True)]
    cells = {"": model, **named_cells(model)}
    names = {id(cell): name for name, cell in cells.items()}
    return [
        CompiledPart(names[id(inner)], from_outside=inner is not cell)
        for cell in cells.values()
        for function in _functions(cell)
        for inner in _outermost(getattr(function, "__self__", cell), names)
    ]


def _outermost(owner: Any, names: Mapping[int, str]) -> list[Any]:
    """The cell whose method is compiled; the model's cells in it, if it is none of the model's."""
    if id(owner) in names or not isinstance(owner, nn.Cell):
        return [owner] if id(owner) in names else []
    return [cell for _, cell in owner.cells_and_names() if id(cell) in names]


def _functions(cell: nn.Cell) -> list[Any]:
    """The compiled functions that a cell holds, and those among its class's methods."""
    own = [list(vars(kind).values()) for kind in type(cell).__mro__ if kind not in nn.Cell.__mro__]
    held = _flat([list(vars(cell).values()), own])
    return [one for one in held if getattr(one, "__wrapped_by_jit__", False)]


def _flat(values: Iterable[Any]) -> Iterator[Any]:
    """What is in collections, and in collections in them."""
    for value in values:
        if isinstance(value, dict):
            yield from _flat(value.values())
        elif isinstance(value, list | tuple):
            yield from _flat(value)
        else:
            yield value
