"""Reading a checkpoint folder's safetensors, one tensor at a time and a slice of it at a time.

The files are opened with the safetensors library, which validates the header and the offsets;
numbers are then read straight from the file, because its NumPy side knows no bfloat16.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
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
# Numbers read at once: large enough for the disk's speed, small beside one of a model's matrices.
SLICE = 1 << 20


class SafetensorsFile:
    """One validated safetensors file.

    Raises:
        Qwen2VLError: The file is missing, cut short or damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            if not path.is_file():
                raise Qwen2VLError(f"{path} is missing: download the checkpoint again")
            with safe_open(path, framework="np"):
                pass
        except (SafetensorError, OSError) as error:
            raise Qwen2VLError(
                f"{path} is not a complete safetensors file ({error}): download it again"
            ) from error
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(size))
        self.size = path.stat().st_size
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

    def bytes(self, name: str) -> int:
        """Bytes that the tensor takes in the file."""
        begin, end = self._entries[name]["data_offsets"]
        return int(end - begin)

    def slices(self, name: str) -> Iterator[npt.NDArray[np.float32]]:
        """A tensor's numbers in order, `SLICE` or fewer at a time, widened to float32 exactly.

        Args:
            name: A tensor whose dtype is one of `STORED_AS`.

        Yields:
            float32 [up to SLICE], the caller's to change.

        Raises:
            Qwen2VLError: The file ends before the tensor does: it changed since it was opened.
        """
        stored = np.dtype(STORED_AS[self.dtype(name)])
        left = math.prod(self.shape(name))
        with self.path.open("rb") as file:
            file.seek(self._start + self._entries[name]["data_offsets"][0])
            while left:
                raw = np.fromfile(file, stored, min(left, SLICE))
                if not raw.size:
                    raise Qwen2VLError(
                        f"{self.path} ended inside {name}: the file changed while it was read"
                    )
                left -= raw.size
                yield _widened(raw)


def _widened(raw: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Stored numbers as float32; a bfloat16 is the upper half of one."""
    if raw.dtype.kind != "u":
        return raw.astype(np.float32, copy=False)
    bits = raw.astype(np.uint32)
    bits <<= 16  # a third of the time that a cast from ml_dtypes' bfloat16 takes
    return bits.view(np.float32)


def open_checkpoint(folder: str | Path) -> dict[str, SafetensorsFile]:
    """Find every tensor of a checkpoint folder.

    Args:
        folder: Holds ``model.safetensors``, or ``model.safetensors.index.json`` and its shards.

    Returns:
        The file of each tensor, by its name.

    Raises:
        Qwen2VLError: One error: the folder holds no safetensors, or they are incomplete, or
            contradict the index.
    """
    stored, problems = survey(folder)
    if len(problems) == 1:
        raise Qwen2VLError(problems[0])
    if problems:
        listed = "".join(f"\n  - {problem}" for problem in problems)
        raise Qwen2VLError(f"the weights in {folder} cannot be read:{listed}")
    return stored


def survey(folder: str | Path) -> tuple[dict[str, SafetensorsFile], list[str]]:
    """What of a checkpoint folder can be opened, and every problem with the rest.

    Returns:
        The file of each tensor by its name, and one sentence a problem: none when it is complete.
    """
    folder = Path(folder)
    if not folder.is_dir():
        return {}, [f"{folder} is not a folder: pass a checkpoint's folder"]
    try:
        if (folder / WEIGHTS_FILE).is_file():
            file = SafetensorsFile(folder / WEIGHTS_FILE)
            return dict.fromkeys(file.names, file), []
        if (folder / INDEX_FILE).is_file():
            return _survey_shards(folder / INDEX_FILE)
    except Qwen2VLError as error:
        return {}, [str(error)]
    pickled = sorted(p.name for p in folder.glob("pytorch_model*.bin"))
    if pickled:
        return {}, [
            f"{folder} holds {pickled[0]} and no safetensors: a pickle can run any code when it is "
            "loaded, so it is refused; load it once with transformers where you trust it, and "
            "call save_pretrained"
        ]
    return {}, [f"{folder} holds neither {WEIGHTS_FILE} nor {INDEX_FILE}"]


def _survey_shards(index: Path) -> tuple[dict[str, SafetensorsFile], list[str]]:
    """Open the shards that an index names, and check that both tell the same."""
    weight_map = _read_index(index)
    shards: dict[str, SafetensorsFile] = {}
    problems = []
    for name in sorted(set(weight_map.values())):
        try:
            shards[name] = SafetensorsFile(index.parent / name)
        except Qwen2VLError as error:
            problems.append(str(error))
    found = {(tensor, name) for name, shard in shards.items() for tensor in shard.names}
    listed = {(tensor, name) for tensor, name in weight_map.items() if name in shards}
    problems += [
        f"{t} is listed in {f} and is not there: {index} does not match its shards"
        for t, f in sorted(listed - found)
    ]
    problems += [
        f"{t} is in {f} and is not listed so: {index} does not match its shards"
        for t, f in sorted(found - listed)
    ]
    return {tensor: shards[name] for tensor, name in sorted(listed & found)}, problems


def _read_index(index: Path) -> Mapping[str, str]:
    """The index's map from tensor to file name, with no name leading out of the folder."""
    try:
        content: Any = json.loads(index.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
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
