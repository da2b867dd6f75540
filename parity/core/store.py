"""Bundles: what the reference computed, on disk, trusted only when every hash matches.

A bundle is a folder of two files. ``tensors.safetensors`` holds each distinct tensor once,
under the hash of its content (and its dtype, if that is narrower than 32 bits: what is read is
float32, exactly); ``manifest.json`` says which point, firing and role uses which
tensor, and carries a hash of itself. Nothing is ever unpickled.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from parity.core.errors import BundleError
from parity.core.files import read_text, replace_folder
from parity.core.narrow import NARROW, pack, unpack
from parity.core.record_shape import check_record
from parity.core.trace import Array

FORMAT = 3
MAX_MANIFEST_BYTES = 64 << 20
MANIFEST = "manifest.json"
TENSORS = "tensors.safetensors"


def tensor_name(stored: Array, dtype: str | None) -> str:
    """A hash of dtype, shape and bytes, 128 bits, and the name of a narrow ``dtype``."""
    digest = hashlib.blake2b(f"{stored.dtype.str}{stored.shape}".encode(), digest_size=16)
    digest.update(stored.reshape(-1).view(np.uint8).data if stored.size else b"")
    return digest.hexdigest() if dtype is None else f"{digest.hexdigest()}.{dtype}"


def narrow_dtype(name: str) -> str | None:
    """The narrow dtype of the tensor stored under ``name``, if it has one."""
    dtype = name.partition(".")[2]
    return dtype if dtype in NARROW else None


def json_hash(data: object) -> str:
    """Hash of plain data in canonical JSON, as hexadecimal."""
    text = json.dumps(data, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass
class ReferenceFiring:
    """One firing of a point in the reference: names of tensors in the store."""

    value: str
    dtype: str
    """Dtype in which the reference computed it."""
    local: str | None = None
    """Truth minus value, where every module had the reference's inputs and handed on the
    reference's output; ``None`` where the two are equal, here and below."""
    local_block: str | None = None
    """The same where only whole blocks did: what is inside a block ran in float64."""
    arrival: str | None = None
    """Truth minus value of the first input, as it arrived before it was replaced."""
    end_to_end: str | None = None
    """Truth minus value, where nothing was replaced."""
    weight_rounding: float = 0.0
    """What rounding the weights alone to the dtype costs here, end to end: ``||rounded - stored||
    / ||stored||``, all arithmetic in float64; 0 where the dtype holds every stored weight."""
    inputs: dict[str, str] = field(default_factory=dict)
    """The arguments that a forced run replaces."""


@dataclass(frozen=True)
class Proof:
    """Something that has to hold of the reference itself, found out while it was captured."""

    claim: str
    holds: bool
    detail: str
    """What was compared, or what differs."""


class BundleWriter:
    """Collects tensors and firings, then writes them in one piece."""

    def __init__(self, key: Mapping[str, object]) -> None:
        self.key = dict(key)
        self.provenance: dict[str, object] = {}
        self.proofs: list[Proof] = []
        self.tokens: list[list[list[int]]] = []
        """Tokens fed after the prompt: of each call, for each row, in order."""
        self.chunks = 1
        """Parts in which the decoder is fed a prompt."""
        self.points: dict[str, list[ReferenceFiring]] = {}
        self._tensors: dict[str, Array] = {}
        self._stored: dict[str, Array] = {}
        self._known: dict[tuple[int, str | None], tuple[Array, str]] = {}

    def add(self, array: Array, dtype: str | None = None) -> str:
        """Store ``array`` unless its content is there already; return its name.

        Args:
            array: the values; those of a narrow dtype as float32.
            dtype: the dtype they are of, if it is narrow; any other is the array's own.

        Raises:
            ValueError: ``dtype`` is narrow and a value is not one of its.
        """
        narrow = dtype if dtype in NARROW else None
        seen = self._known.get((id(array), narrow))
        if seen is not None:
            return seen[1]
        # Not ascontiguousarray, which gives a scalar a dimension.
        contiguous = array.astype(array.dtype.newbyteorder("="), order="C", copy=False)
        stored = contiguous if narrow is None else pack(contiguous, narrow)
        name = tensor_name(stored, narrow)
        self._known[(id(array), narrow)] = (array, name)
        if name not in self._tensors:
            self._tensors[name], self._stored[name] = contiguous, stored
        return name

    def add_residual(self, truth: Array, value: Array) -> str | None:
        """Store ``truth - value`` as float32; ``None`` if the two are equal everywhere."""
        residual = truth.astype(np.float64) - value.astype(np.float64)
        return self.add(residual.astype(np.float32)) if np.any(residual) else None

    def value(self, firing: ReferenceFiring) -> Array:
        """The tensor a firing recorded."""
        return self._tensors[firing.value]

    def tensor(self, name: str) -> Array:
        """The tensor stored under ``name``."""
        return self._tensors[name]

    def write(self, folder: Path) -> None:
        """Write the bundle to ``folder``, replacing what is there, all or nothing.

        Raises:
            BundleError: the disk is full or the place cannot be written.
        """
        from safetensors.numpy import save_file

        manifest: dict[str, Any] = {
            "format": FORMAT,
            "key": self.key,
            "provenance": self.provenance,
            "proofs": [asdict(proof) for proof in self.proofs],
            "tokens": self.tokens,
            "chunks": self.chunks,
            "points": {name: [asdict(f) for f in firings] for name, firings in self.points.items()},
        }
        manifest["sha256"] = json_hash(manifest)
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            staging = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
            try:
                save_file(self._stored, staging / TENSORS)
                (staging / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
                replace_folder(staging, folder)
            finally:
                shutil.rmtree(staging, ignore_errors=True)
        except OSError as error:
            raise BundleError(
                f"cannot write the bundle {folder}: {error.strerror or error}; free some space "
                "or choose another place with --bundles"
            ) from error
        except Exception as error:
            # safetensors reports a full disk as its own exception type.
            if type(error).__name__ != "SafetensorError":
                raise
            raise BundleError(
                f"cannot write the bundle {folder}: {error}; free some space or choose another "
                "place with --bundles"
            ) from error


class Bundle:
    """A bundle opened for reading; tensors are read when asked for and checked when read."""

    def __init__(self, folder: Path, manifest: Mapping[str, Any]) -> None:
        from safetensors import safe_open

        self.folder = folder
        self.key: dict[str, object] = manifest["key"]
        self.provenance: dict[str, object] = manifest["provenance"]
        self.proofs = [Proof(**proof) for proof in manifest["proofs"]]
        self.tokens: list[list[list[int]]] = manifest["tokens"]
        self.chunks: int = manifest["chunks"]
        self.points: dict[str, list[ReferenceFiring]] = {
            name: [ReferenceFiring(**firing) for firing in firings]
            for name, firings in manifest["points"].items()
        }
        if not (folder / TENSORS).is_file():  # a pipe would be waited for
            raise _damaged(folder / TENSORS, "it is no file")
        try:
            opened: Any = safe_open(folder / TENSORS, framework="numpy")
            self._file = opened
            self._names = set(self._file.keys())
        except Exception as error:
            raise _damaged(folder / TENSORS, str(error)) from error
        self._checked: dict[str, Array] = {}

    @classmethod
    def open(cls, folder: Path) -> Bundle:
        """Open the bundle in ``folder``.

        Raises:
            BundleError: it is missing, damaged, or of another format.
        """
        path = folder / MANIFEST
        manifest = read_manifest(path)
        if manifest.get("format") != FORMAT:
            raise BundleError(
                f"{path} has format {manifest.get('format')!r}, this version reads {FORMAT}; "
                f"delete {folder} and run again"
            )
        claimed = manifest.pop("sha256", None)
        try:
            if claimed != json_hash(manifest):
                raise _damaged(path, "its content does not match its own hash")
            check_record(manifest)
        except (ValueError, RecursionError) as error:
            raise _damaged(path, f"unexpected structure ({error})") from error
        return cls(folder, manifest)

    def tensor(self, name: str) -> Array:
        """The tensor stored under ``name``, after checking it against its hash; never narrow.

        Raises:
            BundleError: it is not there, or its content has changed.
        """
        if name not in self._checked:
            self._checked[name] = self._read(name)
        return self._checked[name]

    def _read(self, name: str) -> Array:
        """A tensor, read and checked."""
        if name not in self._names:
            raise _damaged(self.folder / TENSORS, f"tensor {name} is not in it")
        dtype = narrow_dtype(name)
        try:
            stored = self._file.get_tensor(name)
            array = stored if dtype is None else unpack(stored, dtype)
        except Exception as error:
            raise _damaged(self.folder / TENSORS, str(error)) from error
        if tensor_name(stored, dtype) != name:
            raise _damaged(self.folder / TENSORS, f"tensor {name} does not match its hash")
        return array

    def get(self, point: str, index: int) -> ReferenceFiring | None:
        """The ``index``-th firing of ``point``, or ``None``."""
        firings = self.points.get(point, [])
        return firings[index] if index < len(firings) else None

    @property
    def used(self) -> set[str]:
        """The names of all tensors that a firing refers to."""
        every = [firing for firings in self.points.values() for firing in firings]
        names = (name for one in every for name in (one.value, one.local, one.local_block,
                 one.arrival, one.end_to_end, *one.inputs.values()))  # fmt: skip
        return {name for name in names if name is not None}

    def check(self) -> None:
        """Read and verify every tensor that is there or is referred to; none is kept in memory.

        Raises:
            BundleError: as in :meth:`tensor`.
        """
        for name in sorted(self._names | self.used):
            self._read(name)


def read_manifest(path: Path) -> dict[str, Any]:
    """The JSON object in ``path``.

    Raises:
        BundleError: it is missing, too large, or not a JSON object.
    """
    try:
        data = json.loads(read_text(path, MAX_MANIFEST_BYTES))
    except FileNotFoundError:
        raise BundleError(f"no bundle at {path.parent}; run once where PyTorch is") from None
    except (OSError, ValueError, RecursionError) as error:
        raise _damaged(path, str(error)) from error
    if not isinstance(data, dict):
        raise _damaged(path, "it is not a JSON object")
    return data


def _damaged(path: Path, reason: str) -> BundleError:
    return BundleError(
        f"{path} is damaged: {reason}; it is not used. Delete {path.parent} and run again"
    )


def mark_used(folder: Path) -> None:
    """Note that a bundle was used now, as far as its place lets us: `prune` spares such bundles."""
    with suppress(OSError):
        os.utime(folder / MANIFEST)


def last_used(folder: Path) -> float:
    """When a bundle was made or used last, in seconds since the epoch."""
    path = folder / MANIFEST
    return (path if path.exists() else folder).stat().st_mtime
