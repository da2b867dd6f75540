"""Faults to plant in the port, so that anyone can see the harness find them.

Every fault is a mistake somebody made while porting a model like this one. It is a small patch
that is taken back when its block ends.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from types import ModuleType

from parity.core.errors import ParityError
from parity.faults.fault import Fault


def modules() -> tuple[ModuleType, ...]:
    """The files of faults, in the order in which a model meets them."""
    from parity.faults import (
        attention,
        decoder,
        decoding,
        masks,
        merger,
        pixels,
        positions,
        precision,
        prompts,
        rope,
        vision,
    )

    return (pixels, prompts, positions, masks, rope, vision, attention, merger, decoder,
            decoding, precision)  # fmt: skip


@cache
def catalogue() -> dict[str, Fault]:
    """Every fault, by name."""
    return {fault.name: fault for module in modules() for fault in module.FAULTS}


def find(name: str) -> Fault:
    """The fault called ``name``.

    Raises:
        ParityError: there is none.
    """
    known = catalogue()
    if name not in known:
        raise ParityError(f"no fault is named {name!r}; there are: {', '.join(known)}")
    return known[name]


@contextmanager
def planted(name: str | None) -> Iterator[None]:
    """Plant the fault ``name`` for the time of the block; ``None`` plants nothing."""
    if name is None:
        yield
        return
    with find(name).plant():
        yield
