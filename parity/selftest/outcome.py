"""What a method says about one run, and whether that is where the fault is."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from parity.core.points import Point
from parity.core.rows import Row, Verdict


@dataclass(frozen=True)
class Outcome:
    """A method's accusation in one run."""

    first: str | None
    """The point that it blames first; ``None`` if it sees nothing wrong."""
    exact: bool
    """Whether that is the fault's own point, or the smallest module around it."""
    beyond: int
    """How many points it blames that are neither."""

    @property
    def detected(self) -> bool:
        """Whether it noticed anything."""
        return self.first is not None


def blamed(rows: Iterable[Row]) -> list[str]:
    """The points that the harness itself charges, in execution order, each once."""
    innocent = (Verdict.PASS, Verdict.VICTIM)
    return list(dict.fromkeys(row.point for row in rows if row.verdict not in innocent))


def outcome(names: Sequence[str], right: Collection[str]) -> Outcome:
    """Judge an accusation.

    Args:
        names: the points that a method blames, the first one being where it says to look.
        right: the points that stand for the fault, see `own`; none for a faithful port.
    """
    if not names:
        return Outcome(None, False, 0)
    return Outcome(names[0], names[0] in right, sum(name not in right for name in names))


def own(truth: str, points: Sequence[Point]) -> set[str]:
    """Points that stand for the fault at ``truth``.

    Itself, the other results of the same module (the cosines and sines of one table), and the
    smallest module around it that is a point.
    """
    by_name = {point.name: point for point in points}
    point = by_name[truth]
    found = {truth}
    if point.module and not point.is_input:
        found |= {p.name for p in points if p.module == point.module and not p.is_input}
    path = truth.rpartition(".")[0]
    while path:
        if path in by_name and by_name[path].module == path:
            return found | {path}
        path = path.rpartition(".")[0]
    return found
