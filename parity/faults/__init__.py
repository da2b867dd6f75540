"""Faults to plant, so that anyone can see the harness find them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def planted(name: str | None) -> Iterator[None]:
    """Plant the fault ``name`` for the time of the block; ``None`` plants nothing."""
    yield
