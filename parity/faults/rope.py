"""Faults in the rotary tables of both towers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from parity.faults.fault import Fault, hidden, swapped
from parity.faults.inputs import EVERY, VISUAL

TEXT = "language_model.rotary_emb.cos"
VISION = "visual.rotary_pos_emb.cos"
EXACT = "float32 is what the tables are computed in"


def _rows(order: Callable[[Any], Any]) -> Callable[..., Any]:
    """Which of the three positions each frequency is multiplied with, given the right ones."""

    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        def construct(self: Any, position_ids: Any) -> Any:
            with swapped(self, "row_of_frequency", order(self.row_of_frequency)):
                return original(self, position_ids)

        return construct

    return make


def _frequencies(other: Callable[[Any], Any]) -> Callable[..., Any]:
    """Other inverse frequencies than the right ones."""

    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        def construct(self: Any, position_ids: Any) -> Any:
            with swapped(self, "inv_freq", other(self.inv_freq)):
                return original(self, position_ids)

        return construct

    return make


def _of_theta(theta: float) -> Callable[[Any], Any]:
    def inverse(right: Any) -> Any:
        from qwen2vl_ms.rope import inverse_frequencies

        return inverse_frequencies(theta, 2 * len(right))

    return inverse


def _sections_doubled(original: Callable[..., Any]) -> Callable[..., Any]:
    """The sections cut the doubled table, [32, 48, 48] of 128, not each half of it."""

    def construct(self: Any, position_ids: Any) -> Any:
        from qwen2vl_ms.rope import _tables

        rows = np.sort(np.tile(self.row_of_frequency, 2))  # [hs]
        positions = position_ids[rows].transpose(1, 2, 0).astype(np.float32)  # [B, S, hs]
        tables = _tables(positions * np.tile(self.inv_freq, 2), self.dtype)
        return tuple(table[..., : len(rows)] for table in tables)

    return construct


def _each_twice(original: Callable[..., Any]) -> Callable[..., Any]:
    """Neighbouring numbers share a frequency, where halves are rotated."""

    def construct(self: Any, position_ids: Any) -> Any:
        import mindspore as ms
        from mindspore import Tensor

        from qwen2vl_ms import ops

        tables = (ops.cast(table, ms.float32).asnumpy() for table in original(self, position_ids))
        halves = (np.repeat(t[..., : t.shape[-1] // 2], 2, axis=-1) for t in tables)
        return tuple(Tensor(half).astype(self.dtype) for half in halves)

    return construct


def _angles_rounded(original: Callable[..., Any]) -> Callable[..., Any]:
    def construct(self: Any, position_ids: Any) -> Any:
        from qwen2vl_ms import rope

        tables = rope._tables

        def rounded(angles: Any, dtype: Any) -> Any:
            return tables(_rounded(angles, dtype), dtype)

        with swapped(rope, "_tables", rounded):
            return original(self, position_ids)

    return construct


def _rounded(values: Any, dtype: Any) -> Any:
    """NumPy's float32 values rounded to a dtype of MindSpore's."""
    from mindspore import Tensor

    from qwen2vl_ms import ops

    return ops.rounded(Tensor(values), dtype).asnumpy()


def _halves_swapped(original: Callable[..., Any]) -> Callable[..., Any]:
    def construct(self: Any, position_ids: Any) -> Any:
        return original(self, position_ids[:, ::-1])

    return construct


def _in_the_towers_dtype(change: Callable[..., Any]) -> Callable[..., Any]:
    """``change`` the vision tower's rotary embedding, given the dtype of its hidden states."""

    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        def construct(self: Any, *args: Any, **kwargs: Any) -> Any:
            from qwen2vl_ms.rope import Qwen2VLVisionRotaryEmbedding as Rotary

            faulty = change(Rotary.construct, self.blocks[0].attn.hidden)
            with swapped(Rotary, "construct", faulty):
                return original(self, *args, **kwargs)

        return construct

    return make


def _frequencies_rounded(original: Callable[..., Any], dtype: Any) -> Callable[..., Any]:
    return _frequencies(lambda right: _rounded(right, dtype))(original)


def _tables_rounded(original: Callable[..., Any], dtype: Any) -> Callable[..., Any]:
    def construct(self: Any, position_ids: Any) -> Any:
        from qwen2vl_ms import ops

        return tuple(ops.rounded(table, dtype) for table in original(self, position_ids))

    return construct


TOWER = "vision:Qwen2VisionTransformer.construct"
FAULTS = (
    Fault("rope-vision-hw", "height and width halves swapped in the 2-D rotary tables",
          "llama.cpp 13282", VISION, VISUAL,
          "rope:Qwen2VLVisionRotaryEmbedding.construct", _halves_swapped),
    Fault("rope-theta-vision", "the text model's theta of 1e6 in the vision tower, for 1e4",
          "general", VISION, VISUAL,
          "rope:Qwen2VLVisionRotaryEmbedding.construct", _frequencies(_of_theta(1e6))),
    Fault("rope-inv-freq-rounded", "inv_freq rounded by a cast of the whole module",
          "NeMo Automodel 3856", VISION, VISUAL, TOWER, _in_the_towers_dtype(_frequencies_rounded),
          hidden("a cast to float32 rounds nothing", "fp32")),
    Fault("rope-vision-table-rounded", "the vision tower's tables in the hidden states' dtype",
          "Qwen3-VL 706", VISION, VISUAL, TOWER, _in_the_towers_dtype(_tables_rounded),
          hidden("a cast to float32 rounds nothing", "fp32")),
    Fault("rope-interleaved", "M-RoPE sections interleaved instead of chunked", "mlx-vlm 576",
          TEXT, VISUAL, "rope:Qwen2VLRotaryEmbedding.construct",
          _rows(lambda right: np.arange(len(right)) % 3)),
    Fault("rope-section-order", "the sections taken as (temporal, width, height)", "general",
          TEXT, VISUAL, "rope:Qwen2VLRotaryEmbedding.construct",
          _rows(lambda right: np.array([0, 2, 1])[right])),
    Fault("rope-section-doubled", "the sections cut the table after it was doubled", "xllm 746",
          TEXT, VISUAL, "rope:Qwen2VLRotaryEmbedding.construct", _sections_doubled),
    Fault("rope-theta-text", "the default theta of 1e4 in the text model, for 1e6",
          "SpecForge 265", TEXT, EVERY,
          "rope:Qwen2VLRotaryEmbedding.construct", _frequencies(_of_theta(1e4))),
    Fault("rope-table-interleaved", "each frequency twice in a row, not the table twice",
          "transformers 40462", TEXT, EVERY,
          "rope:Qwen2VLRotaryEmbedding.construct", _each_twice),
    Fault("rope-low-precision", "angles computed in the hidden states' dtype",
          "transformers 35966", TEXT, ("long-text", *VISUAL, "text-only"),
          "rope:Qwen2VLRotaryEmbedding.construct", _angles_rounded, hidden(EXACT, "fp32")),
)  # fmt: skip
