"""The language model: embeddings to hidden states.

    B batch, S new tokens, L = past + S tokens in all, H width
    nh query heads, nkv key and value heads, hs = H / nh head width

Attributes are named as in transformers 5.23 ``modeling_qwen2_vl.py``.
"""

from __future__ import annotations

from collections.abc import Callable

from mindspore import Tensor, nn, ops

from qwen2vl_ms import ops as F
from qwen2vl_ms.attention import attention
from qwen2vl_ms.cache import KVCache, LayerCache
from qwen2vl_ms.config import Qwen2VLTextConfig
from qwen2vl_ms.graph import compiled
from qwen2vl_ms.head_layout import heads_first
from qwen2vl_ms.layers import Embedding, Linear, RMSNorm
from qwen2vl_ms.positions import Ints
from qwen2vl_ms.precision import Policy
from qwen2vl_ms.rope import Qwen2VLRotaryEmbedding

Tables = tuple[Tensor, Tensor]
Heads = tuple[Tensor, Tensor, Tensor]


class Qwen2MLP(nn.Cell):
    """Mirrors ``Qwen2MLP`` of transformers 5.23."""

    def __init__(self, config: Qwen2VLTextConfig, policy: Policy) -> None:
        super().__init__()
        self.kernel = kernel = policy.kernel(policy.hidden)
        self.gate_proj = Linear(config.hidden_size, config.intermediate_size, kernel, bias=False)
        self.up_proj = Linear(config.hidden_size, config.intermediate_size, kernel, bias=False)
        self.down_proj = Linear(config.intermediate_size, config.hidden_size, kernel, bias=False)

    def construct(self, x: Tensor) -> Tensor:
        """[B, S, H] to [B, S, H]."""
        return self.down_proj(F.silu(self.gate_proj(x), self.kernel) * self.up_proj(x))


class Qwen2VLAttention(nn.Cell):
    """Causal attention, grouped key heads. Mirrors ``Qwen2VLAttention`` of transformers 5.23."""

    def __init__(
        self, config: Qwen2VLTextConfig, policy: Policy, implementation: str = "auto"
    ) -> None:
        super().__init__()
        self.num_heads = config.num_attention_heads
        self.head_dim = config.head_dim
        self.scaling = config.head_dim**-0.5
        self.implementation = implementation
        self.hidden, self.dtype = policy.hidden, policy.attention
        self.narrowing = () if self.dtype == self.hidden else (self.dtype,)
        self.kernel = policy.kernel(self.dtype)
        kernel = policy.kernel(self.hidden)
        kv_width = config.num_key_value_heads * config.head_dim
        self.q_proj = Linear(config.hidden_size, config.hidden_size, kernel)
        self.k_proj = Linear(config.hidden_size, kv_width, kernel)
        self.v_proj = Linear(config.hidden_size, kv_width, kernel)
        self.o_proj = Linear(config.hidden_size, config.hidden_size, kernel, bias=False)

    def construct(
        self,
        hidden_states: Tensor,
        attention_mask: Tensor,
        position_embeddings: Tables,
        cache: LayerCache | None = None,
    ) -> Tensor:
        """Mix tokens.

        Args:
            hidden_states: [B, S, H].
            attention_mask: Additive, float [B, 1, S, L].
            position_embeddings: (cos, sin), [B, S, hs].
            cache: This layer's earlier tokens; the new ones are added to it.

        Returns:
            [B, S, H].
        """
        query, key, value = self.project(hidden_states, *position_embeddings)
        if cache is not None:
            key, value = cache.append(key, value)  # [B, nkv, L, hs]
            attention_mask = cache.widened(attention_mask, key.shape[2])
        return self.mix(query, key, value, attention_mask)

    def project(self, hidden_states: Tensor, cos: Tensor, sin: Tensor) -> Heads:
        """Queries [B, nh, S, hs], keys and values [B, nkv, S, hs], rotated; can be compiled."""
        kernel = self.q_proj.weight.dtype
        query, key, value = (
            F.settled(project(hidden_states), kernel)
            for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        cos, sin = F.settled(cos, kernel), F.settled(sin, kernel)
        qk = F.rotate(self._joined(query, key), cos, sin, self.hidden)  # [B, nh + nkv, S, hs]
        value = heads_first(value, self.head_dim)  # [B, nkv, S, hs]
        qk, value = (F.settled(x, self.kernel, *self.narrowing) for x in (qk, value))
        return qk[:, : self.num_heads], qk[:, self.num_heads :], value

    def mix(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
        """From queries, all keys and values to the module's output [B, S, H]; can be compiled."""
        mixed = attention(
            self.implementation, query, key, value, mask, self.scaling, self.dtype
        )  # [B, S, H]
        return self.o_proj(F.cast(mixed, self.hidden))

    def _joined(self, query: Tensor, key: Tensor) -> Tensor:
        """Heads of queries, then of keys, which are rotated alike: [B, nh + nkv, S, hs]."""
        both = heads_first(query, self.head_dim), heads_first(key, self.head_dim)
        return ops.concat(both, axis=1)


class Qwen2VLDecoderLayer(nn.Cell):
    """Mirrors ``Qwen2VLDecoderLayer`` of transformers 5.23."""

    def __init__(
        self,
        config: Qwen2VLTextConfig,
        policy: Policy,
        implementation: str = "auto",
        jit: bool = False,
    ) -> None:
        super().__init__()
        self.self_attn = Qwen2VLAttention(config, policy, implementation)
        self.mlp = Qwen2MLP(config, policy)
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.graphs = (compiled(self._before), compiled(self._after)) if jit else None

    def construct(
        self,
        hidden_states: Tensor,
        attention_mask: Tensor,
        position_embeddings: Tables,
        cache: LayerCache | None = None,
    ) -> Tensor:
        """[B, S, H] to [B, S, H]; the other arguments as in `Qwen2VLAttention`."""
        if self.graphs is not None:
            return self._run(
                *self.graphs, hidden_states, attention_mask, position_embeddings, cache
            )
        mixed = self.self_attn(
            hidden_states=self.input_layernorm(hidden_states),
            attention_mask=attention_mask,
            position_embeddings=position_embeddings,
            cache=cache,
        )
        hidden_states = F.residual(hidden_states, mixed)
        return F.residual(hidden_states, self.mlp(self.post_attention_layernorm(hidden_states)))

    @staticmethod
    def _run(
        before: Callable[..., Heads],
        after: Callable[..., Tensor],
        hidden_states: Tensor,
        mask: Tensor,
        tables: Tables,
        cache: LayerCache | None,
    ) -> Tensor:
        """The same as two graphs of static shapes, between which the cache is written."""
        query, key, value = before(hidden_states, *tables)
        if cache is not None:
            key, value = cache.append(key, value)
            mask = cache.widened(mask, key.shape[2])
        return after(hidden_states, query, key, value, mask)

    def _before(self, hidden_states: Tensor, cos: Tensor, sin: Tensor) -> Heads:
        return self.self_attn.project(self.input_layernorm(hidden_states), cos, sin)

    def _after(
        self, hidden_states: Tensor, query: Tensor, key: Tensor, value: Tensor, mask: Tensor
    ) -> Tensor:
        mixed = self.self_attn.mix(query, key, value, mask)
        hidden_states = F.residual(hidden_states, mixed)
        return F.residual(hidden_states, self.mlp(self.post_attention_layernorm(hidden_states)))


class Qwen2VLTextModel(nn.Cell):
    """Mirrors ``Qwen2VLTextModel`` of transformers 5.23."""

    def __init__(
        self,
        config: Qwen2VLTextConfig,
        policy: Policy,
        implementation: str = "auto",
        jit: bool = False,
    ) -> None:
        super().__init__()
        self.dtype = policy.hidden
        self.embed_tokens = Embedding(config.vocab_size, config.hidden_size, policy)
        layers = range(config.num_hidden_layers)
        self.layers = nn.CellList(
            [Qwen2VLDecoderLayer(config, policy, implementation, jit) for _ in layers]
        )
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.rotary_emb = Qwen2VLRotaryEmbedding(config, policy.hidden)

    def construct(
        self,
        inputs_embeds: Tensor,
        position_ids: Ints,
        attention_mask: Ints | None = None,
        cache: KVCache | None = None,
    ) -> Tensor:
        """Run the layers.

        Args:
            inputs_embeds: [B, S, H], image features already in place.
            position_ids: int64 [3, B, S], rows (temporal, height, width).
            attention_mask: int [B, L], 0 at padding, or None for no padding.
            cache: Earlier tokens; the new ones are added to it.

        Returns:
            [B, S, H], after the final norm.
        """
        batch, length, _ = inputs_embeds.shape
        past = 0 if cache is None else cache.length
        mask = F.causal_mask(attention_mask, batch, length, past, self.dtype)  # [B, 1, S, L]
        position_embeddings = self.rotary_emb(position_ids=position_ids)  # [B, S, hs] each
        hidden_states = inputs_embeds
        caches = [None] * len(self.layers) if cache is None else cache.layers
        for layer, layer_cache in zip(self.layers, caches, strict=True):
            hidden_states = layer(
                hidden_states=hidden_states,
                attention_mask=mask,
                position_embeddings=position_embeddings,
                cache=layer_cache,
            )
        return self.norm(hidden_states)
