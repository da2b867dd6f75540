"""The cells that hold parameters, named as in PyTorch (``weight`` and ``bias``).

Matrices are kept in the dtype that kernels compute in (`Policy.kernel`), norms in float32.
"""

from __future__ import annotations

from typing import Any

import mindspore as ms
from mindspore import Parameter, Tensor, nn
from mindspore.common.initializer import initializer

from qwen2vl_ms import ops as F
from qwen2vl_ms.precision import Policy


def _parameter(*shape: int, dtype: Any = ms.float32) -> Parameter:
    """A parameter to be loaded; zero until then.

    An initializer takes no memory until it is read, where zeros of `ops` would keep theirs in the
    framework's pool, and loading would hold the model twice.
    """
    return Parameter(initializer("zeros", shape, dtype))


class Linear(nn.Cell):
    """``torch.nn.Linear``: weight [out, in], bias [out] or none."""

    def __init__(self, inputs: int, outputs: int, dtype: Any, bias: bool = True) -> None:
        """``dtype`` is what the parameters are kept in."""
        super().__init__()
        self.weight = _parameter(outputs, inputs, dtype=dtype)
        self.bias = _parameter(outputs, dtype=dtype) if bias else None

    def construct(self, x: Tensor) -> Tensor:
        """[..., in] to [..., out]."""
        return F.linear(x, self.weight, self.bias)


class Embedding(nn.Cell):
    """``torch.nn.Embedding``: weight [V, H]."""

    def __init__(self, count: int, width: int, policy: Policy) -> None:
        super().__init__()
        self.dtype = policy.hidden
        self.weight = _parameter(count, width, dtype=policy.kernel(policy.hidden))

    def construct(self, ids: Tensor) -> Tensor:
        """Int [B, S] to [B, S, H]."""
        return F.cast(F.embedding(ids, self.weight), self.dtype)


class LayerNorm(nn.Cell):
    """``torch.nn.LayerNorm`` over the last axis."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = _parameter(width)
        self.bias = _parameter(width)
        self.eps = eps

    def construct(self, x: Tensor) -> Tensor:
        """[..., width] to the same shape."""
        return F.layer_norm(x, self.weight, self.bias, self.eps)


class RMSNorm(nn.Cell):
    """``Qwen2VLRMSNorm`` of transformers 5.23."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = _parameter(width)
        self.eps = eps

    def construct(self, x: Tensor) -> Tensor:
        """[..., width] to the same shape."""
        return F.rms_norm(x, self.weight, self.eps)


class GELU(nn.Cell):
    """``torch.nn.GELU()``: the erf form, where MindSpore's own cell is the tanh approximation."""

    def __init__(self, dtype: Any) -> None:
        """``dtype`` is what the kernel computes in."""
        super().__init__()
        self.dtype = dtype

    def construct(self, x: Tensor) -> Tensor:
        """Any shape."""
        return F.gelu(x, self.dtype)
