"""Two runs as wholes: their rows, what made them different, and what makes them incomparable."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from parity.core.comparable import flat, warnings
from parity.core.diff import Rows, diff_rows
from parity.core.rows import Row, RunResult

UNRECORDED = "not recorded"
_FIRST = (
    "commit", "working tree", "candidate", "planted fault", "numerics model", "left out", "device",
    "precision", "cases", "dtypes", "mode", "level", "checkpoint", "cases file", "bundles",
    "gates", "gates note", "overrides", "reference", "versions", "environment",
)  # fmt: skip
"""What explains a difference most often, in this order. A name stands for those inside it."""
_LISTS = frozenset({"bundles", "gates"})
"""Long lists, of which only what differs is of use."""
_ALWAYS = frozenset({"when", "seconds", "peak memory (MB)", "command"})
"""What differs between any two runs, and explains nothing."""


@dataclass(frozen=True)
class Fact:
    """One entry of the provenance that is not the same in both runs."""

    name: str
    """With dots where it is nested: ``versions.mindspore``."""
    a: str
    b: str
    always: bool
    """Whether it differs between any two runs, as the time does."""


@dataclass(frozen=True)
class Runs:
    """Run B held against run A."""

    a: RunResult
    b: RunResult
    rows: Rows
    facts: tuple[Fact, ...]
    """What differs in provenance, what explains most first."""
    warnings: tuple[str, ...]
    """Why the two runs cannot be compared throughout; nothing if they can."""
    lost: tuple[str, ...]
    """What B could not compare, and A did not complain of."""
    regained: tuple[str, ...]
    """What A could not compare, and B does not complain of."""

    @property
    def got_worse(self) -> bool:
        """Whether a row got worse, or B left out what A did not."""
        return self.rows.got_worse or bool(self.lost)

    @property
    def trusted(self) -> bool:
        """Whether both runs passed the proofs of themselves."""
        return not self.a.invalid and not self.b.invalid


def diff_runs(a: RunResult, b: RunResult, across: Collection[str] = ()) -> Runs:
    """Hold run B against run A.

    Args:
        a: The first run, the one to measure by.
        b: The second.
        across: What is compared: ``dtype``, ``mode``, both or neither (see ``diff_rows``).
    """
    facts_a, facts_b = flat(a.provenance), flat(b.provenance)
    levels = facts_a.get("level", ""), facts_b.get("level", "")
    return Runs(
        a=a,
        b=b,
        rows=diff_rows(a.rows, b.rows, across, levels),
        facts=(*_compared(a.rows, b.rows, across), *_facts(facts_a, facts_b)),
        warnings=tuple(warnings(a, b, across)),
        lost=tuple(item for item in b.not_compared if item not in a.not_compared),
        regained=tuple(item for item in a.not_compared if item not in b.not_compared),
    )


def _compared(a: Sequence[Row], b: Sequence[Row], across: Collection[str]) -> Iterator[Fact]:
    """What the comparison is about, where that is a dtype or a mode."""
    for name in across:
        x, y = (", ".join(dict.fromkeys(getattr(row, name) for row in rows)) for rows in (a, b))
        yield Fact(f"compared {name}", x, y, always=False)


def _facts(a: Mapping[str, str], b: Mapping[str, str]) -> list[Fact]:
    """The entries that differ, what explains most first, what always differs last."""
    names = [name for name in {**a, **b} if a.get(name) != b.get(name)]
    found = [_fact(name, a.get(name, UNRECORDED), b.get(name, UNRECORDED)) for name in names]
    return sorted(found, key=lambda fact: (fact.always, _place(fact.name)))


def _fact(name: str, a: str, b: str) -> Fact:
    """One entry that differs."""
    if name in _LISTS:
        mine, other = a.split(", "), b.split(", ")
        a = ", ".join(one for one in mine if one not in other) or "nothing more"
        b = ", ".join(one for one in other if one not in mine) or "nothing more"
    return Fact(name, a, b, _outer(name) in _ALWAYS)


def _outer(name: str) -> str:
    """``versions`` for ``versions.mindspore``."""
    return name.partition(".")[0]


def _place(name: str) -> int:
    """Place of an entry among those that differ."""
    return _FIRST.index(_outer(name)) if _outer(name) in _FIRST else len(_FIRST)
