"""A short id for every row, the same in every run, so that a link keeps its target."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator

from parity.core.rows import Row


def anchor(row: Row) -> str:
    """Return the id of a row on the page: ``r`` and ten hex digits of what names the row.

    Hashed, since case and point names may hold anything and be of any length.
    """
    named = "\0".join((row.case, row.ran_in, row.point, str(row.firing)))
    return "r" + hashlib.sha256(named.encode("utf-8", "surrogatepass")).hexdigest()[:10]


def anchors(rows: Iterable[Row]) -> Iterator[str]:
    """Yield the rows' ids; a row that repeats another's name gets a number after it."""
    seen: dict[str, int] = {}
    for row in rows:
        name = anchor(row)
        seen[name] = seen.get(name, 0) + 1
        yield name if seen[name] == 1 else f"{name}-{seen[name]}"
