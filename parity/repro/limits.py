"""How large a module's error may be: gates times floors, as plain numbers to compare with."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from parity.core.numerics import Format
from parity.core.stats import MIN_ROWS_FOR_COLUMNS, Gate, robust_floor
from parity.subjects.ops import Float, wide


def limits(
    truth: Float,
    reference: Float,
    gate: Gate,
    dtype: Format,
    *,
    base: Float | None = None,
    keep: NDArray[np.bool_] | None = None,
) -> dict[str, Float]:
    """Largest passing norm of ``candidate - truth``: ``whole`` [1], ``row`` [R], ``column`` [C].

    The same as the verdicts use: `parity.core.stats.compare` passes exactly what stays within.

    Args:
        truth: float64 ``[..., C]``.
        reference: what the reference computed, of the same shape.
        gate: largest passing ratios.
        dtype: the reference's.
        base: what a residual block's update is counted from; adds ``update`` [1].
        keep: tokens to compare; ``None`` for all.
    """
    true, own = _rows(truth, keep), _rows(reference - truth, keep)
    found = {"whole": gate.whole * _floor(true, own, None, dtype)}
    if len(true) > 1:
        found["row"] = gate.row * _floor(true, own, 1, dtype)
    if len(true) >= MIN_ROWS_FOR_COLUMNS and true.shape[1] > 1:
        found["column"] = gate.column * _floor(true, own, 0, dtype)
    if base is not None:
        found["update"] = gate.update * _floor(_rows(truth - base, keep), own, None, dtype)
    return found


def _rows(array: Float, keep: NDArray[np.bool_] | None) -> Float:
    """``[..., C]`` as ``[R, C]``, the kept rows."""
    rows = wide(array).reshape(-1, array.shape[-1])
    return rows if keep is None else rows[keep.reshape(-1)]


def _floor(true: Float, own: Float, axis: int | None, dtype: Format) -> Float:
    """The unit of each slice's error: over everything (``None``), of rows (1) or columns (0)."""
    size, error = (np.atleast_1d(np.linalg.norm(x, axis=axis)) for x in (true, own))
    count = true.size if axis is None else true.shape[axis]
    rounding = dtype.rounding(size, count)
    return np.maximum(error, rounding) if axis is None else robust_floor(error, rounding)
