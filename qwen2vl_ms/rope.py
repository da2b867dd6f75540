"""Rotary position embedding: the tables of cosines and sines, and how they rotate.

    N patches, B batch, S tokens, hs head width, f = hs / 2 frequencies

The tables are made on the host in NumPy: angles in float32 as in the reference (position times
``inv_freq``), cosine and sine of them in float64, rounded to float32. No device's cosine of a
large angle can then differ from another's, and no cast of the model can round ``inv_freq``.

What each frequency of the text model is multiplied with (M-RoPE, ``mrope_section`` [16, 24, 24]):

    frequency  0 ... 15 | 16 ... 39 | 40 ... 63
    position   temporal |   height  |   width
"""

from __future__ import annotations

from typing import Any

import mindspore as ms
import numpy as np
import numpy.typing as npt
from mindspore import Tensor, nn

from qwen2vl_ms.config import Qwen2VLTextConfig, Qwen2VLVisionConfig
from qwen2vl_ms.ops import cast
from qwen2vl_ms.positions import Ints
from qwen2vl_ms.powf import powf

Floats = npt.NDArray[np.float32]


def inverse_frequencies(theta: float, dim: int) -> Floats:
    """``1 / theta ** (2 i / dim)``, bit for bit what the reference's PyTorch code gives.

    Args:
        theta: The rotary base.
        dim: Numbers rotated by one position, two a frequency.

    Returns:
        float32 [dim / 2].
    """
    exponents = np.arange(0, dim, 2, dtype=np.float32) / np.float32(dim)
    return np.float32(1.0) / powf(theta, exponents)


def _tables(angles: Floats, dtype: Any = ms.float32) -> tuple[Tensor, Tensor]:
    """Cosines and sines of float32 angles [..., f], twice side by side: [..., hs]."""
    cos, sin = (f(angles.astype(np.float64)).astype(np.float32) for f in (np.cos, np.sin))
    cos, sin = (Tensor(np.concatenate([table, table], axis=-1)) for table in (cos, sin))
    return cast(cos, dtype), cast(sin, dtype)


class Qwen2VLRotaryEmbedding(nn.Cell):
    """Tables of the text model, sections composed.

    Mirrors ``Qwen2VLRotaryEmbedding`` of transformers 5.23.
    """

    def __init__(self, config: Qwen2VLTextConfig, dtype: Any = ms.float32) -> None:
        """``dtype`` is the tables': the hidden states', to which the reference rounds them."""
        super().__init__()
        self.dtype = dtype
        self.inv_freq = inverse_frequencies(config.rope_theta, config.head_dim)
        self.row_of_frequency = np.repeat(np.arange(3), config.mrope_section)

    def construct(self, position_ids: Ints) -> tuple[Tensor, Tensor]:
        """Make the tables.

        Args:
            position_ids: int64 [3, B, S], rows (temporal, height, width).

        Returns:
            (cos, sin), [B, S, hs].
        """
        positions = position_ids[self.row_of_frequency]  # [f, B, S]
        positions = positions.transpose(1, 2, 0).astype(np.float32)  # [B, S, f]
        return _tables(positions * self.inv_freq, self.dtype)


class Qwen2VLVisionRotaryEmbedding(nn.Cell):
    """Tables of the vision tower: rows rotate the first half of the frequencies, columns the other.

    Mirrors ``Qwen2VLVisionRotaryEmbedding`` of transformers 5.23.
    """

    def __init__(self, config: Qwen2VLVisionConfig) -> None:
        super().__init__()
        self.inv_freq = inverse_frequencies(config.rope_theta, config.head_dim // 2)

    def construct(self, position_ids: Ints) -> tuple[Tensor, Tensor]:
        """Make the tables.

        Args:
            position_ids: int64 [N, 2], columns (h, w).

        Returns:
            (cos, sin), float32 [N, hs].
        """
        angles = position_ids[..., None].astype(np.float32) * self.inv_freq  # [N, 2, f/2]
        return _tables(angles.reshape(len(position_ids), -1))
