"""The cells that hold parameters, named as in PyTorch (``weight`` and ``bias``)."""

from __future__ import annotations

import mindspore as ms
from mindspore import Parameter, Tensor, nn, ops

from qwen2vl_ms import ops as F


def _parameter(*shape: int) -> Parameter:
    """A parameter to be loaded; zero until then."""
    return Parameter(ops.zeros(shape, ms.float32))


class Linear(nn.Cell):
    """``torch.nn.Linear``: weight [out, in], bias [out] or none."""

    def __init__(self, inputs: int, outputs: int, bias: bool = True) -> None:
        super().__init__()
        self.weight = _parameter(outputs, inputs)
        self.bias = _parameter(outputs) if bias else None

    def construct(self, x: Tensor) -> Tensor:
        """[..., in] to [..., out]."""
        return F.linear(x, self.weight, self.bias)


class Embedding(nn.Cell):
    """``torch.nn.Embedding``: weight [V, H]."""

    def __init__(self, count: int, width: int) -> None:
        super().__init__()
        self.weight = _parameter(count, width)

    def construct(self, ids: Tensor) -> Tensor:
        """Int [B, S] to [B, S, H]."""
        return F.embedding(ids, self.weight)


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

    def construct(self, x: Tensor) -> Tensor:
        """Any shape."""
        return F.gelu(x)
