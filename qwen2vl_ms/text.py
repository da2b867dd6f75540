"""The language model: embeddings to hidden states.

    B batch, S new tokens, L = past + S tokens in all, H width
    nh query heads, nkv key and value heads, hs = H / nh head width

Attributes are named as in transformers 5.23 ``modeling_qwen2_vl.py``.
"""

from __future__ import annotations

from mindspore import Tensor, nn

from qwen2vl_ms import ops as F
from qwen2vl_ms.cache import KVCache, LayerCache
from qwen2vl_ms.config import Qwen2VLTextConfig
from qwen2vl_ms.layers import Embedding, Linear, RMSNorm
from qwen2vl_ms.positions import Ints
from qwen2vl_ms.rope import Qwen2VLRotaryEmbedding

Tables = tuple[Tensor, Tensor]


class Qwen2MLP(nn.Cell):
    """Mirrors ``Qwen2MLP`` of transformers 5.23."""

    def __init__(self, config: Qwen2VLTextConfig) -> None:
        super().__init__()
        self.gate_proj = Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up_proj = Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = Linear(config.intermediate_size, config.hidden_size, bias=False)

    def construct(self, x: Tensor) -> Tensor:
        """[B, S, H] to [B, S, H]."""
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Qwen2VLAttention(nn.Cell):
    """Causal attention, grouped key heads. Mirrors ``Qwen2VLAttention`` of transformers 5.23."""

    def __init__(self, config: Qwen2VLTextConfig) -> None:
        super().__init__()
        self.head_dim = config.head_dim
        self.scaling = config.head_dim**-0.5
        kv_width = config.num_key_value_heads * config.head_dim
        self.q_proj = Linear(config.hidden_size, config.hidden_size)
        self.k_proj = Linear(config.hidden_size, kv_width)
        self.v_proj = Linear(config.hidden_size, kv_width)
        self.o_proj = Linear(config.hidden_size, config.hidden_size, bias=False)

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
            position_embeddings: (cos, sin), float32 [B, S, hs].
            cache: This layer's earlier tokens; the new ones are added to it.

        Returns:
            [B, S, H].
        """
        query = self._heads(self.q_proj(hidden_states), position_embeddings)  # [B, nh, S, hs]
        key = self._heads(self.k_proj(hidden_states), position_embeddings)  # [B, nkv, S, hs]
        value = self._heads(self.v_proj(hidden_states))  # [B, nkv, S, hs]
        if cache is not None:
            key, value = cache.append(key, value)  # [B, nkv, L, hs]
        mixed = F.attention(query, key, value, attention_mask, self.scaling)  # [B, S, H]
        return self.o_proj(mixed)

    def _heads(self, x: Tensor, tables: Tables | None = None) -> Tensor:
        """Split into heads, rotated if tables are given: [B, S, n*hs] to [B, n, S, hs]."""
        batch, length, _ = x.shape
        x = x.reshape(batch * length, -1, self.head_dim)  # [B*S, n, hs]
        if tables is not None:
            x = F.rotate(x, *(table.reshape(-1, self.head_dim) for table in tables))
        return x.reshape(batch, length, -1, self.head_dim).transpose(0, 2, 1, 3)  # [B, n, S, hs]


class Qwen2VLDecoderLayer(nn.Cell):
    """Mirrors ``Qwen2VLDecoderLayer`` of transformers 5.23."""

    def __init__(self, config: Qwen2VLTextConfig) -> None:
        super().__init__()
        self.self_attn = Qwen2VLAttention(config)
        self.mlp = Qwen2MLP(config)
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)

    def construct(
        self,
        hidden_states: Tensor,
        attention_mask: Tensor,
        position_embeddings: Tables,
        cache: LayerCache | None = None,
    ) -> Tensor:
        """[B, S, H] to [B, S, H]; the other arguments as in `Qwen2VLAttention`."""
        hidden_states = hidden_states + self.self_attn(
            hidden_states=self.input_layernorm(hidden_states),
            attention_mask=attention_mask,
            position_embeddings=position_embeddings,
            cache=cache,
        )
        return hidden_states + self.mlp(self.post_attention_layernorm(hidden_states))


class Qwen2VLTextModel(nn.Cell):
    """Mirrors ``Qwen2VLTextModel`` of transformers 5.23."""

    def __init__(self, config: Qwen2VLTextConfig) -> None:
        super().__init__()
        self.embed_tokens = Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.CellList(
            [Qwen2VLDecoderLayer(config) for _ in range(config.num_hidden_layers)]
        )
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.rotary_emb = Qwen2VLRotaryEmbedding(config)

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
        mask = F.causal_mask(attention_mask, batch, length, past)  # [B, 1, S, L]
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
