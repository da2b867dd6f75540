"""MindSpore's own kernels, called as the port calls them, for the operator ledger.

Nothing of the port is used, whose functions may have a fault planted in them: what a faulty
function computes must never pass for what the device's kernel computes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import Tensor, ops

from parity.adapters.mindspore_device import set_device
from parity.adapters.mindspore_values import as_array
from parity.core.trace import Array
from parity.kernels.device import UnsupportedError

ON_HOST: dict[str, Callable[[Any], Any]] = {"sin": np.sin, "cos": np.cos}
"""The port makes its rotary tables in NumPy, in float64."""
SINGLE = frozenset({"softmax", "layer_norm", "rsqrt", "mean", "exp", "tanh", *ON_HOST})
"""Computed in float32 whatever the policy."""
NARROWED = frozenset({"matmul", "softmax", "layer_norm", "sigmoid", "silu", "cast"})
"""Whose results the port rounds to the dtype of the hidden states; others are used as they are."""


class MindSporeKernels:
    """The kernels of one device, by the names of `parity.kernels.primitives`."""

    def __init__(self, device: str) -> None:
        """Select the device.

        Raises:
            ParityError: it is not there.
        """
        set_device(device)
        # On CPU narrow dtypes are emulated: operands widened, results rounded.
        self.emulated = ms.get_context("device_target") == "CPU"
        self.device = device

    def place(self, name: str) -> str:
        """Where a primitive is computed."""
        return "host" if name in ON_HOST else self.device

    def dtype(self, name: str, hidden: str) -> str:
        """The dtype of a primitive's operands and result."""
        return hidden if name in NARROWED else self._kernel(name, hidden)

    def run(self, name: str, operands: Sequence[Any], hidden: str) -> Array:
        """Run a primitive; its result, held as float32.

        Raises:
            UnsupportedError: the device has no such kernel.
        """
        if name in ON_HOST:
            return np.asarray(ON_HOST[name](operands[0].astype(np.float64)), dtype=np.float32)
        kernel = "float32" if name == "cast" else self._kernel(name, hidden)
        try:
            result = KERNELS[name](*(_tensor(operand, kernel) for operand in operands))
            return as_array(result.astype(getattr(ms, self.dtype(name, hidden))))
        except (RuntimeError, TypeError, ValueError) as error:
            reason = str(error).strip().splitlines()[0]
            raise UnsupportedError(f"{self.device} has no {name} in {kernel}: {reason}") from error

    def _kernel(self, name: str, hidden: str) -> str:
        """The dtype a kernel computes in."""
        return "float32" if self.emulated or name in SINGLE else hidden


def _tensor(operand: Any, dtype: str) -> Any:
    """An array on the device, in ``dtype``; anything else as it is."""
    if not isinstance(operand, np.ndarray):
        return operand
    return Tensor(np.ascontiguousarray(operand, np.float32)).astype(getattr(ms, dtype))


def _matmul(a: Tensor, b: Tensor) -> Tensor:
    """``[.., m, k]`` times ``[.., k, n]``; a matrix of weights is stored transposed."""
    if len(b.shape) > 2:
        return ops.BatchMatMul()(a, b)
    rows = ops.MatMul(transpose_b=True)(a.reshape(-1, a.shape[-1]), b.T)
    return rows.reshape(*a.shape[:-1], b.shape[1])


def _layer_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    norm = ops.LayerNorm(begin_norm_axis=-1, begin_params_axis=-1, epsilon=eps)
    return norm(x, weight, bias)[0]


KERNELS: dict[str, Callable[..., Tensor]] = {
    "matmul": _matmul,
    "softmax": ops.Softmax(axis=-1),
    "layer_norm": _layer_norm,
    "sigmoid": ops.Sigmoid(),
    "silu": ops.silu,
    "exp": ops.Exp(),
    "tanh": ops.Tanh(),
    "erf": ops.Erf(),
    "rsqrt": ops.Rsqrt(),
    "mean": lambda x: ops.ReduceMean(keep_dims=True)(x, -1),
    "cast": lambda x: x,
}
