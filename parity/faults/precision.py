"""Faults in the dtypes that parts of the model compute in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from parity.faults.fault import HALF, Fault, hidden, in_layer, swapped
from parity.faults.inputs import EVERY, VISUAL

MASKED = -6e4
"""Scores under it have the mask's -65504 in them."""
WIDE = "in float32 there is nothing narrower to compute in"
BARELY = "it stands out from rounding on other inputs by less than a gate needs"
ELEVEN_BITS = 0x1000
"""What the last of HF32's bits counts in those of float32, whose last twelve it drops."""


def _half_precision(original: Callable[..., Any]) -> Callable[..., Any]:
    """Pixels, weights and result in float16, whatever is asked for."""

    def construct(self: Any, hidden_states: Any) -> Any:
        import mindspore as ms

        from qwen2vl_ms import ops

        weight = ops.rounded(self.proj.weight, ms.float16)
        product = ops.linear(ops.rounded(hidden_states, ms.float16), weight)
        return ops.cast(ops.rounded(product, ms.float16), self.dtypes[1])

    return construct


def _hf32(x: Any) -> Any:
    """Round a tensor as Ascend's cube does: a sign, eight bits of exponent, eleven of mantissa."""
    import mindspore as ms
    from mindspore import Tensor

    from qwen2vl_ms import ops

    bits = ops.cast(x, ms.float32).asnumpy().view(np.uint32)
    rounded = (bits + ELEVEN_BITS // 2) & np.uint32(2**32 - ELEVEN_BITS)
    return Tensor(rounded.view(np.float32)).astype(x.dtype)


def _patches_hf32(original: Callable[..., Any]) -> Callable[..., Any]:
    def construct(self: Any, hidden_states: Any) -> Any:
        from qwen2vl_ms import ops

        product = ops.linear(
            _hf32(ops.cast(hidden_states, self.dtypes[0])), _hf32(self.proj.weight)
        )
        return ops.cast(product, self.dtypes[1])

    return construct


def _linear_hf32(original: Callable[..., Any]) -> Callable[..., Any]:
    def faulty(self: Any, x: Any) -> Any:
        from qwen2vl_ms import ops

        return ops.linear(_hf32(x), _hf32(self.weight), self.bias)

    return in_layer(".layers.0.mlp.down_proj.", faulty)(original)


def _norm_not_widened(original: Callable[..., Any]) -> Callable[..., Any]:
    def faulty(self: Any, x: Any) -> Any:
        import mindspore as ms
        from mindspore import ops as mint

        from qwen2vl_ms import ops

        wide = ops.cast(x, ms.float32)
        total = ops.rounded(wide * wide, x.dtype)
        while total.shape[-1] % 2 == 0:  # pairs of sums, as a vector unit adds them
            half = total.shape[-1] // 2
            total = ops.rounded(total[..., :half] + total[..., half:], x.dtype)
        mean = ops.rounded(mint.sum(total, -1, True) / x.shape[-1], x.dtype)
        scale = ops.rounded(mint.rsqrt(ops.rounded(mean + self.eps, x.dtype)), x.dtype)
        return ops.cast(self.weight * ops.rounded(wide * scale, x.dtype), x.dtype)

    return in_layer(".layers.0.input_layernorm.", faulty)(original)


def _weight_before_rounding(original: Callable[..., Any]) -> Callable[..., Any]:
    def faulty(self: Any, x: Any) -> Any:
        import mindspore as ms

        from qwen2vl_ms import ops

        wide = ops.rms_norm(ops.cast(x, ms.float32), self.weight, self.eps)
        return ops.cast(wide, x.dtype)

    return in_layer(".layers.2.input_layernorm.", faulty)(original)


def _softmax(faulty: Callable[[Any, Any, Any], Any], layer: int) -> Callable[..., Any]:
    """Another softmax in one decoder layer: of the scores, their dtype and the right one."""

    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        def mix(self: Any, *args: Any) -> Any:
            from qwen2vl_ms import attention

            right = attention.softmax

            def softmax(scores: Any) -> Any:
                return faulty(scores, self.dtype, right)

            with swapped(attention, "softmax", softmax):
                return original(self, *args)

        return in_layer(f".layers.{layer}.", mix)(original)

    return make


def _infinite_reset(scores: Any, dtype: Any, right: Any) -> Any:
    """A float32 mask's lowest number is infinite in float16, and hides nothing once it is 0."""
    import mindspore as ms
    from mindspore import ops

    if dtype != ms.float16:
        return right(scores)
    # The port's masks are finite: what they hide is what a mask of -inf would have made infinite.
    hidden_there = scores < MASKED
    return right(ops.where(hidden_there, ops.zeros_like(scores), scores))


def _softmax_not_widened(scores: Any, dtype: Any, right: Any) -> Any:
    from mindspore import ops as mint

    from qwen2vl_ms import ops

    shifted = ops.rounded(scores - mint.amax(scores, -1, True), dtype)
    powers = ops.rounded(mint.exp(shifted), dtype)
    total = ops.rounded(mint.sum(powers, -1, True), dtype)
    return ops.rounded(powers / total, dtype)


def _rotated_narrow(original: Callable[..., Any]) -> Callable[..., Any]:
    def faulty(self: Any, heads: Any, cos: Any, sin: Any) -> Any:
        from qwen2vl_ms import ops

        cos, sin = ops.rounded(cos, self.hidden), ops.rounded(sin, self.hidden)
        heads = ops.rotate(ops.cast(heads, cos.dtype), cos, sin, self.hidden)
        return ops.settled(heads, self.kernel, self.hidden, self.dtype)

    return in_layer(".blocks.3.", faulty)(original)


FAULTS = (
    Fault("cast-conv", "the patch embedding in float16, whatever is asked for", "MindONE",
          "visual.patch_embed", VISUAL, "vision:PatchEmbed.construct", _half_precision,
          {"fp16": "it is computed in float16 there",
           **hidden("float16 has more bits than bfloat16", "bf16", "ascend-mixed")}),
    Fault("conv-hf32", "the patch embedding in HF32, which convolutions use unless told",
          "MindSpore default", "visual.patch_embed", VISUAL, "vision:PatchEmbed.construct",
          _patches_hf32, hidden("HF32 holds every value of a narrow dtype", *HALF)),
    Fault("matmul-hf32", "a matrix product in HF32, in one layer", "Jittor 18025",
          "language_model.layers.0.mlp.down_proj", EVERY, "layers:Linear.construct",
          _linear_hf32, hidden("HF32 holds every value of a narrow dtype", *HALF)),
    Fault("rotate-low-precision", "the vision tower's rotation not widened, in one block",
          "transformers 35966", "visual.blocks.3.attn", VISUAL,
          "vision:VisionAttention._rotated", _rotated_narrow,
          {"fp32": WIDE, "ascend-mixed": BARELY}),
    Fault("rms-low-precision", "an RMSNorm not widened to float32", "general",
          "language_model.layers.0.input_layernorm", EVERY, "layers:RMSNorm.construct",
          _norm_not_widened, hidden(WIDE, "fp32")),
    Fault("rms-weight-dtype", "an RMSNorm's weight multiplied before the cast back", "general",
          "language_model.layers.2.input_layernorm", EVERY, "layers:RMSNorm.construct",
          _weight_before_rounding,
          {"fp32": WIDE,
           **hidden("it rounds once where the reference rounds twice: its error is smaller",
                    *HALF)}),
    Fault("softmax-low-precision", "the softmax not widened to float32, in one layer",
          "tinygrad 12280", "language_model.layers.1.self_attn", EVERY,
          "text:Qwen2VLAttention.mix", _softmax(_softmax_not_widened, 1),
          {"fp32": WIDE, "fp16": BARELY,
           "ascend-mixed": "its further roundings are lost in those of attention in float16"}),
    Fault("mask-fp16-inf", "masked scores, infinite in float16, set to 0, in one layer",
          "transformers 35151", "language_model.layers.0.self_attn", EVERY,
          "text:Qwen2VLAttention.mix", _softmax(_infinite_reset, 0),
          hidden("what is lowest in float32 is finite there", "fp32", "bf16")),
)  # fmt: skip
