"""Where a run's numbers come from, as plain data for the page: one group for each kind of fact."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from parity.report.text import MESSAGE_LIMIT, clean


@dataclass(frozen=True)
class Facts:
    """Facts that belong together."""

    title: str
    entries: tuple[tuple[str, str], ...]
    """Name and value."""


def provenance_view(provenance: Mapping[str, object]) -> tuple[Facts, ...]:
    """The facts of the run itself, then those that a run keeps together, such as its versions."""
    alone = {name: value for name, value in provenance.items() if not isinstance(value, dict)}
    groups = [("run", alone)]
    groups += [(name, value) for name, value in provenance.items() if isinstance(value, dict)]
    return tuple(
        Facts(clean(name).capitalize(), tuple(_flat(facts))) for name, facts in groups if facts
    )


def _flat(value: object, name: str = "") -> Iterator[tuple[str, str]]:
    """Nested facts as names with dots and short texts."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _flat(item, f"{name}.{key}" if name else str(key))
    else:
        text = ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
        yield clean(name), clean(text, MESSAGE_LIMIT)
