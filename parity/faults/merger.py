"""Faults between the vision tower's blocks and the decoder: merging patches, placing features."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from parity.faults.fault import Fault, in_layer, swapped
from parity.faults.inputs import VISUAL

BATCH = ("left-padded-batch",)


def _tanh_gelu(original: Callable[..., Any]) -> Callable[..., Any]:
    def construct(self: Any, x: Any) -> Any:
        import mindspore as ms
        from mindspore import ops

        # In float32 and rounded once, as the right one is.
        return ops.gelu(x.astype(ms.float32), approximate="tanh").astype(x.dtype)

    return construct


def _normed_together(original: Callable[..., Any]) -> Callable[..., Any]:
    """Mean and variance of the four patches of a token, not of each one."""

    def faulty(self: Any, x: Any) -> Any:
        from mindspore import ops as mint

        from qwen2vl_ms import ops

        weight, bias = (mint.tile(p, (4,)) for p in (self.weight, self.bias))
        merged = x.reshape(-1, 4 * x.shape[-1])
        return ops.layer_norm(merged, weight, bias, self.eps).reshape(x.shape)

    return in_layer(".merger.ln_q.", faulty)(original)


def _rows_of_patches(original: Callable[..., Any]) -> Callable[..., Any]:
    """Four patches of a row are a token, where the grid says how long a row is."""

    def construct(self: Any, hidden_states: Any, grid_thw: Any) -> Any:
        import mindspore as ms
        from mindspore import Tensor, ops

        from qwen2vl_ms.ops import cast
        from qwen2vl_ms.positions import vision_position_ids
        from qwen2vl_ms.vision import PatchMerger

        grid, start, places = np.asarray(grid_thw), 0, []
        for row in grid:
            h, w = vision_position_ids(row[None], self.spatial_merge_size).T
            frame = np.arange(len(h)) // (row[1] * row[2])
            places.append(start + (frame * row[1] + h) * row[2] + w)
            start += len(h)
        order = Tensor(np.argsort(np.concatenate(places)), ms.int32)  # [N]

        def merged(cell: Any, x: Any) -> Any:
            rows = ops.gather(cast(cell.ln_q(x), ms.float32), order, 0)
            return cell.mlp(cast(rows, x.dtype).reshape(-1, cell.width))

        with swapped(PatchMerger, "construct", merged):
            return original(self, hidden_states, grid_thw)

    return construct


def _columns_of_patches(original: Callable[..., Any]) -> Callable[..., Any]:
    def construct(self: Any, x: Any) -> Any:
        groups = self.ln_q(x).reshape(-1, 2, 2, x.shape[-1])
        return self.mlp(groups.transpose(0, 2, 1, 3).reshape(-1, self.width))

    return construct


def _placed(order: Callable[[Any], Any]) -> Callable[..., Any]:
    """Which feature goes to each place (bool [B, S], in order): ``order`` of the places."""

    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        def scatter_features(embeds: Any, places: Any, features: Any, kind: str) -> Any:
            import mindspore as ms
            from mindspore import Tensor, ops

            chosen = ops.gather(features, Tensor(order(places), ms.int32), 0)
            return original(embeds, places, chosen, kind)

        return scatter_features

    return make


def _last_image_first(places: Any) -> Any:
    count = int(places.sum())
    return np.roll(np.arange(count), -(count // 2))


def _every_row_from_the_first(places: Any) -> Any:
    return np.concatenate([np.arange(count) for count in places.sum(axis=1)])


def _sequence_before_batch(places: Any) -> Any:
    rows, columns = np.nonzero(places)
    return np.argsort(np.lexsort((rows, columns)))


FAULTS = (
    Fault("merger-norm-after", "the merger's norm over four patches at a time", "general",
          "visual.merger.ln_q", VISUAL, "layers:LayerNorm.construct", _normed_together),
    Fault("gelu-tanh-merger", "tanh approximation of GELU in the merger", "MindONE tutorial",
          "visual.merger", VISUAL, "layers:GELU.construct", _tanh_gelu),
    Fault("merger-order", "four patches of a row merged, not 2x2 of them", "general",
          "visual.merger", VISUAL, "vision:Qwen2VisionTransformer.construct", _rows_of_patches),
    Fault("merger-columns", "the 2x2 patches of a token taken column by column", "general",
          "visual.merger", VISUAL, "vision:PatchMerger.construct", _columns_of_patches),
    Fault("scatter-order", "features of the images scattered in another order", "general",
          "language_model.inputs_embeds", VISUAL, "model:scatter_features",
          _placed(_last_image_first)),
    Fault("scatter-batch", "image features scattered as if the batch were one row",
          "mlx-vlm 377", "language_model.inputs_embeds", BATCH, "model:scatter_features",
          _placed(_every_row_from_the_first)),
    Fault("scatter-transposed", "features scattered in [S, B, H] order", "Pai-Megatron-Patch 647",
          "language_model.inputs_embeds", BATCH, "model:scatter_features",
          _placed(_sequence_before_batch)),
)  # fmt: skip
