"""How far a kernel's results are from the truth: in ULP, and as a multiple of rounding."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from parity.core.numerics import FORMATS, Format
from parity.core.rounding import rounded
from parity.kernels.device import Device
from parity.kernels.primitives import TRUTHS
from parity.subjects.ops import Float


def spacing(values: Float, dtype: Format) -> Float:
    """One ULP: the distance between neighbouring numbers of ``dtype`` at each of ``values``."""
    exponents = np.where(values == 0, dtype.least_exponent, np.frexp(values)[1] - 1)
    exponents = np.maximum(exponents, dtype.least_exponent)
    return np.asarray(np.ldexp(1.0, exponents - dtype.mantissa + 1))


def _held(values: Float, dtype: Format) -> Float:
    """``values`` rounded to ``dtype``; the masked scores, which no narrow one holds, its lowest."""
    return np.clip(rounded(values, dtype.name), -dtype.largest, dtype.largest)


@dataclass
class Accuracy:
    """Errors of one primitive, added up over calls; means of nothing are NaN."""

    elements: int = 0
    max_ulp: float = 0.0
    total_ulp: float = 0.0
    squared_error: float = 0.0
    squared_floor: float = 0.0

    def add(self, error: Float, truth: Float, dtype: Format) -> None:
        """Take one call into account.

        Args:
            error: result minus truth.
            truth: of the same shape.
            dtype: of the result.
        """
        if not truth.size:
            return
        with np.errstate(invalid="ignore"):
            ulp = np.abs(error) / spacing(truth, dtype)
        self.elements += truth.size
        self.total_ulp += float(ulp.sum())
        self.max_ulp = float(np.maximum(self.max_ulp, ulp.max()))  # which lets NaN through
        self.squared_error += float(np.vdot(error, error))
        size = np.asarray(np.linalg.norm(truth))
        self.squared_floor += float(dtype.rounding(size, truth.size)) ** 2

    @property
    def mean_ulp(self) -> float:
        """Mean distance from the truth; a quarter where results are correctly rounded."""
        return self.total_ulp / self.elements if self.elements else math.nan

    @property
    def ratio(self) -> float:
        """Norm of the error over that of rounding the truth, the floor of local ratios too."""
        if self.squared_error == 0:
            return 0.0 if self.elements else math.nan
        floor = self.squared_floor
        return math.sqrt(self.squared_error / floor) if floor else math.inf


@dataclass
class Probe:
    """A device's kernel of one primitive, and how accurate it was whenever it was called."""

    device: Device
    name: str
    hidden: str
    """Dtype of the values around it: see `Device.dtype`."""
    accuracy: Accuracy = field(default_factory=Accuracy)

    @property
    def format(self) -> Format:
        """What the results are numbers of."""
        return FORMATS[self.device.dtype(self.name, self.hidden)]

    def error(self, operands: Sequence[Any]) -> Float:
        """What the kernel gets wrong on ``operands``, rounded first to the dtype it takes.

        The rounding of operands is not the kernel's: the truth is that of the rounded ones.

        Returns:
            Result minus truth, float64.

        Raises:
            UnsupportedError: the device has no such kernel.
        """
        taken = FORMATS["float32"] if self.name == "cast" else self.format
        given = [_held(x, taken) if isinstance(x, np.ndarray) else x for x in operands]
        result = self.device.run(self.name, given, self.hidden).astype(np.float64)
        truth = TRUTHS[self.name](*given)
        if result.shape != truth.shape:
            raise ValueError(f"{self.name}: shape {result.shape}, the truth's is {truth.shape}")
        with np.errstate(invalid="ignore"):
            error = np.where(result == truth, 0.0, result - truth)  # infinite in both is no error
        self.accuracy.add(error, truth, self.format)
        return error

    def __call__(self, *operands: Any) -> Float:
        """The exact primitive with the kernel's error added: a kernel to put into a module."""
        return np.asarray(TRUTHS[self.name](*operands) + self.error(operands))
