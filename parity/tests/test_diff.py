"""What became of a row, and of a run: every kind of change, from rows made by hand."""

import dataclasses
import math

import pytest

from parity.core.diff import Change, diff_rows
from parity.core.diff_runs import UNRECORDED, diff_runs
from parity.core.rows import GRAPH, Kind, Verdict
from parity.core.shift import FACTOR, Shift, shifts
from parity.tests.diff_rows import made, run_of

GUILTY, VICTIM, DRIFT = Verdict.GUILTY, Verdict.VICTIM, Verdict.DRIFT


def became(a, b, **options):
    """The one change between two runs of at most one row each."""
    found = diff_rows([a] if a else [], [b] if b else [], **options).changes
    assert len(found) == 1
    return found[0].change


LITTLE, MUCH = 2 * FACTOR * 0.99, 2 * FACTOR * 1.01
PAIRS = {
    "same": (made(), made(), Change.UNCHANGED),
    "fails": (made(), made(local=20.0, verdict=GUILTY), Change.FAILING),
    "passes": (made(local=20.0, verdict=GUILTY), made(), Change.PASSING),
    "suffers anew": (made(), made(end=20.0, verdict=VICTIM), Change.FAILING),
    "blamed": (made(end=20.0, verdict=VICTIM), made(local=20.0, verdict=GUILTY), Change.BLAMED),
    "cleared": (made(local=20.0, verdict=GUILTY), made(end=20.0, verdict=VICTIM), Change.CLEARED),
    "missing": (made(), made(local=None, end=None, verdict=Verdict.MISSING), Change.FAILING),
    "worse locally": (made(local=2), made(local=MUCH), Change.WORSE),
    "worse end to end": (made(end=2), made(end=MUCH), Change.WORSE),
    "better": (made(end=MUCH), made(end=2), Change.BETTER),
    "too little": (made(local=2, end=2), made(local=LITTLE, end=LITTLE), Change.UNCHANGED),
    "both ways": (made(local=2, end=MUCH), made(local=MUCH, end=2), Change.MIXED),
    "under the reference": (made(local=0.01), made(local=0.99), Change.UNCHANGED),
    "from under it": (made(local=0.01), made(local=FACTOR * 0.99), Change.UNCHANGED),
    "from under it by much": (made(local=0.01), made(local=FACTOR * 1.01), Change.WORSE),
    "still guilty, worse": (
        made(local=20.0, verdict=GUILTY), made(local=2e6, verdict=GUILTY), Change.WORSE,
    ),
    "still guilty, now over its gate end to end too": (
        made(local=20.0, end=7.9, verdict=GUILTY), made(local=20.0, end=8.1, verdict=GUILTY),
        Change.WORSE,
    ),
    "NaN from infinity": (
        made(local=math.inf, verdict=GUILTY), made(local=math.nan, verdict=GUILTY), Change.WORSE,
    ),
    "NaN as before": (
        made(local=math.nan, verdict=GUILTY), made(local=math.nan, verdict=GUILTY),
        Change.UNCHANGED,
    ),
    "a number again": (
        made(local=math.nan, verdict=GUILTY), made(local=1e9, verdict=GUILTY), Change.BETTER,
    ),
    "another verdict": (
        made(local=None, end=None, verdict=Verdict.SHAPE), made(local=20.0, verdict=GUILTY),
        Change.VERDICT,
    ),
    "victim to drift": (
        made(end=20.0, verdict=VICTIM), made(end=20.0, verdict=DRIFT), Change.VERDICT,
    ),
    "override": (made(), made(override="slow softmax"), Change.OVERRIDE),
    "gate": (made(), made(gate=4.0), Change.GATE),
    "gate and error": (made(local=2), made(local=MUCH, gate=4.0), Change.WORSE),
    "gate under a failing error": (
        made(local=20.0, end=6.0, verdict=GUILTY),
        made(local=20.0, end=6.0, gate=4.0, verdict=GUILTY), Change.GATE,
    ),
    "integers": (
        made(local=None, end=None, kind=Kind.DISCRETE, mismatches=3, verdict=GUILTY),
        made(local=None, end=None, kind=Kind.DISCRETE, mismatches=96, verdict=GUILTY), Change.WORSE,
    ),
    "no integer": (
        made(local=None, end=None, kind=Kind.DISCRETE, mismatches=0),
        made(local=None, end=None, kind=Kind.DISCRETE, mismatches=0), Change.UNCHANGED,
    ),
    "vanished": (made(), None, Change.VANISHED),
    "appeared": (None, made(), Change.APPEARED),
    "a strange row comes": (None, made(verdict=Verdict.EXTRA), Change.FAILING),
    "a strange row goes": (made(verdict=Verdict.EXTRA), None, Change.PASSING),
    "not ported any more": (made(), made(verdict=Verdict.ABSENT), Change.VANISHED),
    "ported now": (made(verdict=Verdict.ABSENT), made(), Change.APPEARED),
    "never ported": (made(verdict=Verdict.ABSENT), made(verdict=Verdict.ABSENT), Change.UNCHANGED),
    "hole that goes": (made(verdict=Verdict.ABSENT), None, Change.UNCHANGED),
}  # fmt: skip


@pytest.mark.parametrize(("a", "b", "change"), PAIRS.values(), ids=PAIRS)
def test_what_became_of_a_row(a, b, change):
    assert became(a, b) is change


def test_every_kind_of_change_is_tried():
    assert {change for _, _, change in PAIRS.values()} == set(Change) - {Change.OUTSIDE}


@pytest.mark.parametrize("field", ["case", "dtype", "mode", "point"])
def test_another_name_is_another_row(field):
    other = dataclasses.replace(made(), **{field: "other"})
    assert [one.change for one in diff_rows([made()], [other]).changes] == [
        Change.VANISHED, Change.APPEARED,
    ]  # fmt: skip


def test_another_firing_is_another_row():
    assert diff_rows([made()], [made(firing=1)]).paired == 0


@pytest.mark.parametrize(("field", "value"), [("dtype", "bf16"), ("mode", GRAPH)])
def test_what_is_compared_is_no_part_of_the_name(field, value):
    other = dataclasses.replace(made(gate=4.0), **{field: value})
    found = diff_rows([made()], [other], across=[field]).changes
    # Dtypes have gates of their own, so another gate says nothing; modes share theirs.
    assert [one.change for one in found] == [
        Change.UNCHANGED if field == "dtype" else Change.GATE,
    ]  # fmt: skip


def test_what_is_inside_blocks_is_left_aside_where_one_run_did_not_look():
    block, inside = made("visual.blocks.0"), made("visual.blocks.0.attn")
    rows = diff_rows([block, inside], [block], levels=("module", "block"))
    assert [one.change for one in rows.changes] == [Change.UNCHANGED, Change.OUTSIDE]
    assert not rows.got_worse
    assert diff_rows([block, inside], [block], levels=("module", "module")).got_worse
    # What the coarser run knows elsewhere, and has not here, did vanish.
    other = dataclasses.replace(block, case="two-images")
    assert diff_rows([block, other], [block], levels=("module", "block")).got_worse


def test_rows_of_one_name_pair_in_order():
    first, second = made(local=2), made(local=4)
    changes = diff_rows([first, second], [first, second, second]).changes
    assert [one.change for one in changes] == [
        Change.UNCHANGED, Change.UNCHANGED, Change.APPEARED,
    ]  # fmt: skip


def test_the_figure_nearest_to_its_gate_in_either_run_stands_for_the_row():
    def with_column(ratio):
        found = made(local=2).local
        column = dataclasses.replace(found.column, ratio=ratio)
        return dataclasses.replace(made(local=2), local=dataclasses.replace(found, column=column))

    (local, _) = shifts(with_column(0.5), with_column(6.0))
    assert (local.figure, local.ratio_a, local.ratio_b) == ("column", 0.5, 6.0)
    (back, _) = shifts(with_column(6.0), with_column(0.5))
    assert (back.figure, back.direction) == ("column", -local.direction)


@pytest.mark.parametrize(
    ("a", "b", "growth"),
    [(2, 8, 4), (8, 2, 0.25), (0, 0.9, 1), (0.5, 3, 3), (3, math.inf, math.inf),
     (math.inf, 3, 0), (math.inf, math.inf, 1), (math.inf, math.nan, math.inf),
     (math.nan, math.inf, 0), (math.nan, math.nan, 1), (1, math.nan, math.inf)],
)  # fmt: skip
def test_growth(a, b, growth):
    assert Shift("local", "row", a, b, 8.0, 8.0).growth == growth


def test_only_what_is_worse_or_gone_makes_a_run_worse():
    worse = {change for change in Change if change.bad}
    assert worse == {
        Change.FAILING, Change.BLAMED, Change.WORSE, Change.MIXED, Change.VANISHED,
    }  # fmt: skip
    for a, b, change in PAIRS.values():
        rows = diff_rows([a] if a else [], [b] if b else [])
        assert rows.got_worse is (change in worse)


def said(a, b, across=()):
    return " ".join(diff_runs(a, b, across).warnings)


def test_equal_runs_need_no_warning():
    run = run_of([made()], gates="CPU-fp32.toml 01", bundles="single-image-fp32-02")
    assert said(run, run) == ""
    assert diff_runs(run, run).facts == ()


@pytest.mark.parametrize(
    ("fact", "a", "b", "words"),
    [
        ("gates", "CPU-fp32.toml 01", "CPU-fp32.toml 02", "gates were changed"),
        ("gates", "CPU-fp32.toml 01", "Ascend-fp32.toml 01", "different gates"),
        ("bundles", "x-fp32-01, y-fp32-01", "x-fp32-01, y-fp32-02", "captured anew for y-fp32"),
        ("bundles", "x-fp32-01 aa, y-fp32-01 bb", "x-fp32-01 aa, y-fp32-01 cc", "for y-fp32:"),
        ("checkpoint", "tiny 01", "qwen2-vl-2b 01", "different models"),
        ("checkpoint", "tiny 01", "tiny 02", "different models"),
        ("level", "module", "block", "inside blocks"),
    ],
)
def test_runs_that_did_not_ask_the_same_say_so(fact, a, b, words):
    rows = [made()]
    assert words in said(run_of(rows, **{fact: a}), run_of(rows, **{fact: b}))
    assert said(run_of(rows, **{fact: a}), run_of(rows, **{fact: a})) == ""


def test_cases_captured_by_one_run_alone_are_no_other_capture():
    assert "anew" not in said(
        run_of([made()], bundles="x-01, y-02"), run_of([made()], bundles="x-01")
    )


@pytest.mark.parametrize(
    ("fact", "old", "new"), [("checkpoint", "tiny", "tiny 01"), ("bundles", "x-01", "x-01 aa")]
)
def test_a_hash_that_an_old_run_did_not_record_is_no_difference(fact, old, new):
    rows = [made()]
    assert said(run_of(rows, **{fact: old}), run_of(rows, **{fact: new})) == ""


def test_of_long_lists_only_what_differs_is_a_fact():
    found = diff_runs(run_of([], bundles="x-01, y-02, z-03"), run_of([], bundles="x-01, y-04"))
    assert [(one.a, one.b) for one in found.facts] == [("y-02, z-03", "y-04")]


@pytest.mark.parametrize("field", ["case", "dtype", "mode"])
def test_what_only_one_run_has_is_said(field):
    other = dataclasses.replace(made(), **{field: "another"})
    facts = diff_runs(run_of([made()]), run_of([other]), [field]).facts if field != "case" else ()
    assert [one.b for one in facts] == ["another"] * len(facts)
    assert "only in B: another" in said(run_of([made()]), run_of([made(), other]))
    across = () if field == "case" else (field,)
    assert ("another" in said(run_of([made()]), run_of([other]), across)) is (field == "case")


def test_a_run_that_failed_a_proof_is_not_trusted():
    sick = run_of([made()])
    sick.invalid.append("hooks change the candidate")
    found = diff_runs(run_of([made()]), sick)
    assert not found.trusted
    assert "Run B" in found.warnings[0]
    assert diff_runs(run_of([made()]), run_of([made()])).trusted


def test_facts_that_explain_stand_first_and_time_last():
    a = run_of([], when="noon", versions={"numpy": "1", "mindspore": "2.9"}, zebra="1", commit="a")
    b = run_of([], when="night", versions={"numpy": "1", "mindspore": "2.10"}, commit="b")
    facts = diff_runs(a, b).facts
    assert [one.name for one in facts] == ["commit", "versions.mindspore", "zebra", "when"]
    assert (facts[1].a, facts[1].b, facts[2].b) == ("2.9", "2.10", UNRECORDED)
    assert [one.always for one in facts] == [False, False, False, True]


def test_what_is_no_longer_compared_makes_it_worse():
    less = run_of([made()])
    less.not_compared.append("odd-video in bf16: no cache")
    assert diff_runs(run_of([made()]), less).lost == ("odd-video in bf16: no cache",)
    assert diff_runs(run_of([made()]), less).got_worse
    back = diff_runs(less, run_of([made()]))
    assert (back.regained, back.got_worse) == (("odd-video in bf16: no cache",), False)
