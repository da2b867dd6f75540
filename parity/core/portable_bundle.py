"""One record of a portable bundle, read as any other bundle is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from parity.core.portable import damaged
from parity.core.record_shape import check_record
from parity.core.store import Bundle, Proof, ReferenceFiring
from parity.core.trace import Array


class TensorFiles:
    """The tensors of several safetensors files, by name; opened, not read."""

    def __init__(self, files: Sequence[Path]) -> None:
        """Open ``files``.

        Raises:
            BundleError: one is damaged.
        """
        from safetensors import safe_open

        self._holders: dict[str, Any] = {}
        for path in files:
            try:
                opened: Any = safe_open(path, framework="numpy")
                names = list(opened.keys())
            except Exception as error:
                raise damaged(path, str(error)) from error
            self._holders.update((name, opened) for name in names)

    def keys(self) -> list[str]:
        """Every name."""
        return list(self._holders)

    def get_tensor(self, name: str) -> Array:
        """The tensor as it is stored."""
        array: Array = self._holders[name].get_tensor(name)
        return array


class PortableBundle(Bundle):
    """A record of a portable bundle. Tensors are read when asked for, and checked when read."""

    def __init__(self, folder: Path, record: Mapping[str, Any], tensors: TensorFiles) -> None:
        """Take over what `record_of` made.

        Args:
            folder: of the portable bundle.
            record: the content of the record's file.
            tensors: those of all of the bundle's records.

        Raises:
            BundleError: the record is damaged.
        """
        self.folder = folder
        try:
            check_record(record)
        except (ValueError, RecursionError) as error:
            raise damaged(folder, f"a record has an unexpected structure ({error})") from error
        self.key: dict[str, object] = record["key"]
        self.provenance: dict[str, object] = record["provenance"]
        self.proofs = [Proof(**proof) for proof in record["proofs"]]
        self.tokens: list[list[list[int]]] = record["tokens"]
        self.chunks: int = record["chunks"]
        self.points: dict[str, list[ReferenceFiring]] = {
            name: [ReferenceFiring(**firing) for firing in firings]
            for name, firings in record["points"].items()
        }
        self._file = tensors
        self._names = set(tensors.keys())
        self._checked: dict[str, Array] = {}


def record_of(bundle: Bundle, points: Mapping[str, Sequence[ReferenceFiring]]) -> dict[str, Any]:
    """What a record's file holds of ``bundle``, with ``points`` in place of its own."""
    return {
        "key": bundle.key,
        "provenance": bundle.provenance,
        "proofs": [asdict(proof) for proof in bundle.proofs],
        "tokens": bundle.tokens,
        "chunks": bundle.chunks,
        "points": {name: [asdict(f) for f in firings] for name, firings in points.items()},
    }
