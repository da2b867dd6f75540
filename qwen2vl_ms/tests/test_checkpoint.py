"""Files that are cut short, lie, contradict each other or lead elsewhere."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from qwen2vl_ms import Qwen2VLError
from qwen2vl_ms.checkpoint import SafetensorsFile
from qwen2vl_ms.tests.stored_checkpoints import (
    EMBEDDING,
    HEAD,
    load,
    shard,
    write,
    write_index,
)
from qwen2vl_ms.weights import load_weights


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("original"))


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    """A copy to be changed."""
    return Path(shutil.copytree(original, tmp_path / "checkpoint"))


def test_a_file_that_shrinks_while_it_is_read(folder: Path) -> None:
    file = SafetensorsFile(folder / "model.safetensors")
    last = max(file.names, key=lambda name: file._entries[name]["data_offsets"])
    os.truncate(file.path, file.path.stat().st_size - 4 * math.prod(file.shape(last)))
    with pytest.raises(Qwen2VLError, match=f"ended inside {last}: the file changed"):
        list(file.slices(last))


def rewrite_header(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change a file's header and leave its numbers."""
    content = path.read_bytes()
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    change(header)
    written = json.dumps(header).encode()
    path.write_bytes(len(written).to_bytes(8, "little") + written + content[8 + size :])


def lying(**fields: Any) -> Callable[[dict[str, Any]], None]:
    return lambda header: header["model.norm.weight"].update(fields)


@pytest.mark.parametrize(
    "change",
    [lying(shape=[63]), lying(dtype="F16"), lying(data_offsets=[0, 8]), lying(shape=[2**60, 64])],
    ids=["shape", "dtype", "offsets", "huge"],
)
def test_a_header_that_lies(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    rewrite_header(folder / "model.safetensors", change)
    with pytest.raises(Qwen2VLError, match="is not a complete safetensors file"):
        load(folder)


def test_an_empty_file(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"")
    with pytest.raises(Qwen2VLError, match="is not a complete safetensors file"):
        load(folder)


def test_every_damaged_shard_is_named(folder: Path) -> None:
    files = sorted(set(shard(folder).values()))
    (folder / files[0]).unlink()
    (folder / files[2]).write_bytes(b"12345678")
    with pytest.raises(Qwen2VLError) as caught:
        load(folder)
    message = str(caught.value)
    assert message.startswith(f"the weights in {folder} cannot be read:\n  - ")
    assert f"{files[0]} is missing" in message
    assert f"{files[2]} is not a complete safetensors file" in message
    assert files[1] not in message


def test_a_tensor_in_two_shards(folder: Path) -> None:
    weight_map = shard(folder)
    other = next(file for file in sorted(set(weight_map.values())) if file != weight_map[HEAD])
    tensors = load_file(folder / other)
    save_file({**tensors, HEAD: torch.zeros(3)}, folder / other)
    with pytest.raises(Qwen2VLError, match=f"{HEAD} is in {other} and is not listed so"):
        load(folder)


@pytest.mark.parametrize("cut", [4, 60, -7], ids=["length", "header", "data"])
def test_a_cut_file(folder: Path, cut: int) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(
        Qwen2VLError, match=rf"{re.escape(str(path))} is not a complete safetensors"
    ):
        load(folder)


def test_a_cut_shard_is_named(folder: Path) -> None:
    name = sorted(set(shard(folder).values()))[1]
    path = folder / name
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(Qwen2VLError, match=rf"{name} is not a complete safetensors"):
        load(folder)


@pytest.mark.parametrize(
    "name", ["../model.safetensors", "/etc/passwd", "a\\b.safetensors", "pickle.bin", 3]
)
def test_an_index_that_leads_out_of_the_folder(folder: Path, name: Any) -> None:
    write_index(folder, {**shard(folder), EMBEDDING: name})
    with pytest.raises(Qwen2VLError, match=re.escape(f"puts {EMBEDDING} into {name!r}")):
        load(folder)


def test_an_index_that_does_not_match(folder: Path) -> None:
    weight_map = shard(folder)
    files = sorted(set(weight_map.values()))
    other = next(file for file in files if file != weight_map[HEAD])
    write_index(folder, {**weight_map, HEAD: other})
    with pytest.raises(Qwen2VLError) as caught:
        load(folder)
    assert f"{HEAD} is listed in {other} and is not there" in str(caught.value)
    assert f"{HEAD} is in {weight_map[HEAD]} and is not listed so" in str(caught.value)
    write_index(folder, weight_map)
    (folder / files[0]).unlink()
    with pytest.raises(Qwen2VLError, match=f"{files[0]} is missing"):
        load(folder)


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"weight_map": {}}'])
def test_a_broken_index(folder: Path, content: str) -> None:
    shard(folder)
    (folder / "model.safetensors.index.json").write_text(content, encoding="utf-8")
    with pytest.raises(Qwen2VLError, match=r"index\.json (is not valid JSON|has no weight_map)"):
        load(folder)


def test_no_folder(original: Path, tmp_path: Path) -> None:
    with pytest.raises(Qwen2VLError, match="nowhere is not a folder"):
        load_weights(load(original), tmp_path / "nowhere")


def test_no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    with pytest.raises(Qwen2VLError, match=r"holds neither model\.safetensors nor"):
        load(folder)
    (folder / "pytorch_model-00001-of-00002.bin").write_bytes(b"")
    with pytest.raises(Qwen2VLError, match="a pickle can run any code"):
        load(folder)
