"""How much of the truths fits into a portable bundle of a given size, before it is written."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from parity.core.compact import DTYPE
from parity.core.errors import ParityError
from parity.core.narrow import NARROW
from parity.core.portable_bundle import record_of, residuals
from parity.core.sampling import LEAST, TILE, rows_of
from parity.core.store import TENSORS, Bundle

PER_TENSOR = 200
"""Bytes that a tensor takes at most beside its content: its entry in the file's header."""
PER_FILE = 1500
"""Bytes that a file takes at most beside its content: its line in the manifest."""
DIGITS = 9
"""Bytes of a row's number in a record, with what parts it from the next."""


@dataclass
class Demand:
    """What a portable bundle takes, at any number of rows that truths are kept of."""

    fixed: int = 0
    """Bytes of everything but truths."""
    truths: list[tuple[int, int]] = field(default_factory=list)
    """Rows of each residual, and bytes of one."""
    counts: list[int] = field(default_factory=list)
    """Numbers of rows of each record's residuals, each once."""
    _seen: set[str] = field(default_factory=set)

    def add(self, bundle: Bundle, exact: frozenset[str]) -> None:
        """Take a captured reference into account, what others brought already left out.

        Args:
            bundle: the captured reference.
            exact: points whose end-to-end truths stay as they are.
        """
        stored = _header(bundle.folder / TENSORS)
        truths = dict(residuals(bundle.points))
        whole = {f.end_to_end for name in exact for f in bundle.points.get(name, ())}
        for name in bundle.used - truths.keys() - self._seen:
            self.fixed += stored[name][1] + PER_TENSOR
            self._seen.add(name)
        for name in sorted(truths):
            # One that a block's end shares with another point is kept both ways.
            sizes = [4] * (name in whole) + [NARROW[DTYPE].itemsize]
            shape = stored[name][0]
            if name not in self._seen:
                self.truths += [(rows_of(shape), shape[-1] * size) for size in sizes]
                self.fixed += len(sizes) * PER_TENSOR
                self._seen.add(name)
        self.counts += {rows_of(stored[name][0]) for name in truths}
        text = json.dumps(record_of(bundle, bundle.points, {}))
        longer = (len(DTYPE) + 1) * sum(1 for _ in residuals(bundle.points))
        self.fixed += len(text) + longer + 2 * PER_FILE

    def add_files(self, files: Iterable[Path]) -> None:
        """Take files into account that are copied as they are."""
        self.fixed += sum(path.stat().st_size + PER_FILE for path in files)

    def add_text(self, text: str) -> None:
        """Take a file with this text into account."""
        self.fixed += len(text.encode()) + PER_FILE

    def size(self, most: int | None) -> int:
        """Bytes of the bundle, at most, with truths of ``most`` rows; ``None`` for all."""
        if most is None:
            return self.fixed + sum(rows * each for rows, each in self.truths)
        listed = sum(most * DIGITS for count in self.counts if count > most)
        return self.fixed + listed + sum(min(rows, most) * each for rows, each in self.truths)


def rows_that_fit(demand: Demand, max_size: int | None) -> int | None:
    """Of how many rows truths can be kept; ``None`` for all.

    Raises:
        ParityError: not even the fewest fit.
    """
    if max_size is None or demand.size(None) <= max_size:
        return None
    least = demand.size(LEAST)
    if least > max_size:
        raise ParityError(
            f"the bundle does not fit into {max_size:,} bytes: without any truths that can be left "
            f"out it takes {least:,}. Ask for --max-size {math.ceil(least / 1e6)}MB at least, or "
            "for fewer cases or dtypes"
        )
    low, high = LEAST // TILE, max(rows for rows, _ in demand.truths) // TILE + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if demand.size(middle * TILE) <= max_size else (low, middle)
    return low * TILE


def _header(path: Path) -> dict[str, tuple[list[int], int]]:
    """Shape and bytes of every tensor in a safetensors file that was opened and found whole."""
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        entries = json.loads(file.read(size))
    return {
        name: (entry["shape"], entry["data_offsets"][1] - entry["data_offsets"][0])
        for name, entry in entries.items()
        if name != "__metadata__"
    }
