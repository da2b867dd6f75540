"""Bounding what is measured: evenly spaced parts of large operands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from parity.subjects.ops import Float

LIMIT = 2**16
"""Numbers of a result that are measured; more would only take longer."""
BY_ROW = frozenset({"softmax", "layer_norm", "mean"})


def sampled(name: str, operands: Sequence[Any], limit: int = LIMIT) -> list[Any]:
    """Operands of a primitive, cut so that its result has about ``limit`` numbers at most.

    Whole rows are kept where a result depends on its whole row; of a product, rows and columns.

    Args:
        name: of the primitive.
        operands: as its truth takes them.
        limit: see above.
    """
    first, *rest = operands
    if name == "matmul":
        return _factors(first, rest[0], limit)
    if name in BY_ROW:
        rows = first.reshape(-1, first.shape[-1])
        return [_spread(rows, max(1, limit // rows.shape[1])), *rest]
    return [_spread(first.reshape(-1), limit), *rest]


def _factors(a: Float, b: Float, limit: int) -> list[Float]:
    """Some rows of ``a [.., m, k]`` and some columns of ``b [.., k, n]``, of each product alike."""
    products = int(np.prod(a.shape[:-2])) if b.ndim > 2 else 1
    if b.ndim == 2:
        a = a.reshape(-1, a.shape[-1])
    columns = _spread(b.swapaxes(-1, -2), 1024, axis=-2).swapaxes(-1, -2)
    rows = max(1, limit // (products * columns.shape[-1]))
    return [_spread(a, rows, axis=-2), columns]


def _spread(array: Float, count: int, axis: int = 0) -> Float:
    """``count`` evenly spaced parts of ``array`` along ``axis``, or all if there are no more."""
    length = array.shape[axis]
    if length <= count:
        return array
    places = np.linspace(0, length - 1, count).round().astype(np.int64)
    return np.take(array, places, axis=axis)
