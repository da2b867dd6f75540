"""The vision tower: patches to image tokens.

    N patches, E tower width, nh heads, hs = E / nh head width, P = 1176 numbers in a patch
    m merge size (2), H the text model's width

    pixels [N, P] -> patch_embed [N, E] -> blocks [N, E] -> merger [N/m/m, H]

Attributes are named as in transformers 5.23 ``modeling_qwen2_vl.py``.
"""

from __future__ import annotations

import mindspore as ms
import numpy as np
import numpy.typing as npt
from mindspore import Tensor, nn, ops

from qwen2vl_ms import ops as F
from qwen2vl_ms.attention import EAGER_SCORES, attend, attend_fused
from qwen2vl_ms.config import Qwen2VLVisionConfig
from qwen2vl_ms.errors import Qwen2VLError
from qwen2vl_ms.graph import compiled
from qwen2vl_ms.head_layout import HeadLayout, Part
from qwen2vl_ms.layers import GELU, LayerNorm, Linear
from qwen2vl_ms.positions import Ints, check_grid, vision_cu_seqlens, vision_position_ids
from qwen2vl_ms.precision import Policy
from qwen2vl_ms.rope import Qwen2VLVisionRotaryEmbedding

Tables = tuple[Tensor, Tensor]
NORM_EPS = 1e-6  # a constant in the reference, not in config.json


def segment_ends(cu_seqlens: npt.NDArray[np.int32]) -> tuple[int, ...]:
    """Where each segment ends: int32 [segments + 1] with a leading 0 to a tuple without it."""
    return tuple(cu_seqlens[1:].tolist())


class PatchEmbed(nn.Cell):
    """Patches to vectors.

    Mirrors ``PatchEmbed`` of transformers 5.23, whose Conv3d has a kernel equal to its stride: it
    is a linear layer over the flattened patch.
    """

    def __init__(self, config: Qwen2VLVisionConfig, policy: Policy) -> None:
        super().__init__()
        self.dtypes = policy.patch_embed, policy.hidden
        kernel = policy.kernel(policy.patch_embed)
        self.proj = Linear(config.patch_dim, config.embed_dim, kernel, bias=False)

    def construct(self, hidden_states: Tensor) -> Tensor:
        """[N, P] to [N, E]."""
        inside, outside = self.dtypes
        return F.cast(self.proj(F.cast(hidden_states, inside)), outside)


class VisionAttention(nn.Cell):
    """Attention in which each image and each frame sees only itself.

    Mirrors ``VisionAttention`` of transformers 5.23.
    """

    def __init__(
        self, config: Qwen2VLVisionConfig, policy: Policy, implementation: str = "auto"
    ) -> None:
        super().__init__()
        self.num_heads = config.num_heads
        self.scaling = config.head_dim**-0.5
        self.implementation = implementation
        self.hidden, self.dtype = policy.hidden, policy.attention
        self.narrowing = () if self.dtype == self.hidden else (self.dtype,)
        self.kernel = policy.kernel(self.dtype)
        kernel = policy.kernel(self.hidden)
        self.qkv = Linear(config.embed_dim, 3 * config.embed_dim, kernel)
        self.proj = Linear(config.embed_dim, config.embed_dim, kernel)

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
        layout = HeadLayout.of(segment_ends(cu_seqlens), self.num_heads)
        return self.mix(
            hidden_states,
            *position_embeddings,
            layout.ends,
            layout.parts,
            layout.back,
            *layout.rows,
        )

    def mix(
        self,
        hidden_states: Tensor,
        cos: Tensor,
        sin: Tensor,
        ends: tuple[int, ...],
        parts: tuple[Part, ...],
        back: Tensor,
        *rows: Tensor,
    ) -> Tensor:
        """The same, given what a `HeadLayout` holds; it can be compiled."""
        qkv = F.settled(self.qkv(hidden_states), self.qkv.weight.dtype)
        heads = self._heads(qkv)  # [N*3*nh, hs]
        if self.implementation == "flash":
            mixed = self._fused(heads, cos, sin, ends)
        else:
            mixed = [
                self._part(ops.gather(heads, rows[i], 0), cos, sin, parts[i])
                for i in range(len(parts))
            ]
            joined = mixed[0] if len(mixed) == 1 else ops.concat(mixed, axis=0)  # [nh*N, hs]
            mixed = ops.gather(joined, back, 0).reshape(hidden_states.shape)  # [N, E]
        return self.proj(F.cast(F.cast(mixed, self.dtype), self.hidden))

    def is_eager(self, cu_seqlens: npt.NDArray[np.int32]) -> bool:
        """Whether every segment's scores are computed at once.

        A graph of blocks is not compiled: it would hold the memory of all of them.
        """
        longest = int(np.diff(cu_seqlens).max())
        return self.implementation == "flash" or self.num_heads * longest**2 <= EAGER_SCORES

    def _heads(self, qkv: Tensor) -> Tensor:
        """Thirds of the fused product [N, 3*E]: rows of all queries' heads, keys' and values'."""
        return qkv.reshape(-1, qkv.shape[1] // (3 * self.num_heads))

    def _part(self, heads: Tensor, cos: Tensor, sin: Tensor, part: Part) -> Tensor:
        """Attention of g heads within n patches: [3*g*n, hs] to [g*n, hs]."""
        start, end, count = part
        heads = heads.reshape(1, 3 * count, end - start, -1)
        tables = cos[start:end].expand_dims(0), sin[start:end].expand_dims(0)
        qk, value = self._rotated(heads[:, : 2 * count], *tables), heads[:, 2 * count :]
        value = F.settled(value, self.kernel, *self.narrowing)
        query, key = qk[:, :count], qk[:, count:]  # [1, g, n, hs]
        mixed = attend(self.implementation, query, key, value, None, self.scaling, self.dtype)
        return mixed.reshape(-1, mixed.shape[-1])

    def _fused(self, heads: Tensor, cos: Tensor, sin: Tensor, ends: tuple[int, ...]) -> Tensor:
        """Attention of all segments in one kernel: [N*3*nh, hs] to [N, E]."""
        count = self.num_heads
        heads = heads.reshape(cos.shape[0], 3 * count, 1, -1)  # [N, 3*nh, 1, hs]
        qk = self._rotated(heads[:, : 2 * count], cos.expand_dims(1), sin.expand_dims(1))
        value = F.settled(heads[:, 2 * count :], self.kernel, *self.narrowing)
        query, key, value = (x.squeeze(2) for x in (qk[:, :count], qk[:, count:], value))
        return attend_fused(query, key, value, ends, self.scaling)

    def _rotated(self, heads: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Rotate in float32, as the reference, and round: [B, n, S, hs] to the same shape."""
        heads = F.rotate(F.cast(heads, ms.float32), cos, sin)
        return F.settled(heads, self.kernel, self.hidden, self.dtype)


class VisionMlp(nn.Cell):
    """Mirrors ``VisionMlp`` of transformers 5.23."""

    def __init__(self, config: Qwen2VLVisionConfig, policy: Policy) -> None:
        super().__init__()
        self.kernel = policy.kernel(policy.hidden)
        self.fc1 = Linear(config.embed_dim, config.intermediate_size, self.kernel)
        self.fc2 = Linear(config.intermediate_size, config.embed_dim, self.kernel)

    def construct(self, x: Tensor) -> Tensor:
        """[N, E] to [N, E]."""
        return self.fc2(F.quick_gelu(self.fc1(x), self.kernel))


class Qwen2VLVisionBlock(nn.Cell):
    """Mirrors ``Qwen2VLVisionBlock`` of transformers 5.23."""

    def __init__(
        self,
        config: Qwen2VLVisionConfig,
        policy: Policy,
        implementation: str = "auto",
        jit: bool = False,
    ) -> None:
        super().__init__()
        self.norm1 = LayerNorm(config.embed_dim, NORM_EPS)
        self.norm2 = LayerNorm(config.embed_dim, NORM_EPS)
        self.attn = VisionAttention(config, policy, implementation)
        self.mlp = VisionMlp(config, policy)
        self.graph = compiled(self._whole) if jit else None

    def construct(
        self, hidden_states: Tensor, cu_seqlens: npt.NDArray[np.int32], position_embeddings: Tables
    ) -> Tensor:
        """[N, E] to [N, E]; the other arguments as in `VisionAttention`."""
        if self.graph is not None and self.attn.is_eager(cu_seqlens):
            layout = HeadLayout.of(segment_ends(cu_seqlens), self.attn.num_heads)
            return self.graph(
                hidden_states, *position_embeddings,
                layout.ends, layout.parts, layout.back, *layout.rows,
            )  # fmt: skip
        mixed = self.attn(
            hidden_states=self.norm1(hidden_states),
            cu_seqlens=cu_seqlens,
            position_embeddings=position_embeddings,
        )
        hidden_states = F.residual(hidden_states, mixed)
        return F.residual(hidden_states, self.mlp(self.norm2(hidden_states)))

    def _whole(
        self,
        hidden_states: Tensor,
        cos: Tensor,
        sin: Tensor,
        ends: tuple[int, ...],
        parts: tuple[Part, ...],
        back: Tensor,
        *rows: Tensor,
    ) -> Tensor:
        """The same as one graph."""
        mixed = self.attn.mix(self.norm1(hidden_states), cos, sin, ends, parts, back, *rows)
        hidden_states = F.residual(hidden_states, mixed)
        return F.residual(hidden_states, self.mlp(self.norm2(hidden_states)))


class PatchMerger(nn.Cell):
    """m x m neighbouring patches to one token. Mirrors ``PatchMerger`` of transformers 5.23."""

    def __init__(self, config: Qwen2VLVisionConfig, policy: Policy) -> None:
        super().__init__()
        kernel = policy.kernel(policy.hidden)
        self.width = config.embed_dim * config.spatial_merge_size**2
        self.ln_q = LayerNorm(config.embed_dim, NORM_EPS)
        self.mlp = nn.SequentialCell(
            Linear(self.width, self.width, kernel),
            GELU(kernel),
            Linear(self.width, config.hidden_size, kernel),
        )

    def construct(self, x: Tensor) -> Tensor:
        """[N, E] to [N/m/m, H]."""
        return self.mlp(self.ln_q(x).reshape(-1, self.width))  # [N/m/m, m*m*E] inside


class Qwen2VisionTransformer(nn.Cell):
    """Mirrors ``Qwen2VisionTransformerPretrainedModel`` of transformers 5.23."""

    def __init__(
        self,
        config: Qwen2VLVisionConfig,
        policy: Policy,
        implementation: str = "auto",
        jit: bool = False,
    ) -> None:
        super().__init__()
        self.spatial_merge_size = config.spatial_merge_size
        self.patch_dim = config.patch_dim
        self.patch_embed = PatchEmbed(config, policy)
        self.rotary_pos_emb = Qwen2VLVisionRotaryEmbedding(config)
        self.blocks = nn.CellList(
            [Qwen2VLVisionBlock(config, policy, implementation, jit) for _ in range(config.depth)]
        )
        self.merger = PatchMerger(config, policy)

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
