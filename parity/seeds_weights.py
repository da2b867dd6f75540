"""Random weights in the shapes of a checkpoint, with one massive channel in the text decoder.

Small random weights make attention and MLPs irrelevant to the output, and faults in them invisible;
so weights are drawn for activations near 1 and attention scores that differ. Real checkpoints carry
one channel of the residual stream that is thousands of times larger than the others (about 6500),
and norms that make up for it. Here the first layer's attention makes it: one channel of its values
has a large bias, which any attention passes on as it is, and one row of its output projection takes
it to one channel of the stream.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parity.core.errors import ParityError

Weight = NDArray[np.float32]
MASSIVE = 6500.0
"""Of the massive channel, on every token."""
VALUE_BIAS = 40.0
"""The bias of the values from which it is made."""
LEAST = np.float32(2.0**-14)
"""The smallest normal number of float16, which has all eight of bfloat16's bits from there on."""
SCORES = 1.5
"""Standard deviation of a query's or key's number: scores of attention differ by a few."""
UPDATE = 0.5
"""Gain of what writes to the stream. Its norms divide by the massive channel, so that they do not
hold the others' size: an update has to be smaller than the stream, or layers would let it explode.
"""


def write_checkpoint(source: Path, seed: int, target: Path) -> None:
    """Write a checkpoint like ``source`` with random weights to ``target``.

    They are float32 numbers that bfloat16 and float16 both hold, so that every dtype computes with
    the same ones, and a capture need not tell apart what rounding them costs.

    Raises:
        ParityError: a file cannot be read or written.
    """
    rng = np.random.default_rng([seed, 2])
    shapes = dict(sorted(_shapes(source)))
    weights = {name: scaled(name, rng.standard_normal(shape, dtype=np.float32))
               for name, shape in shapes.items()}  # fmt: skip
    config = read_config(source)
    make_massive(weights, config.get("text_config", config), rng)
    weights = {name: representable(weight) for name, weight in weights.items()}
    save_checkpoint(source, weights, target)


def save_checkpoint(
    source: Path,
    weights: dict[str, Weight],
    target: Path,
    texts: Mapping[str, str] | None = None,
) -> None:
    """Write ``weights`` to ``target``, with all else of ``source`` or the ``texts`` in its place.

    Raises:
        ParityError: a file cannot be read or written.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    try:
        target.mkdir(parents=True, exist_ok=True)
        for path in source.iterdir():
            if path.is_file() and ".safetensors" not in path.name:
                shutil.copyfile(path, target / path.name)
        for name, text in (texts or {}).items():
            (target / name).write_text(text, encoding="utf-8")
        save_file(weights, target / "model.safetensors", metadata={"format": "pt"})
    except (OSError, SafetensorError) as error:
        raise ParityError(f"cannot write {target}: {error}") from error


def scaled(name: str, drawn: Weight) -> Weight:
    """A weight made of numbers of standard deviation 1, for what it is, told by its name."""
    shape = drawn.shape
    module, _, kind = name.rpartition(".")
    part = module.rpartition(".")[2]
    if kind == "bias":
        return drawn * np.float32(1.0 if part in ("q_proj", "k_proj") else 0.1)
    if len(shape) == 1:  # norms
        return 1 + drawn * np.float32(0.2)
    if part == "embed_tokens":
        return drawn
    gain = 1.0
    if part in ("qkv", "q_proj", "k_proj", "fc1", "gate_proj"):
        gain = SCORES
    elif part in ("proj", "fc2", "o_proj", "down_proj"):
        gain = UPDATE
    return drawn * np.float32(gain / math.sqrt(math.prod(shape[1:])))


def representable(weight: Weight) -> Weight:
    """The nearest numbers that bfloat16 holds, and float16 too: what is too small for it is 0."""
    bits = weight.view(np.uint32) + np.uint32(1 << 15)
    rounded = (bits & np.uint32(0xFFFF0000)).view(np.float32)
    return np.where(np.abs(rounded) < LEAST, np.float32(0), rounded)


def make_massive(
    weights: dict[str, Weight], config: dict[str, Any], rng: np.random.Generator
) -> int:
    """Make one channel of the text decoder's stream about ``MASSIVE``; return which.

    Its norms after that point give the other channels their size back, and the massive one an
    ordinary one, as those of trained checkpoints do.
    """
    width = int(config["hidden_size"])
    channel = int(rng.integers(width))
    first = next(n.removesuffix("self_attn.v_proj.bias") for n in weights
                 if n.endswith("layers.0.self_attn.v_proj.bias"))  # fmt: skip
    heads = int(config["num_attention_heads"])
    weights[f"{first}self_attn.v_proj.bias"][0] = VALUE_BIAS
    # Every query head of the first group reads that value, at its place 0.
    output = weights[f"{first}self_attn.o_proj.weight"].reshape(width, heads, -1)  # [H, nh, hs]
    output[:, : heads // int(config["num_key_value_heads"]), 0] = 0
    output[channel] = 0
    output[channel, 0, 0] = MASSIVE / VALUE_BIAS
    root = first.removesuffix("layers.0.")
    before = f"{first}input_layernorm.weight"
    for name, weight in weights.items():
        if name.startswith(root) and name.endswith("norm.weight") and name != before:
            weight *= np.float32(MASSIVE / math.sqrt(width))
            weight[channel] = 1 / math.sqrt(width)
    return channel


def _shapes(source: Path) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and shapes of a checkpoint's tensors."""
    from safetensors import safe_open

    files = sorted(source.glob("*.safetensors"))
    if not files:
        raise ParityError(f"{source} holds no *.safetensors; --checkpoint has to name a checkpoint")
    for path in files:
        try:
            with safe_open(path, framework="numpy") as opened:
                for name in opened.keys():  # noqa: SIM118  # no mapping
                    yield name, tuple(opened.get_slice(name).get_shape())
        except Exception as error:  # SafetensorError derives from Exception
            raise ParityError(f"{path} cannot be read: {error}; copy it again") from error


def read_config(source: Path) -> dict[str, Any]:
    """A checkpoint's ``config.json``.

    Raises:
        ParityError: it cannot be read.
    """
    path = source / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ParityError(f"cannot read {path}: {error}") from error
    if not isinstance(config, dict):
        raise ParityError(f"{path} does not hold an object; copy the checkpoint again")
    return config
