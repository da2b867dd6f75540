"""Faults in the decoder's norms, MLPs and residuals, and in the head."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from parity.faults.fault import HALF, Fault, hidden, in_layer, swapped
from parity.faults.inputs import EVERY
from parity.faults.vision import EPSILON


def _larger_epsilon(original: Callable[..., Any]) -> Callable[..., Any]:
    def faulty(self: Any, x: Any) -> Any:
        from qwen2vl_ms import ops

        return ops.rms_norm(x, self.weight, 1e-5)

    return in_layer(".layers.1.input_layernorm.", faulty)(original)


def _weight_plus_one(original: Callable[..., Any]) -> Callable[..., Any]:
    def faulty(self: Any, x: Any) -> Any:
        from qwen2vl_ms import ops

        return ops.rms_norm(x, self.weight + 1, self.eps)

    return in_layer(".layers.0.post_attention_layernorm.", faulty)(original)


def _mean_subtracted(original: Callable[..., Any]) -> Callable[..., Any]:
    def faulty(self: Any, x: Any) -> Any:
        from mindspore import ops as mint

        from qwen2vl_ms import ops

        return ops.layer_norm(x, self.weight, mint.zeros_like(self.weight), self.eps)

    return in_layer("language_model.norm.", faulty)(original)


def _gate_and_up_swapped(self: Any, x: Any) -> Any:
    from qwen2vl_ms import ops

    return self.down_proj(ops.silu(self.up_proj(x), self.kernel) * self.gate_proj(x))


def _gelu_for_silu(self: Any, x: Any) -> Any:
    from qwen2vl_ms import ops

    return self.down_proj(ops.gelu(self.gate_proj(x), self.kernel) * self.up_proj(x))


def _residual_of_the_norm(
    self: Any, hidden_states: Any, attention_mask: Any, position_embeddings: Any, cache: Any = None
) -> Any:
    normed = self.input_layernorm(hidden_states)
    hidden_states = normed + self.self_attn(
        hidden_states=normed,
        attention_mask=attention_mask,
        position_embeddings=position_embeddings,
        cache=cache,
    )
    return hidden_states + self.mlp(self.post_attention_layernorm(hidden_states))


def _vocabulary_shifted(original: Callable[..., Any]) -> Callable[..., Any]:
    def faulty(self: Any, x: Any) -> Any:
        from mindspore import ops

        logits = original(self, x)
        return ops.concat((logits[..., -1:], logits[..., :-1]), axis=-1)

    return in_layer("lm_head.", faulty)(original)


def _head_tied(original: Callable[..., Any]) -> Callable[..., Any]:
    def construct(self: Any, *args: Any, **kwargs: Any) -> Any:
        from qwen2vl_ms import ops
        from qwen2vl_ms.layers import Linear

        embedding = self.model.language_model.embed_tokens.weight

        def tied(cell: Any, x: Any) -> Any:
            return ops.linear(x, embedding)

        with swapped(Linear, "construct", in_layer("lm_head.", tied)(Linear.construct)):
            return original(self, *args, **kwargs)

    return construct


FAULTS = (
    Fault("rms-eps", "RMSNorm epsilon of 1e-5 for 1e-6, in one layer",
          "class default for a missing key", "language_model.layers.1.input_layernorm", EVERY,
          "layers:RMSNorm.construct", _larger_epsilon, hidden(EPSILON, *HALF)),
    Fault("rms-plus-one", "one added to an RMSNorm's weight, as Gemma stores it", "mlx-vlm 1548",
          "language_model.layers.0.post_attention_layernorm", EVERY,
          "layers:RMSNorm.construct", _weight_plus_one),
    Fault("rms-mean-subtracted", "LayerNorm for the final RMSNorm", "general",
          "language_model.norm", EVERY, "layers:RMSNorm.construct", _mean_subtracted),
    Fault("mlp-gelu", "GELU for SiLU in one layer's MLP", "candle 3747",
          "language_model.layers.0.mlp", EVERY,
          "text:Qwen2MLP.construct", in_layer(".layers.0.", _gelu_for_silu)),
    Fault("mlp-gate-up-swapped", "gate and up projections exchanged, in one layer",
          "OpenVINO 32683", "language_model.layers.1.mlp", EVERY,
          "text:Qwen2MLP.construct", in_layer(".layers.1.", _gate_and_up_swapped)),
    Fault("residual-of-norm", "the residual taken after the norm, in one layer", "general",
          "language_model.layers.2", EVERY,
          "text:Qwen2VLDecoderLayer.construct", in_layer(".layers.2.", _residual_of_the_norm)),
    Fault("head-tied", "the head's own weights ignored for the embedding's", "sglang 15398",
          "lm_head", EVERY, "model:Qwen2VLForConditionalGeneration.construct", _head_tied),
    Fault("head-vocabulary-shift", "logits shifted by one token of the vocabulary", "general",
          "lm_head", EVERY, "layers:Linear.construct", _vocabulary_shifted),
)  # fmt: skip
