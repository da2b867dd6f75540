"""Two runs row by row: what fails anew, got worse or better, appeared and vanished.

Pure data in, pure data out. Every row of both runs is in exactly one change, and exchanging the
runs exchanges worse and better and nothing else.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

from parity.core.rows import Row, Verdict
from parity.core.shift import Shift, shifts

DTYPE, MODE = "dtype", "mode"
BLOCK, MODULE = "block", "module"
_SUFFERS = frozenset({Verdict.VICTIM, Verdict.DRIFT})
Key = tuple[str, ...]


class Change(str, Enum):
    """What became of a row from run A to run B, the most important first."""

    FAILING = "newly failing"
    """It passed in A and fails in B."""
    BLAMED = "newly at fault"
    """It suffered from another point in A and is itself at fault in B."""
    WORSE = "worse"
    """The same verdict, with an error that grew by a factor that counts or crossed its gate."""
    MIXED = "worse and better"
    """Worse on clean inputs and better end to end, or the other way round."""
    VANISHED = "vanished"
    """Judged in A, and not in B."""
    VERDICT = "another verdict"
    """It fails in both, for another reason."""
    APPEARED = "appeared"
    """Judged in B, and not in A."""
    OVERRIDE = "override changed"
    """Nothing moved, but it is judged under another override, or no longer under one."""
    GATE = "gate changed"
    """Nothing moved but the gate."""
    CLEARED = "no longer at fault"
    """It was itself at fault in A and suffers from another point in B."""
    PASSING = "newly passing"
    BETTER = "better"
    OUTSIDE = "not looked at"
    """Inside a block, where one of the two runs looked at blocks as a whole."""
    UNCHANGED = "unchanged"

    @property
    def bad(self) -> bool:
        """Whether something got worse, or is no longer known to be right."""
        return self in _BAD


_BAD = frozenset({Change.FAILING, Change.BLAMED, Change.WORSE, Change.MIXED, Change.VANISHED})


@dataclass(frozen=True)
class Changed:
    """One row of both runs, or of one that has no partner in the other."""

    change: Change
    a: Row | None
    b: Row | None
    shifts: tuple[Shift, ...] = ()
    """The figures that both have: one a scope."""

    @property
    def row(self) -> Row:
        """B's row, or A's where B has none: for the name of the point."""
        found = self.b if self.b is not None else self.a
        assert found is not None  # one of the two is there by construction
        return found


@dataclass(frozen=True)
class Rows:
    """All changes: those of A's rows in A's order, then B's own in B's order."""

    changes: tuple[Changed, ...]

    def of(self, change: Change) -> list[Changed]:
        """The changes of one kind."""
        return [one for one in self.changes if one.change is change]

    @property
    def counts(self) -> dict[Change, int]:
        """How many rows have each kind of change, every kind present."""
        found = Counter(one.change for one in self.changes)
        return {change: found[change] for change in Change}

    @property
    def paired(self) -> int:
        """Rows that are in both runs."""
        return sum(one.a is not None and one.b is not None for one in self.changes)

    @property
    def got_worse(self) -> bool:
        """Whether anything fails anew, is worse, or is no longer judged."""
        return any(one.change.bad for one in self.changes)


def diff_rows(
    a: Sequence[Row],
    b: Sequence[Row],
    across: Collection[str] = (),
    levels: tuple[str, str] = ("", ""),
) -> Rows:
    """Hold the rows of run B against those of run A.

    Args:
        a: Rows of the first run.
        b: Rows of the second.
        across: What is compared, ``dtype`` or ``mode`` or both, so that rows which differ in it
            are still the same point. Each run has one value of it.
        levels: Level at which each run looked: ``block`` or ``module``, or empty if unknown.

    Returns:
        What became of every row. Rows that share a key (which no run writes) pair in order.
    """
    coarse = _points_of_coarse(a, b, levels)
    pairs = _pairs(a, b, across)
    return Rows(tuple(_changed(x, y, DTYPE in across, coarse) for x, y in pairs))


def key(row: Row, across: Collection[str] = ()) -> Key:
    """What makes a row the same one in another run."""
    dtype = "" if DTYPE in across else row.dtype
    mode = "" if MODE in across else row.mode
    return (row.case, dtype, mode, row.point, str(row.firing))


def _pairs(
    a: Sequence[Row], b: Sequence[Row], across: Collection[str]
) -> Iterator[tuple[Row | None, Row | None]]:
    """A's rows with their partners, then B's that are left."""
    partners: defaultdict[Key, deque[int]] = defaultdict(deque)
    for place, row in enumerate(b):
        partners[key(row, across)].append(place)
    for row in a:
        same = partners[key(row, across)]
        yield row, b[same.popleft()] if same else None
    for place in sorted(place for left in partners.values() for place in left):
        yield None, b[place]


def _points_of_coarse(
    a: Sequence[Row], b: Sequence[Row], levels: tuple[str, str]
) -> frozenset[str] | None:
    """The points of the run that looked at blocks only; ``None`` if both looked alike."""
    if levels not in ((MODULE, BLOCK), (BLOCK, MODULE)):
        return None
    return frozenset(row.point for row in (a if levels[0] == BLOCK else b))


def _changed(
    a: Row | None, b: Row | None, own_gates: bool, coarse: frozenset[str] | None
) -> Changed:
    """Name what became of a row."""
    if a is None or b is None:
        return Changed(_alone(a, b, coarse), a, b)
    moved = shifts(a, b)
    return Changed(_between(a, b, moved, own_gates), a, b, moved)


def _alone(a: Row | None, b: Row | None, coarse: frozenset[str] | None) -> Change:
    """A row without a partner. What the reference has nothing of is a fault by being there."""
    row = a if a is not None else b
    assert row is not None
    if row.verdict is Verdict.EXTRA:
        return Change.FAILING if a is None else Change.PASSING
    if row.verdict is Verdict.ABSENT:
        return Change.UNCHANGED  # nothing was judged, and nothing is
    if coarse is not None and row.point not in coarse:
        return Change.OUTSIDE
    return Change.APPEARED if a is None else Change.VANISHED


def _between(a: Row, b: Row, moved: tuple[Shift, ...], own_gates: bool) -> Change:
    """A row that is in both runs."""
    absent = a.verdict is Verdict.ABSENT, b.verdict is Verdict.ABSENT
    if any(absent):
        return {(True, True): Change.UNCHANGED, (True, False): Change.APPEARED}.get(
            absent, Change.VANISHED
        )
    before, after = _standing(a), _standing(b)
    if after > before:
        return Change.BLAMED if before else Change.FAILING
    if after < before:
        return Change.CLEARED if after else Change.PASSING
    return _moved(moved) or _other(a, b, moved, own_gates)


def _standing(row: Row) -> int:
    """0 passes, 1 suffers from another point, 2 is itself at fault."""
    return 0 if row.verdict is Verdict.PASS else 1 if row.verdict in _SUFFERS else 2


def _moved(moved: tuple[Shift, ...]) -> Change | None:
    """Which way the figures went, if any did."""
    ways = {one.direction for one in moved} - {0}
    if len(ways) == 2:
        return Change.MIXED
    return None if not ways else Change.WORSE if 1 in ways else Change.BETTER


def _other(a: Row, b: Row, moved: tuple[Shift, ...], own_gates: bool) -> Change:
    """What else differs in a row that stands as it did."""
    if a.verdict is not b.verdict:
        return Change.VERDICT
    if a.override != b.override:
        return Change.OVERRIDE
    if not own_gates and any(one.regated for one in moved):
        return Change.GATE
    return Change.UNCHANGED
