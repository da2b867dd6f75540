"""Reading a checkpoint folder's safetensors, one tensor at a time.

The files are opened with the safetensors library, which validates the header and the offsets;
numbers are then read straight from the file, because its NumPy side knows no bfloat16.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open

from qwen2vl_ms.errors import Qwen2VLError

WEIGHTS_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"

# safetensors dtypes that are widened to float32 exactly, and how they are stored.
STORED_AS = {"F32": "<f4", "F16": "<f2", "BF16": "<u2"}


class SafetensorsFile:
    """One validated safetensors file.

    Raises:
        Qwen2VLError: The file is missing, cut short or damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_file():
            raise Qwen2VLError(f"{path} is missing: download the checkpoint again")
        try:
            with safe_open(path, framework="np"):
                pass
        except (SafetensorError, OSError) as error:
            raise Qwen2VLError(
                f"{path} is not a complete safetensors file ({error}): download it again"
            ) from error
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(size))
        self._start = 8 + size
        self._entries = {k: v for k, v in header.items() if k != "__metadata__"}

    @property
    def names(self) -> list[str]:
        """The names of the tensors."""
        return list(self._entries)

    def dtype(self, name: str) -> str:
        """The stored dtype in safetensors' spelling, as ``BF16``."""
        return self._entries[name]["dtype"]

    def shape(self, name: str) -> tuple[int, ...]:
        """The stored shape."""
        return tuple(self._entries[name]["shape"])

    def read(self, name: str) -> npt.NDArray[np.float32]:
        """One tensor, widened to float32 exactly; its dtype has to be one of `STORED_AS`."""
        begin, end = self._entries[name]["data_offsets"]
        stored = np.dtype(STORED_AS[self.dtype(name)])
        raw = np.fromfile(
            self.path, stored, (end - begin) // stored.itemsize, offset=self._start + begin
        )
        if self.dtype(name) == "BF16":  # the upper half of a float32
            raw = (raw.astype(np.uint32) << 16).view(np.float32)
        return raw.astype(np.float32, copy=False).reshape(self.shape(name))


def open_checkpoint(folder: str | Path) -> dict[str, SafetensorsFile]:
    """Find every tensor of a checkpoint folder.

    Args:
        folder: Holds ``model.safetensors``, or ``model.safetensors.index.json`` and its shards.

    Returns:
        The file of each tensor, by its name.

    Raises:
        Qwen2VLError: The folder holds no safetensors, or they are incomplete, or contradict the
            index.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise Qwen2VLError(f"{folder} is not a folder: pass a checkpoint's folder")
    if (folder / WEIGHTS_FILE).is_file():
        file = SafetensorsFile(folder / WEIGHTS_FILE)
        return dict.fromkeys(file.names, file)
    if (folder / INDEX_FILE).is_file():
        return _open_shards(folder / INDEX_FILE)
    pickled = sorted(p.name for p in folder.glob("pytorch_model*.bin"))
    if pickled:
        raise Qwen2VLError(
            f"{folder} holds {pickled[0]} and no safetensors: a pickle can run any code when it is "
            "loaded, so it is refused; load it once with transformers where you trust it, and "
            "call save_pretrained"
        )
    raise Qwen2VLError(f"{folder} holds neither {WEIGHTS_FILE} nor {INDEX_FILE}")


def _open_shards(index: Path) -> dict[str, SafetensorsFile]:
    """Open the shards that an index names, and check that both tell the same."""
    weight_map = _read_index(index)
    shards = {
        name: SafetensorsFile(index.parent / name) for name in sorted(set(weight_map.values()))
    }
    found = {(tensor, name) for name, shard in shards.items() for tensor in shard.names}
    listed = set(weight_map.items())
    problems = [f"{t} is listed in {f} and is not there" for t, f in sorted(listed - found)]
    problems += [f"{t} is in {f} and is not listed so" for t, f in sorted(found - listed)]
    if problems:
        raise Qwen2VLError(f"{index} does not match its shards:\n  - " + "\n  - ".join(problems))
    return {tensor: shards[name] for tensor, name in weight_map.items()}


def _read_index(index: Path) -> Mapping[str, str]:
    """The index's map from tensor to file name, with no name leading out of the folder."""
    try:
        content: Any = json.loads(index.read_text(encoding="utf-8"))
    except ValueError as error:
        raise Qwen2VLError(f"{index} is not valid JSON ({error}): download it again") from error
    weight_map = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(weight_map, dict) or not weight_map:
        raise Qwen2VLError(f"{index} has no weight_map: download it again")
    for tensor, name in weight_map.items():
        plain = isinstance(name, str) and Path(name).name == name and "\\" not in name
        if not (plain and name.endswith(".safetensors")):
            raise Qwen2VLError(
                f"{index} puts {tensor} into {name!r}: a shard has to be a .safetensors file "
                "beside the index"
            )
    return weight_map
