"""Checkpoint folders to load, to change and to damage."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from qwen2vl_ms import Qwen2VLForConditionalGeneration
from qwen2vl_ms.tests import tiny

Tensors = dict[str, torch.Tensor]
EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"


def write(folder: Path) -> Path:
    """A checkpoint in one file, names of the published generation."""
    tiny.start()
    return tiny.saved(tiny.reference_model(), folder)


def rewrite(folder: Path, change: Callable[[Tensors], Tensors]) -> None:
    path = folder / "model.safetensors"
    tensors = {name: t.contiguous().clone() for name, t in change(load_file(path)).items()}
    save_file(tensors, path, metadata={"format": "pt"})


def shard(folder: Path, parts: int = 3) -> dict[str, str]:
    """Split the single file into shards with an index, whose map is returned."""
    single = folder / "model.safetensors"
    tensors = load_file(single)
    single.unlink()
    files = [f"model-{i + 1:05}-of-{parts:05}.safetensors" for i in range(parts)]
    weight_map = {name: files[i % parts] for i, name in enumerate(sorted(tensors))}
    for file in files:
        own = {name: tensors[name] for name in tensors if weight_map[name] == file}
        save_file(own, folder / file, metadata={"format": "pt"})
    write_index(folder, weight_map)
    return weight_map


def write_index(folder: Path, weight_map: Any) -> None:
    index = {"metadata": {}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")


def load(folder: Path) -> Any:
    return Qwen2VLForConditionalGeneration.from_pretrained(folder)


def parameters(folder: Path) -> dict[str, np.ndarray]:
    return {name: p.asnumpy() for name, p in load(folder).parameters_and_names()}


def assert_equal(left: dict[str, np.ndarray], right: dict[str, np.ndarray]) -> None:
    assert set(left) == set(right)
    for name, values in left.items():
        assert values.dtype == np.float32
        np.testing.assert_array_equal(values, right[name], err_msg=name)


def tie(folder: Path) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**config, "tie_word_embeddings": True}), encoding="utf-8")
