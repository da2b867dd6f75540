"""An entry of a run as values of the tables."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import astuple

from parity.core.rows import Verdict
from parity.history.record import Entry, Figure, Key
from parity.history.tables import VERDICTS
from parity.history.texts import digest, stored

NAN = -1.0
_NUMBERS = {name: number for number, name in enumerate(VERDICTS)}


def series_values(entry: Entry) -> dict[str, str | int]:
    """What an entry is about, as values of ``series``."""
    key = entry.key
    return {
        "digest": key_digest(key),
        "case_name": stored(key.case),
        "dtype": stored(key.dtype),
        "mode": stored(key.mode),
        "stage": stored(key.stage),
        "point": stored(key.point),
        "firing": key.firing,
        "place": entry.order,
    }


def key_digest(key: Key) -> str:
    """By what a series is found."""
    return digest(astuple(key))


def figures_of(entry: Entry) -> Iterator[tuple[str, float]]:
    """The figures' names and gates of an entry, as values of ``gate``."""
    for one in (entry.local, entry.end):
        if one is not None:
            yield one.name, as_stored(one.gate)


def entry_values(
    run: int, entry: Entry, series: Mapping[str, int], gates: Mapping[tuple[str, float], int]
) -> dict[str, int | float | None]:
    """An entry as values of ``entry``."""

    def gate_of(one: Figure | None) -> int | None:
        return None if one is None else gates[one.name, as_stored(one.gate)]

    return {
        "run": run,
        "series": series[key_digest(entry.key)],
        "verdict": number_of(entry.verdict),
        "local": None if entry.local is None else as_stored(entry.local.ratio),
        "local_gate": gate_of(entry.local),
        "end_to_end": None if entry.end is None else as_stored(entry.end.ratio),
        "end_gate": gate_of(entry.end),
    }


def number_of(verdict: Verdict) -> int:
    """The number that stands for a verdict."""
    return _NUMBERS[verdict.value]


def as_stored(value: float) -> float:
    """A ratio or gate as a database takes it."""
    return NAN if math.isnan(value) else value


def as_read(value: float) -> float:
    """What ``as_stored`` was given."""
    return math.nan if value == NAN else value
