"""Where on the input a point's tokens are: patches of pictures, or tokens of a prompt."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from parity.core.cases import Case
from parity.core.detail import MERGED, PATCHES, TOKENS, Cells, Ids
from parity.core.inputs_shown import IMAGE, VIDEO
from parity.core.points import Point
from parity.core.store import Bundle, ReferenceFiring
from parity.core.trace import Array

MOST = 1024
"""Cells that one row draws; what is finer is brought together, or left out."""
PIXELS = {"pixel_values": IMAGE, "pixel_values_videos": VIDEO}
GRIDS = {IMAGE: "processor.image_grid_thw", VIDEO: "processor.video_grid_thw"}
MASK, POSITIONS, PATCH_POSITIONS = (
    "language_model.attention_mask", "language_model.position_ids", "visual.position_ids",
)  # fmt: skip


def cells_of(point: Point, index: int, case: Case, bundle: Bundle, merge: int) -> Cells | None:
    """The place of every token of one firing, no value known yet; ``None`` if it has no tokens.

    Args:
        point: what fired.
        index: which firing.
        case: what was run.
        bundle: the reference's record of it.
        merge: patches along each side of what becomes one token.
    """
    shape = bundle.tensor(bundle.points[point.name][index].value).shape
    if point.stage == "vision" or point.name.removeprefix("processor.") in PIXELS:
        return _on_pictures(point, index, shape, case, bundle, merge)
    if point.name in (*GRIDS.values(), "rope_deltas") or len(shape) < 2:
        return None
    rows, tokens = _batch(point, shape)
    if rows * tokens > MOST:
        return None
    call, start = _in_prompt(point, index, case, bundle)
    nothing = (None,) * (rows * tokens)
    return Cells(TOKENS, "", 0.0, nothing, start=start, rows=rows, call=call)


def _on_pictures(
    point: Point, index: int, shape: tuple[int, ...], case: Case, bundle: Bundle, merge: int
) -> Cells | None:
    """The place of a value with a row a patch, or a row a merged patch."""
    firing = index
    if point.module is None:  # of the processor, which gives pixels of one kind a call
        kind = PIXELS[point.name.removeprefix("processor.")]
        firing = index * len(case.modalities) + case.modalities.index(kind)
    patches = sum(math.prod(grid) for grid in grids(case, bundle, firing))
    layouts = {patches: PATCHES, patches // merge**2: MERGED}
    layout = layouts.get(shape[0]) if len(shape) > 1 else None
    if layout is None or shape[0] > MOST * merge**2:
        return None
    return Cells(layout, "", 0.0, (None,) * shape[0], firing=firing)


def grids(case: Case, bundle: Bundle, firing: int) -> list[tuple[int, int, int]]:
    """(t, h, w) in patches of every picture of one firing of the vision tower."""
    call, kind = divmod(firing, len(case.modalities))
    recorded = bundle.points[GRIDS[case.modalities[kind]]][call]
    return [(int(t), int(h), int(w)) for t, h, w in bundle.tensor(recorded.value).tolist()]


def _batch(point: Point, shape: tuple[int, ...]) -> tuple[int, int]:
    """Rows of the batch, and tokens of each."""
    if point.name == POSITIONS:
        return shape[1], shape[2]
    return (shape[0], shape[2]) if point.name == MASK else (shape[0], shape[1])


def _in_prompt(point: Point, index: int, case: Case, bundle: Bundle) -> tuple[int, int]:
    """The call that a firing belongs to, and how many tokens of it came before."""
    firings = bundle.points[point.name]
    each = max(1, len(firings) // len(case.calls))
    call = index // each
    before = firings[call * each : index]
    return call, sum(_batch(point, _shape(bundle, one))[1] for one in before)


def _shape(bundle: Bundle, recorded: ReferenceFiring) -> tuple[int, ...]:
    return bundle.tensor(recorded.value).shape


def coarser(cells: Cells, merge: int) -> Cells:
    """Patches brought together as they are merged, the largest kept, where they are too many."""
    if cells.layout != PATCHES or len(cells.values) <= MOST:
        return cells
    values = [-math.inf if one is None else one for one in cells.values]
    largest = np.array(values).reshape(-1, merge**2).max(axis=1)
    return replace(cells, layout=MERGED, values=tuple(largest.tolist()))


def ids_of(cells: Cells, point: Point, reference: Array, candidate: Array) -> Ids | None:
    """Position ids of both sides, for the two points that are some; ``None`` if they are alike.

    Args:
        cells: where their tokens are.
        point: what fired.
        reference: int ``[3, B, S]`` of tokens, or ``[N, 2]`` of patches.
        candidate: of the same shape.
    """
    if point.name not in (POSITIONS, PATCH_POSITIONS) or np.array_equal(reference, candidate):
        return None
    both = [array.T if point.name == PATCH_POSITIONS else array for array in (reference, candidate)]
    axes = ("h", "w") if point.name == PATCH_POSITIONS else ("t", "h", "w")
    grids = [tuple(tuple(map(int, grid)) for grid in side.reshape(len(axes), -1).tolist())
             for side in both]  # fmt: skip
    return Ids(axes, grids[0], grids[1], cells.layout, cells.rows, cells.start, cells.call,
               cells.firing)  # fmt: skip
