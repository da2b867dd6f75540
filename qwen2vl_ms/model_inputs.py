"""What the processor returns."""

from __future__ import annotations

from typing import Any

import numpy as np

from qwen2vl_ms.errors import Qwen2VLError


class ModelInputs(dict[str, Any]):
    """Arrays by name, which are attributes too. Both may be set: ``inputs["input_ids"] = ...``."""

    def __getattr__(self, name: str) -> Any:
        """``inputs.input_ids`` for ``inputs["input_ids"]``."""
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"no {name!r} among {', '.join(self)}") from None

    def __setattr__(self, name: str, value: Any) -> None:
        """``inputs.input_ids = x`` for ``inputs["input_ids"] = x``."""
        self[name] = value

    def tensors(self) -> ModelInputs:
        """The same as MindSpore tensors, int64 as int32, which is what the model's tables take."""
        import mindspore as ms

        narrow = {
            name: array.astype(np.int32) if array.dtype == np.int64 else array
            for name, array in self.items()
        }
        return ModelInputs({name: ms.Tensor(array) for name, array in narrow.items()})


def check_tensor_kind(kind: str | None) -> None:
    """Refuse a kind of tensors that this port does not make.

    Raises:
        Qwen2VLError: not ``"np"``, ``"ms"`` or ``None``.
    """
    if kind not in ("np", "ms", None):
        raise Qwen2VLError(
            f"return_tensors is {kind!r}: use 'np' for NumPy arrays or 'ms' for MindSpore tensors"
        )
