"""What holds of any two runs: nothing differs from itself, and exchanging them exchanges signs."""

from __future__ import annotations

import dataclasses
import math
import random
from collections import Counter
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parity.core.diff import Change, Rows, diff_rows
from parity.core.rows import GRAPH, PYNATIVE, Kind, Row, Verdict
from parity.core.shift import Shift
from parity.tests.diff_rows import made

MIRROR = {
    Change.FAILING: Change.PASSING,
    Change.BLAMED: Change.CLEARED,
    Change.WORSE: Change.BETTER,
    Change.VANISHED: Change.APPEARED,
}
MIRROR |= {other: one for one, other in MIRROR.items()}
RATIOS = [0.0, 0.3, 1.0, 1.2, 1.3, 7.9, 8.1, 40.0, 1e6, math.inf, math.nan]


def any_row(choose: random.Random) -> Row:
    """A row of few possible names, so that rows meet, with any verdict and any figures."""
    found = made(
        choose.choice(["visual.merger", "visual.blocks.0", "visual.blocks.0.attn"]),
        local=choose.choice([None, *RATIOS]), end=choose.choice([None, *RATIOS]),
        verdict=choose.choice(list(Verdict)),
        gate=choose.choice([8.0, 8.0, 2.0, 0.0, math.inf, math.nan]),
        kind=choose.choice([Kind.FLOAT, Kind.DISCRETE]), firing=choose.choice([0, 0, 0, 1]),
        mismatches=choose.choice([None, 0, 1, 3]), override=choose.choice([None, "why"]),
    )  # fmt: skip
    case, dtype = choose.choice("xy"), choose.choice(["fp32", "bf16"])
    mode = choose.choice([PYNATIVE, GRAPH])
    return dataclasses.replace(found, case=case, dtype=dtype, mode=mode)


POOL = [any_row(random.Random(seed)) for seed in range(600)]
runs = st.lists(st.sampled_from(POOL), max_size=20)
levels = st.sampled_from([("module", "block"), ("block", "module"), ("module", "module"), ("", "")])
compared = st.sampled_from([(), ("dtype",), ("mode",), ("dtype", "mode")])


def identities(rows: Iterable[Row | None]) -> Counter[int]:
    return Counter(id(row) for row in rows if row is not None)


def accounts_for_all(a: list[Row], b: list[Row], found: Rows) -> bool:
    """Whether every row of both runs is in exactly one change."""
    whole = all(one.a is not None or one.b is not None for one in found.changes)
    mine = identities(one.a for one in found.changes) == identities(a)
    return whole and mine and identities(one.b for one in found.changes) == identities(b)


def mirrors(there: Rows, back: Rows) -> bool:
    """Whether one is the other with the runs, and worse and better, exchanged."""
    return Counter((id(one.a), id(one.b), one.change) for one in there.changes) == Counter(
        (id(one.b), id(one.a), MIRROR.get(one.change, one.change)) for one in back.changes
    )


@settings(max_examples=60, deadline=None)
@given(runs, compared)
def test_nothing_differs_from_itself(run, across):
    found = diff_rows(run, run, across)
    assert found.counts[Change.UNCHANGED] == len(run)
    assert not found.got_worse


@settings(max_examples=100, deadline=None)
@given(runs, runs, compared, levels)
def test_any_two_runs(a, b, across, seen):
    """Every row is accounted for exactly once, and the other way round the signs are exchanged."""
    found = diff_rows(a, b, across, seen)
    assert accounts_for_all(a, b, found)
    assert mirrors(found, diff_rows(b, a, across, seen[::-1]))


def test_the_rows_above_show_every_change():
    """The properties would hold of rows that never meet, too."""
    both_ways = [(POOL[:300], POOL[300:]), (POOL[:3], POOL[3:]), (POOL[1:], POOL[:1])]
    seen = {one.change for a, b in both_ways
            for one in diff_rows(a, b, (), ("module", "block")).changes}  # fmt: skip
    assert seen == set(Change)


def test_a_row_left_out_would_be_seen():
    a, b = POOL[:10], POOL[10:20]
    found = diff_rows(a, b)
    assert accounts_for_all(a, b, found)
    assert not accounts_for_all(a, b, Rows(found.changes[1:]))
    assert not accounts_for_all(a, b, Rows((*found.changes, found.changes[0])))


@pytest.mark.parametrize(
    "wrong",
    [
        lambda shift: int(not shift.ratio_b <= shift.ratio_a),
        lambda shift: int(shift.ratio_b > shift.ratio_a) - int(shift.ratio_b < shift.ratio_a) or 1,
        lambda shift: -1 if math.isnan(shift.ratio_b) else shift.growth > 1,
    ],
)
def test_a_sign_that_is_forgotten_would_be_seen(monkeypatch, wrong):
    monkeypatch.setattr(Shift, "direction", property(wrong))
    assert not mirrors(diff_rows(POOL, POOL[::-1]), diff_rows(POOL[::-1], POOL))
