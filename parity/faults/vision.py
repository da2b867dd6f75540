"""Faults in the vision tower."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from parity.faults.fault import Fault, in_layer

VISUAL = ("single-image", "two-images", "left-padded-batch", "odd-video", "photograph", "decoding")
PADDED_HEAD = 128


def _axes_swapped(original: Callable[..., Any]) -> Callable[..., Any]:
    def construct(self: Any, hidden_states: Any) -> Any:
        patches = hidden_states.reshape(len(hidden_states), 3, 2, -1)
        swapped = patches.transpose(0, 2, 1, 3).reshape(len(hidden_states), -1)
        return original(self, swapped)

    return construct


def _erf_gelu(self: Any, x: Any) -> Any:
    from qwen2vl_ms import ops

    return self.fc2(ops.gelu(self.fc1(x)))


def _padded_scale(original: Callable[..., Any]) -> Callable[..., Any]:
    def faulty(self: Any, *args: Any, **kwargs: Any) -> Any:
        kept, self.scaling = self.scaling, PADDED_HEAD**-0.5
        try:
            return original(self, *args, **kwargs)
        finally:
            self.scaling = kept

    return in_layer(".blocks.1.", faulty)(original)


def _split_per_head(original: Callable[..., Any]) -> Callable[..., Any]:
    def faulty(self: Any, qkv: Any) -> Any:
        from mindspore import ops

        patches, heads = qkv.shape[0], self.num_heads
        each = qkv.reshape(patches, heads, 3, -1)
        thirds = ops.concat((each[:, :, 0], each[:, :, 1], each[:, :, 2]), axis=1)
        return thirds.reshape(-1, each.shape[-1])

    return in_layer(".blocks.3.", faulty)(original)


def _larger_epsilon(original: Callable[..., Any]) -> Callable[..., Any]:
    def faulty(self: Any, x: Any) -> Any:
        from qwen2vl_ms import ops

        return ops.layer_norm(x, self.weight, self.bias, 1e-5)

    return in_layer(".blocks.0.norm1.", faulty)(original)


def _tanh_gelu(original: Callable[..., Any]) -> Callable[..., Any]:
    def construct(self: Any, x: Any) -> Any:
        import mindspore as ms
        from mindspore import ops

        # In float32 and rounded once, as the right one is.
        return ops.gelu(x.astype(ms.float32), approximate="tanh").astype(x.dtype)

    return construct


def _rows_of_patches(original: Callable[..., Any]) -> Callable[..., Any]:
    def construct(self: Any, x: Any) -> Any:
        groups = self.ln_q(x).reshape(-1, 2, 2, x.shape[-1])
        return self.mlp(groups.transpose(0, 2, 1, 3).reshape(-1, self.width))

    return construct


FAULTS = (
    Fault("patch-flatten", "patch embedding weight flattened in another axis order", "general",
          "visual.patch_embed", VISUAL, "vision:PatchEmbed.construct", _axes_swapped),
    Fault("ln-eps", "LayerNorm epsilon of 1e-5 for 1e-6, in one block", "MindSpore default",
          "visual.blocks.0.norm1", VISUAL, "layers:LayerNorm.construct", _larger_epsilon),
    Fault("scale-padded-head", "attention scaled by the padded head size, in one block",
          "vllm-ascend", "visual.blocks.1.attn", VISUAL,
          "vision:VisionAttention.construct", _padded_scale),
    Fault("quick-gelu-as-gelu", "erf GELU where quick GELU is meant, in one block",
          "vLLM, candle 3745", "visual.blocks.2.mlp", VISUAL,
          "vision:VisionMlp.construct", in_layer(".blocks.2.", _erf_gelu)),
    Fault("qkv-order", "fused q, k, v split per head instead of per third, in one block",
          "general", "visual.blocks.3.attn", VISUAL,
          "vision:VisionAttention._heads", _split_per_head),
    Fault("gelu-tanh-merger", "tanh approximation of GELU in the merger", "MindONE tutorial",
          "visual.merger", VISUAL, "layers:GELU.construct", _tanh_gelu),
    Fault("merger-order", "the 2x2 patches of a token taken column by column", "general",
          "visual.merger", VISUAL, "vision:PatchMerger.construct", _rows_of_patches),
)  # fmt: skip
