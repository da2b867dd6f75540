"""One record of a portable bundle, read as any other bundle is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from parity.core.portable import damaged
from parity.core.record_shape import check_record
from parity.core.sampling import Masks, Rows, expand, masks, read_rows, rows_of
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

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a tensor as it is stored.

        Raises:
            KeyError: there is none of that name.
        """
        return tuple(self._holders[name].get_slice(name).get_shape())


class _Expanded:
    """The tensors of one record, those of which only some rows are stored at their full size."""

    def __init__(self, files: TensorFiles, shapes: Mapping[str, tuple[int, ...]],
                 sampled: Mapping[int, Rows]) -> None:  # fmt: skip
        self._files, self._shapes, self._sampled = files, shapes, sampled

    def get_tensor(self, name: str) -> Array:
        """The tensor, with what is not a number where no row is stored."""
        stored, shape = self._files.get_tensor(name), self._shapes.get(name)
        rows = None if shape is None else self._sampled.get(rows_of(shape))
        if rows is None or shape is None or stored.shape != (len(rows), *shape[-1:]):
            return stored
        return expand(stored, rows, shape)


class PortableBundle(Bundle):
    """A record of a portable bundle. Tensors are read when asked for, and checked when read."""

    sampled: Masks
    """By how many rows a tensor has: of which of them there are truths; all, if not in it."""

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
            self.points: dict[str, list[ReferenceFiring]] = {
                name: [ReferenceFiring(**firing) for firing in firings]
                for name, firings in record["points"].items()
            }
            shapes = {name: tensors.shape(of) for name, of in residuals(self.points)}
            rows = read_rows(record["sampled"], {rows_of(shape) for shape in shapes.values()})
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise damaged(folder, f"a record has an unexpected structure ({error})") from error
        self.key: dict[str, object] = record["key"]
        self.provenance: dict[str, object] = record["provenance"]
        self.proofs = [Proof(**proof) for proof in record["proofs"]]
        self.tokens: list[list[list[int]]] = record["tokens"]
        self.chunks: int = record["chunks"]
        self.sampled = masks(rows)
        self._file = _Expanded(tensors, shapes, rows)
        self._names = self.used & set(tensors.keys())
        self._checked: dict[str, Array] = {}


def residuals(points: Mapping[str, Sequence[ReferenceFiring]]) -> Iterator[tuple[str, str]]:
    """The name of every residual, and of the tensor that it is added to for the truth."""
    for firings in points.values():
        for firing in firings:
            for name in (firing.local, firing.local_block, firing.end_to_end):
                if name is not None:
                    yield name, firing.value
            if firing.arrival is not None and firing.inputs:
                yield firing.arrival, next(iter(firing.inputs.values()))


def record_of(
    bundle: Bundle,
    points: Mapping[str, Sequence[ReferenceFiring]],
    sampled: Mapping[int, Rows],
) -> dict[str, Any]:
    """What a record's file holds.

    Args:
        bundle: what it is made from.
        points: instead of the bundle's own, with the names that their truths have here.
        sampled: the rows that are kept of tensors with so many rows.
    """
    return {
        "key": bundle.key,
        "provenance": bundle.provenance,
        "proofs": [asdict(proof) for proof in bundle.proofs],
        "tokens": bundle.tokens,
        "chunks": bundle.chunks,
        "sampled": {str(count): rows.tolist() for count, rows in sampled.items()},
        "points": {name: [asdict(f) for f in firings] for name, firings in points.items()},
    }
