"""Faults in the vision tower's patch embedding, norms, MLPs and blocks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from parity.faults.fault import HALF, Fault, hidden, in_layer
from parity.faults.inputs import VISUAL

EPSILON = "an epsilon changes less than rounding does"


def _axes_swapped(original: Callable[..., Any]) -> Callable[..., Any]:
    def construct(self: Any, hidden_states: Any) -> Any:
        patches = hidden_states.reshape(len(hidden_states), 3, 2, -1)
        swapped = patches.transpose(0, 2, 1, 3).reshape(len(hidden_states), -1)
        return original(self, swapped)

    return construct


def _one_kernel(original: Callable[..., Any]) -> Callable[..., Any]:
    """The kernel of the first frame alone, as if the convolution had two axes."""

    def construct(self: Any, hidden_states: Any) -> Any:
        from mindspore import ops

        patches = hidden_states.reshape(len(hidden_states), 3, 2, -1)
        first = ops.concat((patches[:, :, :1], patches[:, :, 1:] * 0), axis=2)
        return original(self, first.reshape(hidden_states.shape))

    return construct


def _larger_epsilon(original: Callable[..., Any]) -> Callable[..., Any]:
    def faulty(self: Any, x: Any) -> Any:
        from qwen2vl_ms import ops

        return ops.layer_norm(x, self.weight, self.bias, 1e-5)

    return in_layer(".blocks.0.norm1.", faulty)(original)


def _not_loaded(original: Callable[..., Any]) -> Callable[..., Any]:
    """Gain and bias as they are initialised, whose names in MindSpore are gamma and beta."""

    def faulty(self: Any, x: Any) -> Any:
        from mindspore import ops as mint

        from qwen2vl_ms import ops

        ones, zeros = mint.ones_like(self.weight), mint.zeros_like(self.bias)
        return ops.layer_norm(x, ones, zeros, self.eps)

    return in_layer(".blocks.3.norm2.", faulty)(original)


def _erf_gelu(self: Any, x: Any) -> Any:
    from qwen2vl_ms import ops

    return self.fc2(ops.gelu(self.fc1(x), self.kernel))


def _silu(self: Any, x: Any) -> Any:
    from qwen2vl_ms import ops

    return self.fc2(ops.silu(self.fc1(x), self.kernel))


def _residual_of_the_norm(self: Any, hidden_states: Any, **context: Any) -> Any:
    normed = self.norm1(hidden_states)
    hidden_states = normed + self.attn(normed, **context)
    return hidden_states + self.mlp(self.norm2(hidden_states))


FAULTS = (
    Fault("patch-flatten", "patch embedding weight flattened in another axis order", "general",
          "visual.patch_embed", VISUAL, "vision:PatchEmbed.construct", _axes_swapped),
    Fault("patch-one-kernel", "the patch embedding's kernel of the first frame alone", "general",
          "visual.patch_embed", VISUAL, "vision:PatchEmbed.construct", _one_kernel),
    Fault("ln-eps", "LayerNorm epsilon of 1e-5 for 1e-6, in one block", "MindSpore default",
          "visual.blocks.0.norm1", VISUAL, "layers:LayerNorm.construct", _larger_epsilon,
          hidden(EPSILON, *HALF)),
    Fault("quick-gelu-as-silu", "SiLU where quick GELU is meant, in one block", "general",
          "visual.blocks.1.mlp", VISUAL,
          "vision:VisionMlp.construct", in_layer(".blocks.1.", _silu)),
    Fault("quick-gelu-as-gelu", "erf GELU where quick GELU is meant, in one block",
          "vLLM, candle 3745", "visual.blocks.2.mlp", VISUAL,
          "vision:VisionMlp.construct", in_layer(".blocks.2.", _erf_gelu)),
    Fault("ln-not-loaded", "a LayerNorm named gamma and beta, so that its weights are not loaded",
          "MindSpore default", "visual.blocks.3.norm2", VISUAL,
          "layers:LayerNorm.construct", _not_loaded),
    Fault("vit-residual-of-norm", "the residual taken after the norm, in one block", "general",
          "visual.blocks.1", VISUAL,
          "vision:Qwen2VLVisionBlock.construct", in_layer(".blocks.1.", _residual_of_the_norm)),
)  # fmt: skip
