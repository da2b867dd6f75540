"""The ``wide`` checkpoint: real widths of the 2B model in few layers, the same on every machine.

Every number of it is made of integers, a table of shapes and IEEE products, which no machine
rounds differently; ordinary normal numbers hang on the C library's logarithm. So a host with an NPU
writes the very file that the reference was captured from, and 0.7 GB need not be carried to it.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from parity.bench.checkpoints import parameters
from parity.seeds_weights import (
    Weight,
    make_massive,
    read_config,
    representable,
    save_checkpoint,
    scaled,
)

SHAPE: Mapping[str, int] = {
    "depth": 2, "embed_dim": 1280, "vision_heads": 16, "hidden": 1536, "heads": 12, "kv_heads": 2,
    "mlp": 8960, "layers": 2,
}  # fmt: skip
"""Widths and heads of Qwen2-VL-2B, which has 32 vision blocks and 28 decoder layers."""
SEED = 2
_SPREAD = np.float32(np.sqrt(3.0) / 2**15)
"""What gives 16-bit integers, all equally likely, a standard deviation of 1."""


def write_wide(source: Path, target: Path) -> None:
    """Write the checkpoint to ``target``, with the tokenizer and the rest of ``source``.

    Raises:
        ParityError: a file cannot be read or written.
    """
    config = wide_config(read_config(source))
    sizes = parameters(SHAPE, vocabulary=int(config["vocab_size"]))
    weights = {name: scaled(name, drawn(name, size)) for name, size in sorted(sizes.items())}
    make_massive(weights, config, np.random.default_rng([SEED, 0]))
    weights = {name: representable(weight) for name, weight in weights.items()}
    text = json.dumps(config, indent=2)
    save_checkpoint(source, weights, target, {"config.json": text})


def wide_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """A checkpoint's ``config.json`` with the sizes of `SHAPE`."""
    vision = dict(config["vision_config"], depth=SHAPE["depth"], embed_dim=SHAPE["embed_dim"],
                  num_heads=SHAPE["vision_heads"], hidden_size=SHAPE["hidden"])  # fmt: skip
    return dict(
        config,
        hidden_size=SHAPE["hidden"],
        intermediate_size=SHAPE["mlp"],
        num_attention_heads=SHAPE["heads"],
        num_key_value_heads=SHAPE["kv_heads"],
        num_hidden_layers=SHAPE["layers"],
        max_window_layers=SHAPE["layers"],
        torch_dtype="float32",
        vision_config=vision,
    )


def drawn(name: str, size: tuple[int, ...]) -> Weight:
    """Numbers of mean 0 and standard deviation 1 that follow from ``name``, evenly spread."""
    generator = np.random.default_rng([SEED, zlib.crc32(name.encode())])
    return generator.integers(-(2**15), 2**15, size, dtype=np.int16) * _SPREAD
