"""What a fault is, and the one way to patch."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import wraps
from typing import Any

from parity.core.numerics import PRECISIONS

HALF = ("fp16", "bf16", "ascend-mixed")


@dataclass(frozen=True)
class Fault:
    """A mistake, where it enters, and the inputs and dtypes that show it.

    It acts when the port runs, not when its weights are loaded, so that a port that is loaded
    already can be used.
    """

    name: str
    about: str
    source: str
    """Where it happened, as project and issue, or "general"."""
    point: str
    """The point that is guilty of it."""
    cases: tuple[str, ...]
    """Cases in which it changes something."""
    target: str
    """What is patched: ``module:attribute`` or ``module:Class.attribute``, below qwen2vl_ms."""
    make: Callable[[Callable[..., Any]], Callable[..., Any]]
    """Given what is there, what to put in its place."""
    hidden: Mapping[str, str] = field(default_factory=dict, hash=False)
    """The dtypes in which nobody can see it, and why."""

    @property
    def dtypes(self) -> tuple[str, ...]:
        """The dtypes that show it."""
        return tuple(dtype for dtype in PRECISIONS if dtype not in self.hidden)

    @property
    def in_block(self) -> bool:
        """Whether it is inside a block, which graph mode compiles from the port's own source."""
        return re.match(r"(visual\.blocks|language_model\.layers)\.\d", self.point) is not None

    @property
    def points(self) -> frozenset[str]:
        """Every point that is guilty of it: two results of one module are so together."""
        module, _, result = self.point.rpartition(".")
        return frozenset((self.point, f"{module}.sin") if result == "cos" else (self.point,))

    def locate(self) -> tuple[Any, str]:
        """The module or class that holds what is patched, and its name there."""
        module, _, path = self.target.partition(":")
        owner: Any = importlib.import_module(f"qwen2vl_ms.{module}")
        *classes, name = path.split(".")
        for part in classes:
            owner = getattr(owner, part)
        return owner, name

    @contextmanager
    def plant(self) -> Iterator[None]:
        """Patch for the time of the block."""
        owner, name = self.locate()
        original = owner.__dict__[name]
        setattr(owner, name, wraps(original)(self.make(original)))
        try:
            yield
        finally:
            setattr(owner, name, original)


@contextmanager
def swapped(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Put ``value`` in the place of an attribute for the time of the block."""
    original = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, original)


def hidden(reason: str, *dtypes: str) -> dict[str, str]:
    """The same reason for several dtypes."""
    return dict.fromkeys(dtypes, reason)


def in_layer(prefix: str, faulty: Callable[..., Any]) -> Callable[..., Any]:
    """Make a method faulty only in the cell whose parameters' names hold ``prefix``.

    Returns what `Fault.make` takes: a function from the original method to the patched one.
    """

    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        def patched(self: Any, *args: Any, **kwargs: Any) -> Any:
            here = any(prefix in parameter.name for parameter in self.get_parameters())
            return (faulty if here else original)(self, *args, **kwargs)

        return patched

    return make
