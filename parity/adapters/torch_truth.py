"""A float64 truth of a Hugging Face model: the model, widened, casts to float32 included.

``model.double()`` alone is not one: RMSNorm, softmax and the vision rotary embedding cast to
float32 inside. The rotary frequencies stay float32 on purpose: they are part of the definition
(both sides multiply the same float32 angles), and float64 angles at long positions would differ
from them by more than any bug.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.overrides import TorchFunctionMode


class Widen(TorchFunctionMode):
    """Within it, no float64 tensor is cast to a narrower float."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run ``func`` with narrowing dtypes replaced, where a float64 tensor is involved."""
        keywords = dict(kwargs or {})
        if any(isinstance(a, torch.Tensor) and a.dtype == torch.float64 for a in args):
            if func in _NARROWING:
                return args[0]
            args = [_widened(argument) for argument in args]
            keywords = {name: _widened(value) for name, value in keywords.items()}
        return func(*args, **keywords)


_NARROWING = (torch.Tensor.float, torch.Tensor.half, torch.Tensor.bfloat16)


def _widened(value: Any) -> Any:
    narrow = isinstance(value, torch.dtype) and value.is_floating_point
    return torch.float64 if narrow else value


def widened_copy(model: torch.nn.Module) -> torch.nn.Module:
    """A float64 copy of ``model`` whose rotary frequencies are still the float32 ones."""
    wide = copy.deepcopy(model).double()
    for name, buffer in model.named_buffers():
        if name.rsplit(".", 1)[-1] in ("inv_freq", "original_inv_freq"):
            wide.get_submodule(name.rsplit(".", 1)[0]).register_buffer(
                name.rsplit(".", 1)[1], buffer.clone(), persistent=False
            )
    return wide


def widen_value(value: Any) -> Any:
    """``value`` with every floating tensor in it (tuples, lists, dicts) as float64."""
    if isinstance(value, torch.Tensor):
        return value.double() if value.is_floating_point() else value
    if isinstance(value, tuple | list):
        return type(value)(widen_value(item) for item in value)
    if isinstance(value, dict):
        return {key: widen_value(item) for key, item in value.items()}
    return value
