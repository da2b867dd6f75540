"""Compiling for ``jit=True``.

The model is compiled block by block and not as one graph: a vision block is one graph, a decoder
layer two, between which the cache is written in place. What lies between blocks stays Python, so
hooks on blocks work (in a compiled graph MindSpore drops their side effects silently), positions
and masks are still made on the host, and one prompt of another length compiles nothing but the
blocks anew. A vision block whose attention goes in parts, that of a large image, is not compiled:
its graph would hold the memory of all parts at once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mindspore as ms


def compiled(method: Callable[..., Any]) -> Callable[..., Any]:
    """A cell's method as a graph, compiled at its first call for each set of shapes."""
    return ms.jit(method)
