"""Reading one tensor of a checkpoint folder at a time, as float32.

The safetensors library validates a file's header and offsets when it opens it. Numbers are then
read from the file itself, because the library's NumPy side knows no bfloat16.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parity.core.errors import ParityError
from parity.core.store import read_manifest

WHOLE, INDEX = "model.safetensors", "model.safetensors.index.json"
STORED = {"F32": "<f4", "F16": "<f2", "BF16": "<u2"}
"""Dtypes that float32 holds exactly, and how they are stored."""


class Checkpoint:
    """The tensors of a folder, in one file or sharded; nothing is read before it is asked for."""

    def __init__(self, folder: Path) -> None:
        """Open the folder.

        Raises:
            ParityError: it holds no safetensors, or a file is missing or damaged.
        """
        self.folder = folder
        self._places: dict[str, tuple[Path, int, Mapping[str, Any]]] = {}
        for path in _files(folder):
            start, header = _header(path)
            self._places |= {name: (path, start, entry) for name, entry in header.items()}

    @property
    def names(self) -> set[str]:
        """Names of the stored tensors."""
        return set(self._places)

    def read(self, name: str) -> NDArray[np.float32]:
        """One tensor, widened to float32 exactly.

        Raises:
            ParityError: there is none, its dtype is no float, or the file ends too early.
        """
        if name not in self._places:
            raise ParityError(f"{self.folder} has no tensor {name}; download the checkpoint again")
        path, start, entry = self._places[name]
        if entry["dtype"] not in STORED:
            raise ParityError(f"{path}: {name} is {entry['dtype']}, not one of {', '.join(STORED)}")
        count = math.prod(entry["shape"])
        with path.open("rb") as file:
            file.seek(start + entry["data_offsets"][0])
            raw = np.fromfile(file, STORED[entry["dtype"]], count)
        if raw.size != count:
            raise ParityError(f"{path} ended inside {name}: the file changed while it was read")
        return _widened(raw).reshape(entry["shape"])


def _widened(raw: NDArray[Any]) -> NDArray[np.float32]:
    """Stored numbers as float32; a bfloat16 is the upper half of one."""
    if raw.dtype.kind != "u":
        return raw.astype(np.float32)
    return (raw.astype(np.uint32) << 16).view(np.float32)


def _files(folder: Path) -> list[Path]:
    """The safetensors files of a checkpoint folder."""
    if (folder / WHOLE).is_file():
        return [folder / WHOLE]
    if not (folder / INDEX).is_file():
        raise ParityError(f"{folder} holds neither {WHOLE} nor {INDEX}; name a checkpoint folder")
    shards = read_manifest(folder / INDEX).get("weight_map")
    names = sorted(set(map(str, shards.values()))) if isinstance(shards, dict) else []
    if not names or any(Path(name).name != name for name in names):
        raise ParityError(f"{folder / INDEX} does not name files beside it; download it again")
    return [folder / name for name in names]


def _header(path: Path) -> tuple[int, dict[str, Any]]:
    """Where a file's numbers begin, and where each tensor is from there."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy"):
            pass  # reads and validates the header
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(size))
    except (SafetensorError, OSError, ValueError) as error:  # ValueError: a name no file can have
        raise ParityError(
            f"{path} is not a complete safetensors file ({error}); download it again"
        ) from error
    return 8 + size, {name: entry for name, entry in header.items() if name != "__metadata__"}
