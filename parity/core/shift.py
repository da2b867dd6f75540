"""How far a row's figure moved from one run to another, and whether that counts."""

from __future__ import annotations

import math
from dataclasses import dataclass

from parity.core.rows import Comparison, Row

FACTOR = 1.25
"""By so much a figure has to grow or shrink to count.

On CPU the same code on the same versions gives the same bits, so any change there has a cause; but
most causes (another order of summation, a newer kernel) do no harm. On a device a sum may come out
in another order each time. Gates are laid at least this factor above what the faithful port was
measured to reach, so less than this is what they are built to absorb."""
PARITY = 1.0
"""A ratio up to here is as good as the reference itself; what changes below it does not count."""
COUNT = "count"
"""The figure of what is compared for equality: how many elements differ."""


@dataclass(frozen=True)
class Shift:
    """One figure of a row in two runs, A and B."""

    scope: str
    """``local``, ``end_to_end`` or ``equality``."""
    figure: str
    """``whole``, ``row``, ``column`` or ``update``; ``count`` where equality is asked for."""
    ratio_a: float
    """Ratio to the floor; for ``equality`` the elements that differ."""
    ratio_b: float
    gate_a: float
    gate_b: float

    @property
    def use_a(self) -> float:
        """A's ratio in units of its gate; see ``use``."""
        return use(self.ratio_a, self.gate_a)

    @property
    def use_b(self) -> float:
        """B's ratio in units of its gate."""
        return use(self.ratio_b, self.gate_b)

    @property
    def over_a(self) -> bool:
        """Whether A's ratio is over its gate; NaN is."""
        return not self.ratio_a <= self.gate_a

    @property
    def over_b(self) -> bool:
        """Whether B's ratio is over its gate."""
        return not self.ratio_b <= self.gate_b

    @property
    def growth(self) -> float:
        """B's ratio over A's, neither counted as better than the reference's own error.

        Over 1 is worse. The ratio is in units of the reference's own error in the dtype, so that
        it says the same whatever the gates are, and across dtypes.
        """
        return _growth(max(self.ratio_a, PARITY), max(self.ratio_b, PARITY))

    @property
    def regated(self) -> bool:
        """Whether the two runs held this figure to different gates."""
        both_nan = math.isnan(self.gate_a) and math.isnan(self.gate_b)
        return self.gate_a != self.gate_b and not both_nan

    @property
    def direction(self) -> int:
        """1 if B is worse, -1 if it is better, 0 if nothing moved that counts.

        What crosses its gate counts however little it moved, unless it is the gate that moved.
        """
        if self.over_a != self.over_b and not self.regated:
            return 1 if self.over_b else -1
        return int(self.growth > FACTOR) - int(self.growth < 1 / FACTOR)


def shifts(a: Row, b: Row) -> tuple[Shift, ...]:
    """The figures that two rows of one point share: one a scope, the one nearest to its gate.

    Of a comparison's slices the one with the largest use in either run stands for the scope, so
    that the two runs are held against each other in the same figure whichever comes first.
    """
    found = [_worst("local", a.local, b.local), _worst("end_to_end", a.end_to_end, b.end_to_end)]
    if a.mismatches is not None and b.mismatches is not None and not any(found):
        counts = float(a.mismatches), float(b.mismatches)
        found.append(Shift("equality", COUNT, *counts, 0.0, 0.0))
    return tuple(one for one in found if one is not None)


def use(ratio: float, gate: float) -> float:
    """A ratio in units of its gate.

    NaN stays NaN, which is worse than infinity. A gate that is not a number lets nothing pass; at
    a gate of zero (equality) the ratio stands for itself.
    """
    if math.isnan(ratio) or math.isnan(gate):
        return math.nan if math.isnan(ratio) else math.inf
    if math.isinf(ratio) and math.isinf(gate):
        return 1.0 if ratio == gate else math.inf
    return ratio / gate if gate > 0 else max(ratio, 0.0)


def badness(value: float) -> tuple[bool, float]:
    """A key to sort by: NaN above infinity above every number."""
    return (True, 0.0) if math.isnan(value) else (False, value)


def _worst(scope: str, a: Comparison | None, b: Comparison | None) -> Shift | None:
    """The slice that uses most of its gate in either run; the first of equals."""
    if a is None or b is None:
        return None
    pairs = [(name, a.slices[name], b.slices[name]) for name in a.slices if name in b.slices]
    found = [Shift(scope, name, x.ratio, y.ratio, x.gate, y.gate) for name, x, y in pairs]
    return max(found, key=lambda one: max(badness(one.use_a), badness(one.use_b)))


def _growth(a: float, b: float) -> float:
    """``b / a`` for positive values of which NaN is the worst."""
    if badness(a) == badness(b):
        return 1.0
    if math.isnan(a):
        return 0.0
    return math.inf if math.isnan(b) else b / a
