"""On what a run was made: only runs of one environment are one series of measurements."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple, dataclass

NONE = "none"
_PLACES: dict[str, tuple[str, ...]] = {
    "soc": ("device.soc", "soc"),
    "cann": ("device.cann", "cann"),
    "mindspore": ("versions.mindspore", "mindspore"),
    "driver": ("device.driver", "driver"),
    "device": ("device.name", "device"),
    "machine": ("machine.text", "machine"),
    "candidate": ("candidate",),
    "checkpoint": ("checkpoint.name", "checkpoint"),
}
"""Where provenance may hold each field, the first that is there counts; dots go into tables."""

_TABLES = ("versions", "precision", "environment")
"""Of provenance: everything in them may change a ratio."""
_FACTS = ("working tree", "python", "numpy", "torch", "transformers", "gates", "overrides",
          "device.firmware", "OMP_NUM_THREADS", "MS_ASCEND_CHECK_OVERFLOW_MODE")  # fmt: skip
"""Beside them, or in runs from before there were tables."""


@dataclass(frozen=True)
class Environment:
    """Everything that may change a ratio although nobody changed the code under test."""

    soc: str
    cann: str
    mindspore: str
    driver: str
    device: str
    """Its kind, ``CPU`` or ``Ascend``: which of a machine's cards a job gets is chance."""
    machine: str
    """Architecture and number of cores: on a CPU this is what the SoC is elsewhere."""
    candidate: str
    checkpoint: str

    @property
    def label(self) -> str:
        """In one line, without what is not there."""
        named = {"": self.soc, "CANN": self.cann, "MindSpore": self.mindspore,
                 "driver": self.driver}  # fmt: skip
        known = [f"{name} {text}".strip() for name, text in named.items() if text != NONE]
        where = [self.device] if self.soc == NONE else []
        return ", ".join([*where, *known, self.machine, self.candidate, self.checkpoint])

    def differences(self, other: Environment) -> list[str]:
        """What ``other`` has instead, as ``cann: 8.0 -> 8.1``."""
        pairs = zip(_PLACES, astuple(self), astuple(other), strict=True)
        return [f"{name}: {old} -> {new}" for name, old, new in pairs if old != new]


def environment_of(provenance: Mapping[str, object]) -> Environment:
    """The environment of a run; what its provenance does not tell is ``none``."""
    found = {name: _first(provenance, places) for name, places in _PLACES.items()}
    return Environment(**{**found, "device": found["device"].partition(":")[0]})


def facts_of(provenance: Mapping[str, object]) -> dict[str, str]:
    """What else may have changed between two runs, and is worth a mark where it did."""
    found = {name: look_up(provenance, name) for name in _FACTS}
    for table in _TABLES:
        inner = provenance.get(table)
        names = inner if isinstance(inner, Mapping) else ()
        found |= {str(name): look_up(provenance, f"{table}.{name}") for name in names}
    return {name: text for name, text in found.items() if text is not None}


def _first(provenance: Mapping[str, object], places: tuple[str, ...]) -> str:
    """The text at the first of ``places`` that holds one."""
    found = (look_up(provenance, place) for place in places)
    return next((text for text in found if text is not None), NONE)


def look_up(provenance: Mapping[str, object], place: str) -> str | None:
    """The text at a dotted place, written flat or as tables; ``None`` if there is none."""
    if isinstance(provenance.get(place), (str, int, float)):
        return str(provenance[place])
    head, _, rest = place.partition(".")
    inner = provenance.get(head)
    return look_up(inner, rest) if rest and isinstance(inner, Mapping) else None
