"""Copying captured references into the folder of a portable bundle, each content once."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from parity.core.compact import DTYPE, compact
from parity.core.narrow import NARROW, pack
from parity.core.points import Point
from parity.core.portable import RECORDS, TENSORS, Record
from parity.core.portable_bundle import record_of, residuals
from parity.core.sampling import Rows, badness, choose, expand, keep_rows, rows_of
from parity.core.store import Bundle, ReferenceFiring, narrow_dtype, tensor_name
from parity.core.trace import Array

VALUES, INPUTS = "values", "inputs of modules"
TRUTHS, BLOCK_TRUTHS = "truths, rounded", "truths of residual blocks, exact"


@dataclass
class Copier:
    """Writes the records of one portable bundle into its folder."""

    folder: Path
    exact: frozenset[str]
    """Points whose end-to-end truths stay as they were captured."""
    most: int | None = None
    """Rows of which truths are kept, in tensors that have more; ``None`` for all."""
    parts: Counter[str] = field(default_factory=Counter)
    """Bytes written so far, by part."""
    sampled: dict[str, dict[int, int]] = field(default_factory=dict)
    """By record and number of rows: how many are kept."""
    written: set[str] = field(default_factory=set)
    """Names of the tensors that some record has brought."""

    def add(self, record: Record, bundle: Bundle) -> Record:
        """Write one record, and those of its tensors that no earlier one has.

        Returns:
            The record with its size.
        """
        from safetensors.numpy import save_file

        copy = _Copy(bundle, self)
        points = {
            name: [copy.firing(name, firing) for firing in firings]
            for name, firings in bundle.points.items()
        }
        if copy.stored:
            path = self.folder / TENSORS / f"{record.name}.safetensors"
            path.parent.mkdir(exist_ok=True)
            save_file(copy.stored, path)
            self.written |= copy.stored.keys()
        # Not sorted: the first of a firing's inputs is the one that arrives.
        text = json.dumps(record_of(bundle, points, copy.rows)) + "\n"
        path = self.folder / RECORDS / f"{record.name}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        if copy.rows:
            kept = {count: len(rows) for count, rows in copy.rows.items()}
            self.sampled[record.name] = kept
        return replace(record, size=sum(copy.used.values()))


@dataclass
class _Copy:
    """The tensors that one record brings."""

    bundle: Bundle
    into: Copier
    stored: dict[str, Array] = field(default_factory=dict)
    used: dict[str, int] = field(default_factory=dict)
    """Bytes of every tensor that the record names."""
    _truths: dict[tuple[str, bool], str] = field(default_factory=dict)

    def firing(self, point: str, firing: ReferenceFiring) -> ReferenceFiring:
        """The firing with its truths' new names; everything that it names is in ``stored``."""
        self._as_it_is(firing.value, VALUES)
        for name in firing.inputs.values():
            self._as_it_is(name, INPUTS)
        return replace(
            firing,
            local=self._truth(firing.local),
            local_block=self._truth(firing.local_block),
            arrival=self._truth(firing.arrival),
            end_to_end=self._truth(firing.end_to_end, exact=point in self.into.exact),
        )

    @cached_property
    def rows(self) -> dict[int, Rows]:
        """The rows of which truths are kept, for every number of rows that is too large."""
        scores: dict[int, NDArray[np.float64]] = {}
        for name, of in dict(residuals(self.bundle.points)).items():
            value = self.bundle.tensor(of)
            count = rows_of(value.shape)
            if self.into.most is not None and count > self.into.most:
                found = badness(value, self.bundle.tensor(name))
                scores[count] = np.maximum(found, scores.get(count, 0.0))
        return {
            count: choose(np.where(self._compared(count), found, -np.inf), int(self.into.most or 0))
            for count, found in sorted(scores.items())
        }

    def _compared(self, count: int) -> NDArray[np.bool_]:
        """False in the rows of padding, which is never compared."""
        firing = self.bundle.get("processor.attention_mask", 0)
        mask = None if firing is None else self.bundle.tensor(firing.value)
        if mask is None or mask.size != count:
            return np.ones(count, np.bool_)
        return np.asarray(mask.reshape(-1) != 0)

    def _truth(self, name: str | None, exact: bool = False) -> str | None:
        """Store a residual as it is kept here; return its name."""
        if name is None:
            return None
        if (name, exact) not in self._truths:
            self._truths[name, exact] = self._residual(name, exact)
        return self._truths[name, exact]

    def _residual(self, name: str, exact: bool) -> str:
        array = self.bundle.tensor(name)
        stored = array if exact else pack(compact(array), DTYPE)
        dtype = None if exact else DTYPE
        rows = self.rows.get(rows_of(array.shape))
        part = BLOCK_TRUTHS if exact else TRUTHS
        if rows is None:
            return self._add(tensor_name(stored, dtype), stored, part)
        kept = keep_rows(stored, rows)
        return self._add(tensor_name(expand(kept, rows, array.shape), dtype), kept, part)

    def _as_it_is(self, name: str, part: str) -> None:
        if name not in self.used:
            array, narrow = self.bundle.tensor(name), narrow_dtype(name)
            self._add(name, pack(array, narrow) if narrow in NARROW else array, part)

    def _add(self, name: str, stored: Array, part: str) -> str:
        self.used[name] = stored.nbytes
        if name not in self.stored and name not in self.into.written:
            self.stored[name] = stored
            self.into.parts[part] += stored.nbytes
        return name


def exact_points(declared: Sequence[Point]) -> frozenset[str]:
    """The points whose truths are subtracted from each other: residual blocks' ends.

    Both carry the error of everything before them, of which their difference is free. Rounded to
    a part of themselves, they would move the difference by more than its own error.
    """
    blocks = [point for point in declared if point.base]
    return frozenset(name for point in blocks for name in (point.name, str(point.base)))
