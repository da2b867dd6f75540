"""Candidates for the tests, each odd in one way that a run has to notice."""

import mindspore as ms
import numpy as np
from mindspore import nn

from parity.adapters.mindspore_candidate import MindSporeCandidate
from parity.core.trace import Trace
from qwen2vl_ms import ops
from qwen2vl_ms.head_layout import HeadLayout
from qwen2vl_ms.positions import vision_cu_seqlens, vision_position_ids
from qwen2vl_ms.vision import segment_ends


class Unsteady(MindSporeCandidate):
    """Gives other bits each time it runs."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        rng = np.random.default_rng(0)
        head = self.model.lm_head
        original = head.construct
        head.construct = lambda x: original(x) * float(1 + 1e-3 * rng.random())


class CompiledTower(MindSporeCandidate):
    """Runs all vision blocks as one graph, whatever was asked for."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        visual = self.model.model.visual
        visual.blocks_graph = ms.jit(AllBlocks(visual.blocks))
        visual.construct = lambda hidden_states, grid_thw: encoded(visual, hidden_states, grid_thw)


class AllBlocks(nn.Cell):
    """The blocks of a vision tower, one after the other."""

    def __init__(self, blocks):
        super().__init__()
        self.blocks = blocks

    def construct(self, hidden_states, cos, sin, ends, parts, back, *rows):
        for block in self.blocks:
            hidden_states = block._whole(hidden_states, cos, sin, ends, parts, back, *rows)
        return hidden_states


def encoded(visual, hidden_states, grid_thw):
    """What the tower computes, its blocks in one graph."""
    positions = vision_position_ids(grid_thw, visual.spatial_merge_size)
    hidden_states = visual.patch_embed(hidden_states=hidden_states)
    tables = visual.rotary_pos_emb(position_ids=positions)
    ends = segment_ends(vision_cu_seqlens(grid_thw))
    layout = HeadLayout.of(ends, visual.blocks[0].attn.num_heads)
    return visual.merger(visual.blocks_graph(
        hidden_states, *tables, layout.ends, layout.parts, layout.back, *layout.rows))  # fmt: skip


class CompiledBefore(CompiledTower):
    """The same, and every graph is there before the hooks are."""

    def _execute(self, inputs, tokens, chunks, stages, trace, recording):
        self._see(inputs, Trace())
        super()._execute(inputs, tokens, chunks, stages, trace, recording)


class Forgetful(MindSporeCandidate):
    """Has every vision block, and does not call the last one."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.model.model.visual.blocks.__class__ = AllButOne


class AllButOne(nn.CellList):
    """A list whose last cell nobody comes to."""

    def __iter__(self):
        return iter(list(super().__iter__())[:-1])


class Silent(MindSporeCandidate):
    """Does not offer its device's kernels."""

    kernels = None


class DropsCast(MindSporeCandidate):
    """Its compiler drops the cast to float32 before one layer's activation; op by op it is right.

    A stand-in for a pass of the compiler: the graph is made of another function than Python runs.
    """

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        layer = self.model.model.language_model.layers[1]
        if layer.graphs is not None:
            before, after = layer.graphs
            layer.graphs = before, compiled_with(after, "silu", in_bfloat16)


def in_bfloat16(x, kernel=ms.float32):
    """The activation of values that were left narrow."""
    narrow = ops.rounded(x, ms.bfloat16)
    return ops.rounded(narrow / (1.0 + ms.ops.exp(-narrow)), ms.bfloat16)


class FusesWrongly(MindSporeCandidate):
    """Its compiler fuses one vision block's multiply-add with the wrong sign, in graphs only."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        block = self.model.model.visual.blocks[2]
        if block.graph is not None:
            block.graph = compiled_with(block.graph, "rotate", subtracting)


def subtracting(x, cos, sin, dtype=ms.float32):
    """A rotation by minus the angle."""
    half = x.shape[-1] // 2
    swapped = ms.ops.concat((-x[..., half:], x[..., :half]), axis=-1)
    return x * cos - swapped * sin


def compiled_with(graph, name, function):
    """A graph at whose compilation one of the port's operators is ``function``."""

    def call(*arguments):
        original = getattr(ops, name)
        setattr(ops, name, function)
        try:
            return graph(*arguments)
        finally:
            setattr(ops, name, original)

    return call
