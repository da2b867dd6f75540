"""What the history keeps of a run: its environment, and two ratios and a verdict for every row.

A figure is kept as the worst of its kind (whole tensor, worst token, worst channel, update), as
float32, since a ratio's last digits say nothing. A run's digest is made of what is kept and of
nothing else, so that the same run is known again, whatever format its JSON has.
"""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Mapping
from dataclasses import astuple, dataclass, field
from datetime import datetime, timezone
from functools import cached_property

from parity.core.errors import ParityError
from parity.core.rows import Comparison, Row, RunResult, Verdict
from parity.history.environment import Environment, environment_of, facts_of, look_up

_LARGEST = 3.4028234663852886e38
"""Of float32."""


@dataclass(frozen=True)
class Key:
    """What makes rows of different runs measurements of the same thing."""

    case: str
    dtype: str
    mode: str
    stage: str
    point: str
    firing: int


@dataclass(frozen=True)
class Figure:
    """The worst figure of a comparison."""

    name: str
    """``whole``, ``row``, ``column`` or ``update``."""
    ratio: float
    """Candidate's error over the floor, as float32; may be NaN or infinite."""
    gate: float
    """Largest ratio that passed then."""

    @property
    def used(self) -> float:
        """The ratio in units of its gate; what is not a number uses infinitely much."""
        if math.isnan(self.ratio):
            return math.inf
        return self.ratio / self.gate if self.gate else (0.0 if self.ratio == 0 else math.inf)


@dataclass(frozen=True)
class Entry:
    """One row of a run."""

    key: Key
    order: int
    """Execution order within the case."""
    verdict: Verdict
    local: Figure | None
    end: Figure | None


@dataclass(frozen=True)
class RunRecord:
    """One run."""

    when: datetime
    """When it ended, UTC, to the second."""
    commit: str
    environment: Environment
    passed: bool
    entries: tuple[Entry, ...]
    facts: Mapping[str, str] = field(default_factory=dict)
    """What else may change a ratio, by name; not part of the digest."""

    @cached_property
    def digest(self) -> str:
        """128 bits of a hash over all that is kept, as hexadecimal."""
        head = (int(self.when.timestamp()), self.commit, astuple(self.environment), self.passed)
        found = hashlib.sha256(repr(head).encode("utf-8", "surrogatepass"))
        for entry in self.entries:
            figures = [None if one is None else astuple(one) for one in (entry.local, entry.end)]
            line = (astuple(entry.key), entry.order, entry.verdict.value, figures)
            found.update(repr(line).encode("utf-8", "surrogatepass"))
        return found.hexdigest()[:32]


def record_of(result: RunResult, name: str = "the run") -> RunRecord:
    """What the history keeps of ``result``.

    Args:
        result: The run.
        name: What to call it in errors: the path it was read from, say.

    Raises:
        ParityError: It does not say when it was made, has no rows, or one of them twice.
    """
    entries = tuple(_entry(row) for row in result.rows)
    if not entries:
        raise ParityError(f"{name} has no rows: there is nothing in it to remember.")
    known: set[Key] = set()
    for entry in entries:
        if entry.key in known:
            raise ParityError(
                f"{name} has {entry.key.point!r} twice in {entry.key.case!r}, {entry.key.dtype}: "
                "it cannot be told which one counts; make the run again."
            )
        known.add(entry.key)
    when = _when(result.provenance, name)
    commit = look_up(result.provenance, "commit") or "unknown"
    environment = environment_of(result.provenance)
    facts = facts_of(result.provenance)
    return RunRecord(when, commit, environment, result.passed, entries, facts)


def _entry(row: Row) -> Entry:
    """What is kept of a row."""
    key = Key(row.case, row.dtype, row.mode, row.stage, row.point, row.firing)
    return Entry(key, row.order, row.verdict, _figure(row.local), _figure(row.end_to_end))


def _figure(found: Comparison | None) -> Figure | None:
    """The worst figure of a comparison, which is infinite where other things than figures differ.

    Values that are NaN or infinite on one side only are in no ratio, and judged all the same.
    """
    if found is None:
        return None
    name, worst = found.worst
    ratio = worst.ratio if found.nonfinite == 0 and found.compared else math.inf
    return Figure(name, single(ratio), single(worst.gate))


def single(value: float) -> float:
    """``value`` rounded to float32; what is beyond its range becomes infinite."""
    if abs(value) > _LARGEST:
        return math.copysign(math.inf, value)
    return float(struct.unpack("f", struct.pack("f", value))[0])


def _when(provenance: Mapping[str, object], name: str) -> datetime:
    """When a run was made, from its provenance, to the second."""
    text = look_up(provenance, "when") or look_up(provenance, "started")
    if text is None:
        raise ParityError(f"{name} does not say when it was made: its provenance has no 'when'.")
    try:
        found = datetime.fromisoformat(text.replace("Z", "+00:00"))
        # A time without a zone is UTC, as this harness writes it.
        found = found if found.tzinfo else found.replace(tzinfo=timezone.utc)
        return found.astimezone(timezone.utc).replace(microsecond=0)
    except (ValueError, OverflowError) as error:
        raise ParityError(f"{name} says it was made {text[:60]!r}, which is no time.") from error
