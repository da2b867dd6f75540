"""The key-value cache: what decoding needs of the tokens seen so far.

It is an argument and a result of the model, never part of it, so two conversations cannot mix. Its
memory is allocated once, for the longest sequence it is to hold, so its shapes never change.
"""

from __future__ import annotations

from typing import Any

import mindspore as ms
from mindspore import Tensor, ops

from qwen2vl_ms.attention import widened_mask
from qwen2vl_ms.config import Qwen2VLTextConfig
from qwen2vl_ms.errors import Qwen2VLError


class KVCache:
    """Keys (rotated) and values of every layer.

    Serves as ``StaticCache`` of transformers 5.23. A cell hands its layer's `LayerCache` down.
    """

    def __init__(
        self,
        config: Qwen2VLTextConfig,
        batch_size: int,
        max_length: int,
        dtype: Any = ms.float32,
    ) -> None:
        """Allocate, filled with zeros.

        Args:
            config: Of the text model.
            batch_size: Rows.
            max_length: Tokens that each row can hold, padding included.
            dtype: In which keys and values are kept.

        Raises:
            Qwen2VLError: A size is not positive.
        """
        if batch_size < 1 or max_length < 1:
            raise Qwen2VLError(
                f"a cache for {batch_size} rows of {max_length} tokens: both have to be positive"
            )
        self.batch_size, self.max_length = batch_size, max_length
        shape = (batch_size, config.num_key_value_heads, max_length, config.head_dim)
        masks = WideMask()
        self.layers = [LayerCache(shape, dtype, masks) for _ in range(config.num_hidden_layers)]

    @property
    def length(self) -> int:
        """Tokens held in each row, padding included."""
        return self.layers[0].length

    def check_room(self, batch: int, length: int) -> None:
        """Check that ``length`` more tokens in each of ``batch`` rows fit.

        Raises:
            Qwen2VLError: They do not.
        """
        if batch != self.batch_size:
            raise Qwen2VLError(f"a batch of {batch} with a cache made for {self.batch_size} rows")
        if self.length + length > self.max_length:
            raise Qwen2VLError(
                f"{length} tokens do not fit: the cache holds {self.length} of at most "
                f"{self.max_length}; make a longer one, or shorten the prompt"
            )


class LayerCache:
    """Keys and values of one layer: two tensors [B, nkv, max_length, hs], written in place."""

    def __init__(self, shape: tuple[int, int, int, int], dtype: Any, masks: WideMask) -> None:
        self.masks = masks
        self.key, self.value = ops.zeros(shape, dtype), ops.zeros(shape, dtype)
        self.length = 0

    def append(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Add new tokens and return what attention is to look at.

        Args:
            key: [B, nkv, S, hs].
            value: [B, nkv, S, hs].

        Returns:
            The new tokens alone if they are the first, else the whole cache, [B, nkv, max_length,
            hs] twice, of which the mask hides what is not written yet.
        """
        start, self.length = self.length, self.length + key.shape[2]
        self.key[:, :, start : self.length] = key
        self.value[:, :, start : self.length] = value
        return (self.key, self.value) if start else (key, value)

    def widened(self, mask: Tensor, keys: int) -> Tensor:
        """Hide what is not written yet: a mask [B, 1, S, L] to [B, 1, S, keys]."""
        return self.masks.of(mask, keys)


class WideMask:
    """The last mask that was widened: all layers of a pass are given the same one."""

    def __init__(self) -> None:
        self.last: tuple[Tensor, Tensor] | None = None

    def of(self, mask: Tensor, keys: int) -> Tensor:
        """A mask [B, 1, S, L], hiding the keys that it does not reach: [B, 1, S, keys]."""
        if self.last is None or self.last[0] is not mask or self.last[1].shape[-1] != keys:
            self.last = mask, widened_mask(mask, keys)
        return self.last[1]
