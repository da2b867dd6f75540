"""Bundles: what the reference computed, on disk, trusted only when every hash matches.

A bundle is a folder of two files. ``tensors.safetensors`` holds each distinct tensor once,
under the hash of its content; ``manifest.json`` says which point, firing and role uses which
tensor, and carries a hash of itself. Nothing is ever unpickled.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from parity.core.errors import BundleError, ParityError
from parity.core.trace import Array

FORMAT = 1
MAX_MANIFEST_BYTES = 64 << 20
MANIFEST = "manifest.json"
TENSORS = "tensors.safetensors"
LOCK_SECONDS = 3600.0


def content_hash(array: Array) -> str:
    """Hash of dtype, shape and bytes, 128 bits, as hexadecimal."""
    contiguous = np.ascontiguousarray(array)
    digest = hashlib.blake2b(f"{array.dtype.str}{array.shape}".encode(), digest_size=16)
    digest.update(contiguous.view(np.uint8).reshape(-1).data if contiguous.size else b"")
    return digest.hexdigest()


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
    inputs: dict[str, str] = field(default_factory=dict)
    """The arguments that a forced run replaces."""


class BundleWriter:
    """Collects tensors and firings, then writes them in one piece."""

    def __init__(self, key: Mapping[str, object]) -> None:
        self.key = dict(key)
        self.provenance: dict[str, object] = {}
        self.tokens: list[list[int]] = []
        self.points: dict[str, list[ReferenceFiring]] = {}
        self._tensors: dict[str, Array] = {}
        self._known: dict[int, tuple[Array, str]] = {}

    def add(self, array: Array) -> str:
        """Store ``array`` unless its content is there already; return its name."""
        seen = self._known.get(id(array))
        if seen is not None:
            return seen[1]
        name = content_hash(array)
        self._known[id(array)] = (array, name)
        self._tensors.setdefault(name, np.ascontiguousarray(array))
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
            "tokens": self.tokens,
            "points": {name: [asdict(f) for f in firings] for name, firings in self.points.items()},
        }
        manifest["sha256"] = json_hash(manifest)
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            staging = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
            try:
                save_file(self._tensors, staging / TENSORS)
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


@contextmanager
def temporary_beside(path: Path) -> Iterator[Path]:
    """A file to write, which takes ``path``'s place when the block ends well.

    Raises:
        ParityError: the place cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise ParityError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def replace_folder(staging: Path, folder: Path) -> None:
    """Put ``staging`` in the place of ``folder``; readers see the old one or the new one."""
    if folder.exists():
        old = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        folder.replace(old / "old")
        staging.replace(folder)
        shutil.rmtree(old, ignore_errors=True)
    else:
        staging.replace(folder)


class Bundle:
    """A bundle opened for reading; tensors are read when asked for and checked when read."""

    def __init__(self, folder: Path, manifest: Mapping[str, Any]) -> None:
        from safetensors import safe_open

        self.folder = folder
        self.key: dict[str, object] = manifest["key"]
        self.provenance: dict[str, object] = manifest["provenance"]
        self.tokens: list[list[int]] = manifest["tokens"]
        self.points: dict[str, list[ReferenceFiring]] = {
            name: [ReferenceFiring(**firing) for firing in firings]
            for name, firings in manifest["points"].items()
        }
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
        if claimed != json_hash(manifest):
            raise _damaged(path, "its content does not match its own hash")
        try:
            return cls(folder, manifest)
        except (KeyError, TypeError) as error:
            raise _damaged(path, f"unexpected structure ({error})") from error

    def tensor(self, name: str) -> Array:
        """The tensor stored under ``name``, after checking it against its hash.

        Raises:
            BundleError: it is not there, or its content has changed.
        """
        if name not in self._checked:
            if name not in self._names:
                raise _damaged(self.folder / TENSORS, f"tensor {name} is not in it")
            try:
                array = self._file.get_tensor(name)
            except Exception as error:
                raise _damaged(self.folder / TENSORS, str(error)) from error
            if content_hash(array) != name:
                raise _damaged(self.folder / TENSORS, f"tensor {name} does not match its hash")
            self._checked[name] = array
        return self._checked[name]

    def get(self, point: str, index: int) -> ReferenceFiring | None:
        """The ``index``-th firing of ``point``, or ``None``."""
        firings = self.points.get(point, [])
        return firings[index] if index < len(firings) else None

    def check(self) -> None:
        """Read and verify every tensor.

        Raises:
            BundleError: as in :meth:`tensor`.
        """
        for name in sorted(self._names):
            self.tensor(name)


def read_manifest(path: Path) -> dict[str, Any]:
    """The JSON object in ``path``.

    Raises:
        BundleError: it is missing, too large, or not a JSON object.
    """
    try:
        size = path.stat().st_size
        if size > MAX_MANIFEST_BYTES:
            raise _damaged(path, f"{size} bytes is more than a manifest can have")
        data = json.loads(path.read_text(encoding="utf-8"))
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


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of the bundle ``folder``, so that one process at a time makes it.

    The operating system drops the lock with its holder, so a killed process blocks nobody.

    Raises:
        ParityError: the place cannot be written, or another process holds the lock for an hour.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{folder}.lock", timeout=LOCK_SECONDS):
            for leftover in folder.parent.glob(f".{folder.name}.*"):
                shutil.rmtree(leftover, ignore_errors=True)  # of a process that was killed
            yield
    except Timeout:
        raise ParityError(
            f"another process has been making {folder} for {LOCK_SECONDS:.0f} s; end it, or use "
            "another place with --bundles"
        ) from None
    except PermissionError as error:
        raise ParityError(f"cannot write to {folder.parent}: {error.strerror}") from error
