"""The statistics of a comparison as plain NumPy: whole tensors, one expression after the other.

It is the yardstick of `compare.py`, and the tests hold the harness's figures to it. Only finite
values are foreseen. It shares nothing with the harness but the constants of a format.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parity.core.numerics import Format

Float = NDArray[np.float64]


@dataclass(frozen=True)
class Tensors:
    """What is compared: matrices ``[R, C]``; a residual is truth minus value."""

    candidate: NDArray[np.float32]
    reference: NDArray[np.float32]
    residual: NDArray[np.float32]
    base: NDArray[np.float32] | None = None
    candidate_base: NDArray[np.float32] | None = None
    base_residual: NDArray[np.float32] | None = None


def statistics(tensors: Tensors, dtype: Format) -> dict[str, float]:
    """Every figure that :func:`parity.core.stats.compare` finds, by its dotted name."""
    candidate = tensors.candidate.astype(np.float64)
    reference = tensors.reference.astype(np.float64)
    truth = reference + tensors.residual
    error, own = candidate - truth, reference - truth
    difference = np.abs(candidate - reference)
    return {
        **_ratios(error, own, truth, dtype),
        **_update(tensors, candidate, reference, truth, dtype),
        **_relative(error, own, truth, dtype),
        **_largest(difference, candidate, reference, dtype),
        "mean_ulp": float(np.mean(difference / spacing(tensors.reference, dtype))),
        "max_ulp": float(np.max(difference / spacing(tensors.reference, dtype))),
        "cosine": float(
            np.sum(candidate * truth) / np.sqrt(np.sum(candidate**2) * np.sum(truth**2))
        ),
        "rtol": _rtol(difference, reference),
        "nonfinite": float(np.sum(~np.isfinite(candidate)) + np.sum(~np.isfinite(reference))),
    }


def spacing(reference: NDArray[np.float32], dtype: Format) -> Float:
    """Distance from each number to the next larger one of the format."""
    size = np.abs(reference)
    if dtype.name == "float32":
        return np.asarray(np.spacing(size), np.float64)
    if dtype.name == "float16":
        return np.asarray(np.spacing(size.astype(np.float16)), np.float64)
    exponent = np.floor(np.log2(np.maximum(size.astype(np.float64), 2.0**dtype.least_exponent)))
    return np.asarray(2.0 ** (exponent - (dtype.mantissa - 1)))


def _ratios(error: Float, own: Float, truth: Float, dtype: Format) -> dict[str, float]:
    """Whole tensor, worst row and worst column."""
    rows, columns = error.shape
    wrong, size = np.linalg.norm(error), np.linalg.norm(truth)
    floor = np.maximum(np.linalg.norm(own), _rounding(size, error.size, dtype))
    found = {
        "whole.ratio": float(wrong / floor),
        "whole.error": float(wrong / size),
        "whole.floor": float(floor / size),
    }
    for name, axis, count in (("row", 1, columns), ("column", 0, rows)):
        wrongs, sizes = np.linalg.norm(error, axis=axis), np.linalg.norm(truth, axis=axis)
        floors = _pooled(np.linalg.norm(own, axis=axis))
        floors = np.maximum(floors, _rounding(sizes, count, dtype))
        worst = int(np.argmax(wrongs / floors))
        found[f"{name}.index"] = worst
        found[f"{name}.ratio"] = float(wrongs[worst] / floors[worst])
        found[f"{name}.error"] = float(wrongs[worst] / sizes[worst])
        found[f"{name}.floor"] = float(floors[worst] / sizes[worst])
    return found


def _rounding(size: Float | np.floating[Any], count: int, dtype: Format) -> Float:
    """Norm of the errors of rounding ``count`` numbers whose norm is ``size``."""
    half_spacings = np.maximum(
        size * 2.0**-dtype.mantissa,
        np.sqrt(count) * 2.0 ** (dtype.least_exponent - dtype.mantissa),
    )
    even = 1 / np.sqrt(3)
    return np.asarray(half_spacings * (even + (1 - even) / np.sqrt(count)))


def _pooled(errors: Float) -> Float:
    """Each slice's error, or the median of the nine around it if that is larger."""
    around = np.pad(errors, 4, mode="reflect" if len(errors) > 4 else "edge")
    nine = np.stack([around[shift : shift + len(errors)] for shift in range(9)])
    return np.maximum(errors, np.median(nine, axis=0))


def _update(
    tensors: Tensors, candidate: Float, reference: Float, truth: Float, dtype: Format
) -> dict[str, float]:
    """What a residual block adds to its input."""
    if tensors.base is None or tensors.candidate_base is None:
        return {}
    base = tensors.base.astype(np.float64)
    true_base = base if tensors.base_residual is None else base + tensors.base_residual
    true_update = truth - true_base
    error = np.linalg.norm((candidate - tensors.candidate_base) - true_update)
    own = np.linalg.norm((reference - base) - true_update)
    size = np.linalg.norm(true_update)
    floor = np.maximum(own, _rounding(size, truth.size, dtype))
    return {"update.ratio": float(error / floor), "update.error": float(error / size)}


def _relative(error: Float, own: Float, truth: Float, dtype: Format) -> dict[str, float]:
    """Relative errors against the truth, and the published standards made of them."""
    ours, theirs = np.abs(error) / (np.abs(truth) + 1e-7), np.abs(own) / (np.abs(truth) + 1e-7)
    return {
        "mean_relative": float(np.mean(ours)),
        "max_relative": float(np.max(ours)),
        "standards.dual_mean": float(np.mean(ours) / np.mean(theirs)),
        "standards.dual_max": float(np.max(ours) / np.max(theirs)),
        "standards.dual_rms": float(np.sqrt(np.mean(error**2)) / np.sqrt(np.mean(own**2))),
    }


def _largest(
    difference: Float, candidate: Float, reference: Float, dtype: Format
) -> dict[str, float]:
    """The largest difference, where it is, and how many values are at the end of the range."""
    at = np.unravel_index(np.argmax(difference), difference.shape)
    return {
        "max_abs": float(difference[at]),
        "max_index.0": int(at[0]),
        "max_index.1": int(at[1]),
        "reference_value": float(reference[at]),
        "candidate_value": float(candidate[at]),
        "saturated": int(np.sum(np.abs(candidate) >= dtype.largest)),
        "reference_saturated": int(np.sum(np.abs(reference) >= dtype.largest)),
    }


def _rtol(difference: Float, reference: Float) -> float:
    """The relative tolerance that torch.testing.assert_close needs beside its absolute one."""
    over = difference > 1e-5
    return float(np.max((difference[over] - 1e-5) / np.abs(reference[over]), initial=0.0))
