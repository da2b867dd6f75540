"""The vision tower: patches to image tokens.

    N patches, E tower width, nh heads, hs = E / nh head width, P = 1176 numbers in a patch
    m merge size (2), H the text model's width

    pixels [N, P] -> patch_embed [N, E] -> blocks [N, E] -> merger [N/m/m, H]

Attributes are named as in transformers 5.23 ``modeling_qwen2_vl.py``.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from mindspore import Tensor, nn, ops

from qwen2vl_ms import ops as F
from qwen2vl_ms.config import Qwen2VLVisionConfig
from qwen2vl_ms.errors import Qwen2VLError
from qwen2vl_ms.layers import GELU, LayerNorm, Linear
from qwen2vl_ms.positions import Ints, check_grid, vision_cu_seqlens, vision_position_ids
from qwen2vl_ms.rope import Qwen2VLVisionRotaryEmbedding

Tables = tuple[Tensor, Tensor]
NORM_EPS = 1e-6  # a constant in the reference, not in config.json


class PatchEmbed(nn.Cell):
    """Patches to vectors.

    Mirrors ``PatchEmbed`` of transformers 5.23, whose Conv3d has a kernel equal to its stride: it
    is a linear layer over the flattened patch.
    """

    def __init__(self, config: Qwen2VLVisionConfig) -> None:
        super().__init__()
        self.proj = Linear(config.patch_dim, config.embed_dim, bias=False)

    def construct(self, hidden_states: Tensor) -> Tensor:
        """[N, P] to [N, E]."""
        return self.proj(hidden_states)


class VisionAttention(nn.Cell):
    """Attention in which each image and each frame sees only itself.

    Mirrors ``VisionAttention`` of transformers 5.23.
    """

    def __init__(self, config: Qwen2VLVisionConfig) -> None:
        super().__init__()
        self.num_heads = config.num_heads
        self.scaling = config.head_dim**-0.5
        self.qkv = Linear(config.embed_dim, 3 * config.embed_dim)
        self.proj = Linear(config.embed_dim, config.embed_dim)

    def construct(
        self, hidden_states: Tensor, cu_seqlens: npt.NDArray[np.int32], position_embeddings: Tables
    ) -> Tensor:
        """Mix the patches of each segment.

        Args:
            hidden_states: [N, E].
            cu_seqlens: int32 [segments + 1], boundaries with a leading 0.
            position_embeddings: (cos, sin), float32 [N, hs].

        Returns:
            [N, E].
        """
        patches = hidden_states.shape[0]
        qk, value = self._split(self.qkv(hidden_states))  # [N, 2*nh, hs], [N, nh, hs]
        qk = F.rotate(qk, *position_embeddings)
        segments = zip(cu_seqlens[:-1].tolist(), cu_seqlens[1:].tolist(), strict=True)
        mixed = [self._segment(qk[a:b], value[a:b]) for a, b in segments]
        return self.proj(ops.concat(mixed, axis=0).reshape(patches, -1))

    def _split(self, qkv: Tensor) -> tuple[Tensor, Tensor]:
        """Thirds of the fused product: queries with keys, which are rotated alike, and values."""
        patches, heads = qkv.shape[0], self.num_heads
        qkv = qkv.reshape(patches, 3 * heads, -1)  # [N, 3*nh, hs]
        return qkv[:, : 2 * heads], qkv[:, 2 * heads :]

    def _segment(self, qk: Tensor, value: Tensor) -> Tensor:
        """Attention within n patches: [n, 2*nh, hs] and [n, nh, hs] to [n, E]."""
        heads = self.num_heads
        qk = qk.transpose(1, 0, 2).contiguous().expand_dims(0)  # [1, 2*nh, n, hs]
        value = value.transpose(1, 0, 2).expand_dims(0)  # [1, nh, n, hs]
        return F.attention(qk[:, :heads], qk[:, heads:], value, None, self.scaling)[0]  # [n, E]


class VisionMlp(nn.Cell):
    """Mirrors ``VisionMlp`` of transformers 5.23."""

    def __init__(self, config: Qwen2VLVisionConfig) -> None:
        super().__init__()
        self.fc1 = Linear(config.embed_dim, config.intermediate_size)
        self.fc2 = Linear(config.intermediate_size, config.embed_dim)

    def construct(self, x: Tensor) -> Tensor:
        """[N, E] to [N, E]."""
        return self.fc2(F.quick_gelu(self.fc1(x)))


class Qwen2VLVisionBlock(nn.Cell):
    """Mirrors ``Qwen2VLVisionBlock`` of transformers 5.23."""

    def __init__(self, config: Qwen2VLVisionConfig) -> None:
        super().__init__()
        self.norm1 = LayerNorm(config.embed_dim, NORM_EPS)
        self.norm2 = LayerNorm(config.embed_dim, NORM_EPS)
        self.attn = VisionAttention(config)
        self.mlp = VisionMlp(config)

    def construct(
        self, hidden_states: Tensor, cu_seqlens: npt.NDArray[np.int32], position_embeddings: Tables
    ) -> Tensor:
        """[N, E] to [N, E]; the other arguments as in `VisionAttention`."""
        hidden_states = hidden_states + self.attn(
            hidden_states=self.norm1(hidden_states),
            cu_seqlens=cu_seqlens,
            position_embeddings=position_embeddings,
        )
        return hidden_states + self.mlp(self.norm2(hidden_states))


class PatchMerger(nn.Cell):
    """m x m neighbouring patches to one token. Mirrors ``PatchMerger`` of transformers 5.23."""

    def __init__(self, config: Qwen2VLVisionConfig) -> None:
        super().__init__()
        self.width = config.embed_dim * config.spatial_merge_size**2
        self.ln_q = LayerNorm(config.embed_dim, NORM_EPS)
        self.mlp = nn.SequentialCell(
            Linear(self.width, self.width), GELU(), Linear(self.width, config.hidden_size)
        )

    def construct(self, x: Tensor) -> Tensor:
        """[N, E] to [N/m/m, H]."""
        return self.mlp(self.ln_q(x).reshape(-1, self.width))  # [N/m/m, m*m*E] inside


class Qwen2VisionTransformer(nn.Cell):
    """Mirrors ``Qwen2VisionTransformerPretrainedModel`` of transformers 5.23."""

    def __init__(self, config: Qwen2VLVisionConfig) -> None:
        super().__init__()
        self.spatial_merge_size = config.spatial_merge_size
        self.patch_dim = config.patch_dim
        self.patch_embed = PatchEmbed(config)
        self.rotary_pos_emb = Qwen2VLVisionRotaryEmbedding(config)
        self.blocks = nn.CellList([Qwen2VLVisionBlock(config) for _ in range(config.depth)])
        self.merger = PatchMerger(config)

    def construct(self, hidden_states: Tensor, grid_thw: Ints) -> Tensor:
        """Encode all images or all videos of a batch at once.

        Args:
            hidden_states: Flattened patches, float [N, P], in merge-block order.
            grid_thw: int64 [n, 3]: (t, h, w) of each image or video, in patches.

        Returns:
            [N/m/m, H], one row a token, image by image.

        Raises:
            Qwen2VLError: The grid is malformed, or does not give N patches.
        """
        grid = check_grid(grid_thw, self.spatial_merge_size)
        self._check_patches(hidden_states, grid)
        positions = vision_position_ids(grid, self.spatial_merge_size)  # [N, 2]
        cu_seqlens = vision_cu_seqlens(grid)
        hidden_states = self.patch_embed(hidden_states=hidden_states)  # [N, E]
        position_embeddings = self.rotary_pos_emb(position_ids=positions)  # [N, hs] each
        for block in self.blocks:
            hidden_states = block(
                hidden_states=hidden_states,
                cu_seqlens=cu_seqlens,
                position_embeddings=position_embeddings,
            )
        return self.merger(hidden_states)  # [N/m/m, H]

    def _check_patches(self, patches: Tensor, grid: Ints) -> None:
        wanted = (int(grid.prod(axis=1).sum()), self.patch_dim)
        if tuple(patches.shape) != wanted:
            raise Qwen2VLError(
                f"pixel values have shape {tuple(patches.shape)}, and the grids "
                f"{grid.tolist()} with patches of {self.patch_dim} numbers give {wanted}"
            )
