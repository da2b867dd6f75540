"""The key-value cache: what decoding needs of the tokens seen so far.

It is an argument and a result of the model, never part of it, so two conversations cannot mix.
"""

from __future__ import annotations

from mindspore import Tensor, ops


class KVCache:
    """Keys (rotated) and values of every layer.

    Mirrors ``DynamicCache`` of transformers 5.23. A cell hands its layer's `LayerCache` down.
    """

    def __init__(self, num_layers: int) -> None:
        self.layers = [LayerCache() for _ in range(num_layers)]

    @property
    def length(self) -> int:
        """Tokens held in each row, padding included."""
        return self.layers[0].length


class LayerCache:
    """Keys and values of one layer, [B, nkv, L, hs] each, or nothing yet."""

    def __init__(self) -> None:
        self.key: Tensor | None = None
        self.value: Tensor | None = None

    @property
    def length(self) -> int:
        """Tokens held in each row, padding included."""
        return 0 if self.key is None else self.key.shape[2]

    def append(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Add new tokens and return all: [B, nkv, S, hs] to [B, nkv, L + S, hs], twice."""
        if self.key is None or self.value is None:
            self.key, self.value = key, value
        else:
            self.key = ops.concat((self.key, key), axis=2)
            self.value = ops.concat((self.value, value), axis=2)
        return self.key, self.value
