"""Where in the port's files each point is computed: read from the files, not from what runs.

A planted fault or a stand-in replaces methods while it is there; the files still say where the
port's own are.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from mindspore import nn

import qwen2vl_ms
from parity.core.points import Point
from parity.core.sources import Source

COMPUTES = ("construct", "__call__")
"""Methods that compute something, the first that a class has."""
FUNCTIONS: dict[str, str] = {
    "processor.image_grid_thw": "image_processing.Qwen2VLImageProcessor",
    "processor.pixel_values": "image_processing.Qwen2VLImageProcessor",
    "processor.video_grid_thw": "video_processing.Qwen2VLVideoProcessor",
    "processor.pixel_values_videos": "video_processing.Qwen2VLVideoProcessor",
    "processor.input_ids": "processing.Qwen2VLProcessor",
    "processor.attention_mask": "processing.Qwen2VLProcessor",
    "processor.mm_token_type_ids": "processing.Qwen2VLProcessor",
    "visual.position_ids": "positions.vision_position_ids",
    "visual.cu_seqlens": "positions.vision_cu_seqlens",
    "language_model.position_ids": "positions.rope_index",
    "language_model.attention_mask": "ops.causal_mask",
    "language_model.inputs_embeds": "model.Qwen2VLModel",
    "rope_deltas": "positions.rope_index",
}
"""Of what is no module's output: the function or class of the port that makes it."""


def sources(cells: Mapping[str, nn.Cell], points: Iterable[Point]) -> dict[str, Source]:
    """The port's side of every point's source, files by their full paths.

    Args:
        cells: of the model, by the points' names.
        points: the declared ones.
    """
    return {point.name: _source(point, cells) for point in points}


def _source(point: Point, cells: Mapping[str, nn.Cell]) -> Source:
    """Where one point is computed, and where its module is made."""
    if point.name in FUNCTIONS:
        module, _, name = FUNCTIONS[point.name].partition(".")
        return place(str(Path(inspect.getfile(qwen2vl_ms)).with_name(f"{module}.py")), name)
    cell = cells.get(point.module or "")
    if cell is None:
        return Source()
    around, _, attribute = (point.module or "").rpartition(".")
    while attribute.isdigit():  # one of a list, which its owner makes in one place
        around, _, attribute = around.rpartition(".")
    return replace(_of_class(type(cell)), **_built(cells.get(around), attribute))


def _of_class(kind: type[Any]) -> Source:
    """Where a class computes."""
    try:
        return place(inspect.getsourcefile(kind), kind.__qualname__)
    except TypeError:  # made without a file
        return Source(kind.__name__)


def place(file: str | None, name: str) -> Source:
    """Where the class or function ``name`` of ``file`` computes."""
    node = _named(file, name) if file else None
    if node is None:
        return Source(name)
    methods = {one.name: one for one in node.body if isinstance(one, ast.FunctionDef)}
    own = next((methods[method] for method in COMPUTES if method in methods), node)
    return Source(name, file, own.lineno)


def _built(around: nn.Cell | None, attribute: str) -> dict[str, Any]:
    """File and line at which the class of ``around`` sets the attribute of this name."""
    if around is None:
        return {}
    file = inspect.getsourcefile(type(around))
    node = _named(file, type(around).__qualname__) if file else None
    for one in ast.walk(node) if node is not None else ():
        targets = one.targets if isinstance(one, ast.Assign) else ()
        if any(isinstance(t, ast.Attribute) and t.attr == attribute for t in targets):
            return {"built_file": file, "built_line": one.lineno}  # type: ignore[attr-defined]
    return {}


def _named(file: str, name: str) -> ast.ClassDef | ast.FunctionDef | None:
    """The class or function ``name`` at the top of a file."""
    kinds = ast.ClassDef, ast.FunctionDef
    return next((n for n in _tree(file).body if isinstance(n, kinds) and n.name == name), None)


@cache
def _tree(file: str) -> ast.Module:
    """A file's syntax; empty if it cannot be read or parsed any more."""
    try:
        return ast.parse(Path(file).read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError):
        return ast.Module(body=[], type_ignores=[])
