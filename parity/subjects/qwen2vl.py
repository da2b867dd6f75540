"""Qwen2-VL: what is captured, and in which order it happens.

Names are those of transformers' modules (5.x, without the leading ``model.``).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from parity.core.cases import Case
from parity.core.errors import ParityError
from parity.core.points import Firing, Point
from parity.core.rows import Kind
from parity.core.trace import Array
from parity.subjects.roles import with_roles

ARCHITECTURE = "qwen2_vl"
MAX_DEPTH = 1000


@dataclass(frozen=True)
class Depths:
    """How many blocks the two towers have."""

    vision: int
    text: int


def read_depths(checkpoint: Path) -> Depths:
    """Read the towers' depths from a checkpoint's ``config.json`` (hub or transformers 5 style).

    Raises:
        ParityError: the folder, the file or a key is missing, or it is another architecture.
    """
    path = checkpoint / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ParityError(
            f"cannot read {path}: {error.strerror}; --checkpoint has to name a Hugging Face "
            "checkpoint folder (the embedded one is fixtures/qwen2vl-tiny)"
        ) from error
    except (ValueError, RecursionError) as error:
        raise ParityError(f"{path} is not JSON: {error}; download the checkpoint again") from error
    kind = config.get("model_type") if isinstance(config, dict) else None
    if kind != ARCHITECTURE:
        raise ParityError(f"{path} is not a {ARCHITECTURE} checkpoint: its model_type is {kind!r}")
    inner = "text_config" in config
    text = config["text_config"] if inner else config
    return Depths(
        vision=_depth(config.get("vision_config"), "vision_config.depth", path),
        text=_depth(text, "text_config.num_hidden_layers" if inner else "num_hidden_layers", path),
    )


def _depth(config: object, name: str, path: Path) -> int:
    """A tower's number of blocks, the last part of ``name`` being its key."""
    depth = config.get(name.rpartition(".")[2]) if isinstance(config, dict) else None
    if not isinstance(depth, int) or isinstance(depth, bool) or not 0 < depth <= MAX_DEPTH:
        raise ParityError(f"{path}: {name} is {depth!r}, not a number of blocks (1 to {MAX_DEPTH})")
    return depth


def points(depths: Depths, level: str) -> list[Point]:
    """Every point at ``level`` (``block`` or ``module``), in execution order within a stage."""
    every = [*preprocessing_points(), *vision_points(depths.vision), *text_points(depths.text)]
    return with_roles(point for point in every if level == "module" or point.level == "block")


def schedule(declared: Sequence[Point], case: Case) -> list[Firing]:
    """The firings of ``declared`` that ``case`` causes, in execution order."""
    fired: Counter[str] = Counter()
    firings = []
    for call in case.calls:
        for point, step in _execution(declared, call):
            firings.append(Firing(point, fired[point.name], step))
            fired[point.name] += 1
    return firings


EMBEDDING, HEAD, DELTAS = "language_model.embed_tokens", "lm_head", "rope_deltas"


def _execution(declared: Sequence[Point], call: Case) -> Iterator[tuple[Point, int]]:
    """The points of one call as they happen, each with its decoding step."""
    preprocessing = [p for p in declared if p.stage == "preprocessing" and _applies(p, call)]
    vision = [p for p in declared if p.stage == "vision"]
    text = [p for p in declared if p.stage in ("positions", "text")]
    first, last = ([p for p in text if p.name == name] for name in (EMBEDDING, HEAD))
    # Without images or videos the reference's forward has no rope deltas.
    deltas = [p for p in text if p.name == DELTAS and call.modalities]
    decoder = [p for p in text if p.name not in (EMBEDDING, HEAD, DELTAS)]
    # Token embeddings come first, then the vision tower, whose features take their places.
    prompt = [*preprocessing, *first, *vision * len(call.modalities),
              *decoder * call.chunks, *last, *deltas]  # fmt: skip
    yield from ((point, 0) for point in prompt)
    for step in range(1, call.decode_steps + 1):
        yield from ((point, step) for point in [*first, *decoder, *last])


def part_length(tokens: int, parts: int) -> int:
    """Tokens in a part, of a prompt that is fed in ``parts``; the last one may have fewer.

    Raises:
        ParityError: so many tokens do not give that many parts.
    """
    length = -(-tokens // parts)
    if -(-tokens // length) != parts:
        raise ParityError(
            f"a prompt of {tokens} tokens cannot be fed in {parts} parts of one length; ask for "
            "fewer chunks in the case"
        )
    return length


def _applies(point: Point, case: Case) -> bool:
    """Whether the processor gives this output for this case."""
    needs = {"pixel_values": "image", "image_grid_thw": "image",
             "pixel_values_videos": "video", "video_grid_thw": "video"}  # fmt: skip
    need = needs.get(point.name.removeprefix("processor."))
    return need is None or need in case.modalities


def preprocessing_points() -> list[Point]:
    """What the processor hands to the model; equality is expected of all of it."""

    def point(name: str, kind: Kind, *depends: str) -> Point:
        needed = tuple(f"processor.{d}" for d in depends)
        return Point(f"processor.{name}", "preprocessing", kind, depends=needed)

    grids = ("image_grid_thw", "video_grid_thw")
    return [
        point("image_grid_thw", Kind.DISCRETE),
        point("pixel_values", Kind.EXACT, "image_grid_thw"),
        point("video_grid_thw", Kind.DISCRETE),
        point("pixel_values_videos", Kind.EXACT, "video_grid_thw"),
        point("input_ids", Kind.DISCRETE, *grids),
        point("attention_mask", Kind.DISCRETE, *grids, "input_ids"),
        point("mm_token_type_ids", Kind.DISCRETE, *grids, "input_ids"),
    ]


def vision_points(depth: int) -> list[Point]:
    """The vision tower: ids, rotary tables, patch embedding, blocks, merger."""
    rotary = "visual.rotary_pos_emb"
    found = [
        _module("visual.patch_embed", "vision", FIRST),
        Point("visual.position_ids", "vision", Kind.DISCRETE, rotary, "input.position_ids"),
        Point(f"{rotary}.cos", "vision", Kind.TABLE, rotary, "output.0", forced=("position_ids",)),
        Point(f"{rotary}.sin", "vision", Kind.TABLE, rotary, "output.1", forced=("position_ids",)),
    ]
    found.append(
        Point("visual.cu_seqlens", "vision", Kind.DISCRETE, "visual.blocks.0", "input.cu_seqlens")
    )
    before = "visual.patch_embed"
    for index in range(depth):
        found += _vision_block(f"visual.blocks.{index}", before)
        before = f"visual.blocks.{index}"
    merger = "visual.merger"
    inner = [_leaf(f"{merger}.{name}", "vision") for name in ("ln_q", "mlp.0", "mlp.2")]
    return [*found, *inner, _module(merger, "vision", FIRST)]


def _vision_block(name: str, before: str) -> list[Point]:
    """A block, its parts first, as they finish."""
    shared = ("hidden_states", "cu_seqlens", "position_embeddings")
    return [
        _leaf(f"{name}.norm1", "vision"),
        _leaf(f"{name}.attn.qkv", "vision"),
        _leaf(f"{name}.attn.proj", "vision"),
        _module(f"{name}.attn", "vision", *shared, level="module"),
        _leaf(f"{name}.norm2", "vision"),
        _leaf(f"{name}.mlp.fc1", "vision"),
        _leaf(f"{name}.mlp.fc2", "vision"),
        _module(f"{name}.mlp", "vision", FIRST, level="module"),
        _module(name, "vision", *shared, base=before),
    ]


def text_points(depth: int) -> list[Point]:
    """Embeddings, positions, the decoder and the head."""
    model, rotary = "language_model", "language_model.rotary_emb"
    found = [
        _module(f"{model}.embed_tokens", "text", FIRST, tokens=True),
        Point(f"{model}.inputs_embeds", "text", Kind.FLOAT, model, "input.inputs_embeds",
              forced=("inputs_embeds",), tokens=True),
        Point(f"{model}.position_ids", "positions", Kind.DISCRETE, rotary, "input.position_ids"),
        Point(f"{rotary}.cos", "text", Kind.TABLE, rotary, "output.0", forced=("position_ids",),
              tokens=True),
        Point(f"{rotary}.sin", "text", Kind.TABLE, rotary, "output.1", forced=("position_ids",),
              tokens=True),
        Point(f"{model}.attention_mask", "positions", Kind.DISCRETE, f"{model}.layers.0",
              "input.attention_mask"),
    ]  # fmt: skip
    before = f"{model}.inputs_embeds"
    for index in range(depth):
        found += _decoder_layer(f"{model}.layers.{index}", before)
        before = f"{model}.layers.{index}"
    norm = _module(f"{model}.norm", "text", FIRST, tokens=True)
    head = _module("lm_head", "text", FIRST, tokens=True)
    deltas = Point("rope_deltas", "positions", Kind.DISCRETE, "", "output.rope_deltas")
    return [*found, norm, head, deltas]


def _decoder_layer(name: str, before: str) -> list[Point]:
    """A layer, its parts first, as they finish."""
    shared = ("hidden_states", "attention_mask", "position_embeddings")
    projections = [f"{name}.self_attn.{p}_proj" for p in ("q", "k", "v", "o")]
    mlp = [f"{name}.mlp.{p}_proj" for p in ("gate", "up", "down")]
    return [
        _leaf(f"{name}.input_layernorm", "text"),
        *(_leaf(projection, "text") for projection in projections),
        _module(f"{name}.self_attn", "text", *shared, level="module", tokens=True),
        _leaf(f"{name}.post_attention_layernorm", "text"),
        *(_leaf(projection, "text") for projection in mlp),
        _module(f"{name}.mlp", "text", FIRST, level="module", tokens=True),
        _module(name, "text", *shared, base=before, tokens=True),
    ]


def _leaf(name: str, stage: str) -> Point:
    """A module with one tensor in and one out, taken at module level."""
    return _module(name, stage, FIRST, level="module", tokens=stage == "text")


FIRST = "*"
"""Stands for a module's first argument, whatever its name: leaves differ between frameworks."""


def _module(
    name: str,
    stage: str,
    *forced: str,
    level: str = "block",
    base: str | None = None,
    tokens: bool = False,
) -> Point:
    """The output of the module ``name``."""
    return Point(
        name, stage, Kind.FLOAT, name, level=level, forced=forced, base=base, tokens=tokens
    )


def canonical(point: Point, array: Array) -> Array:
    """Bring a discrete value to the one form both sides are compared in.

    The additive mask becomes "may attend" (bool), position ids get their three rows (a decoding
    step of the reference broadcasts one), integers become int64.
    """
    if point.name == "language_model.attention_mask":
        return np.asarray(array == 0)
    if point.name == "language_model.position_ids":
        return np.ascontiguousarray(np.broadcast_to(array, (3, *array.shape[1:])), dtype=np.int64)
    return array.astype(np.int64) if point.kind is Kind.DISCRETE else array
