"""The primitives that modules are made of, in exact float64; each can be replaced by another.

A device's own kernel in the place of one of them shows what that kernel alone does to a module.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Float: TypeAlias = NDArray[np.float64]
_ERF = np.frompyfunc(math.erf, 1, 1)  # NumPy has none


def erf(x: Float) -> Float:
    """The error function, within a unit in the last place of float64."""
    return np.asarray(_ERF(x), dtype=np.float64)


def sigmoid(x: Float) -> Float:
    """``1 / (1 + exp(-x))``; 0 where that overflows."""
    with np.errstate(over="ignore"):
        return np.asarray(1.0 / (1.0 + np.exp(-x)))


def silu(x: Float) -> Float:
    """``x * sigmoid(x)``."""
    return x * sigmoid(x)


def rsqrt(x: Float) -> Float:
    """``1 / sqrt(x)``."""
    return np.asarray(1.0 / np.sqrt(x))


def mean(x: Float) -> Float:
    """Mean over the last axis, which is kept: ``[..., C]`` to ``[..., 1]``."""
    return np.asarray(np.mean(x, axis=-1, keepdims=True))


def softmax(x: Float) -> Float:
    """Over the last axis."""
    power = np.exp(x - np.max(x, axis=-1, keepdims=True))
    return np.asarray(power / np.sum(power, axis=-1, keepdims=True))


def layer_norm(x: Float, weight: Float, bias: Float, eps: float) -> Float:
    """LayerNorm over the last axis, with the biased variance."""
    centred = x - mean(x)
    return centred * rsqrt(mean(centred**2) + eps) * weight + bias


@dataclass(frozen=True)
class Ops:
    """One function for each primitive; all take and return float64 arrays."""

    matmul: Callable[[Float, Float], Float] = np.matmul
    softmax: Callable[[Float], Float] = softmax
    exp: Callable[[Float], Float] = np.exp
    erf: Callable[[Float], Float] = erf
    tanh: Callable[[Float], Float] = np.tanh
    sigmoid: Callable[[Float], Float] = sigmoid
    silu: Callable[[Float], Float] = silu
    rsqrt: Callable[[Float], Float] = rsqrt
    mean: Callable[[Float], Float] = mean
    layer_norm: Callable[[Float, Float, Float, float], Float] = layer_norm


EXACT = Ops()
"""What a truth is made with."""


def wide(array: NDArray[Any]) -> Float:
    """Any array as float64."""
    return np.asarray(array, dtype=np.float64)
