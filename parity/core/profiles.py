"""Where an error is: by size, by token and by channel.

Legend: R rows (tokens), C columns (channels), as in :mod:`parity.core.stats`. Ratios are those the
verdict is made of; nothing here decides anything.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from parity.core.blocks import Operands
from parity.core.compared import Compared
from parity.core.detail import RATIO, SHARE, Cells, Histogram, Profile, Side
from parity.core.meter import Float
from parity.core.numerics import Format
from parity.core.onepass import add_up
from parity.core.rows import Kind
from parity.core.stats import MIN_ROWS_FOR_COLUMNS, operands, slice_ratios
from parity.core.trace import Array

BINS = 256
"""Most bins of a profile."""
LOWEST, HIGHEST = -4, 24
"""Powers of two of the errors, in ULP, that the first and the last bin of a histogram begin at."""
CHUNK = 2**18
"""Numbers whose errors are made at once, so that no temporary has the size of a tensor."""
EXACT = (Kind.DISCRETE, Kind.EXACT)


def side(value: Compared, scope: str, cells: Cells | None) -> Side:
    """Where the error of one value is.

    Args:
        value: of one shape with its reference.
        scope: ``local`` or ``end to end``.
        cells: where its tokens are drawn, without values; ``None`` if they are not.
    """
    if value.point.kind in EXACT:
        if cells is None:
            return Side(scope)
        return Side(scope, cells=filled(cells, SHARE, differing(value, len(cells.values)), 0.0))
    totals = add_up(_operands(value), value.format, _kept(value))
    rows, columns = totals.rows.shape[1], totals.columns.shape[1]
    with np.errstate(invalid="ignore", over="ignore"):
        by_row = _all_rows(slice_ratios(totals.rows, columns, value.format)[0], value)
        by_column = slice_ratios(totals.columns, rows, value.format)[0]
    enough = rows >= MIN_ROWS_FOR_COLUMNS and columns > 1
    return Side(
        scope,
        histogram=histogram(value),
        tokens=profile("token", by_row, value.gate.row) if rows > 1 else None,
        channels=profile("channel", by_column, value.gate.column) if enough else None,
        cells=None if cells is None else filled(cells, RATIO, by_row, value.gate.row),
    )


def profile(axis: str, ratios: Float, gate: float) -> Profile:
    """``ratios`` of all tokens or channels in at most `BINS` bins, the largest of each kept.

    Minus infinity stands for padding; NaN counts as largest.
    """
    count = len(ratios)
    width = math.ceil(count / BINS)
    padded = np.concatenate([ratios, np.full(-count % width, -np.inf)])
    worst = int(np.argmax(np.where(np.isnan(ratios), np.inf, ratios)))
    return Profile(axis, count, width, short(padded.reshape(-1, width).max(axis=1)), worst, gate)


def filled(cells: Cells, measure: str, values: Float, gate: float) -> Cells:
    """``cells`` with their values, one a token."""
    return replace(cells, measure=measure, values=short(values), gate=gate)


def short(values: Float) -> tuple[float | None, ...]:
    """Three digits of each, which is all that a picture shows; minus infinity means none."""
    return tuple(None if one == -math.inf else float(f"{one:.3g}") for one in values.tolist())


def differing(value: Compared, count: int) -> Float:
    """The share of each of ``count`` tokens' values that differ.

    Every value of a token counts, whichever axes they are in: ids ``[3, B, S]`` have three.
    """
    different = np.asarray(value.tap.value != value.truth.reference)
    ids = different.ndim == 3  # the axes of position ids come before the tokens
    by_token = different.reshape(-1, count).T if ids else different.reshape(count, -1)
    shares: Float = by_token.mean(axis=1)
    return shares


def histogram(value: Compared) -> Histogram:
    """How many values are how many spacings of the dtype from the truth, on both sides."""
    size = HIGHEST - LOWEST + 1
    counts = np.zeros((2, size + 2), np.int64)  # a bin each, then exact ones, then no numbers
    for errors in _errors(value):
        for number, error in enumerate(errors):
            counts[number] += np.bincount(_bins(error), minlength=size + 2)
    candidate, reference = (tuple(side[:size].tolist()) for side in counts)
    return Histogram(
        f"ULP of {value.format.name}", LOWEST, candidate, reference,
        int(counts[0, size]), int(counts[1, size]), int(counts[0, size + 1]),
        int(counts[1, size + 1]),
    )  # fmt: skip


def _bins(errors: Float) -> Array:
    """The bin of each error, of those that are zero and of those that are no number."""
    size = HIGHEST - LOWEST + 1
    exponent = np.frexp(np.where(np.isfinite(errors), errors, 0.0))[1] - 1  # |e| >= 2 ** exponent
    found = np.clip(exponent - LOWEST, 0, size - 1)
    found = np.where(errors == 0, size, found)
    return np.where(np.isfinite(errors), found, size + 1)


def _errors(value: Compared) -> Iterator[tuple[Float, Float]]:
    """The candidate's and the reference's distances from the truth in ULP, a part at a time."""
    found, kept = _operands(value), _kept(value)
    count, columns = found.reference.shape
    rows = np.arange(count) if kept is None else kept
    step = max(1, CHUNK // max(1, columns))
    with np.errstate(all="ignore"):
        for start in range(0, len(rows), step):
            part = found.map(lambda matrix, at=rows[start : start + step]: matrix[at])  # type: ignore[misc]
            reference = part.reference.astype(np.float64)
            own = np.zeros_like(reference) if part.residual is None else part.residual
            truth = reference + own
            ulp = spacing(truth, value.format)
            wrong = np.abs(part.candidate.astype(np.float64) - truth)
            yield (wrong / ulp).reshape(-1), (np.abs(own) / ulp).reshape(-1)


def spacing(values: Float, dtype: Format) -> Float:
    """The distance between neighbouring numbers of ``dtype`` at each value, at least the least."""
    sizes = np.maximum(np.abs(values), 2.0**dtype.least_exponent)  # evenly spaced below that
    exponent = np.frexp(sizes)[1] - 1
    found: Float = np.ldexp(1.0, exponent - dtype.mantissa + 1)
    return found


def _operands(value: Compared) -> Operands:
    """Its tensors as matrices."""
    return operands(value.tap.value, value.truth, value.candidate_base)


def _kept(value: Compared) -> NDArray[np.intp] | None:
    """Rows that are compared; ``None`` for all."""
    return None if value.keep is None else np.flatnonzero(value.keep)


def _all_rows(ratios: Float, value: Compared) -> Float:
    """``ratios`` of the rows compared in the places of all rows; minus infinity in the others."""
    if value.keep is None:
        return ratios
    found = np.full(value.keep.size, -np.inf)
    found[_kept(value)] = ratios
    return found
