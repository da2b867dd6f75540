"""What the page says: the verdict, the point to look at, honest counts, the order of things."""

import dataclasses
import math

import pytest

from parity.core.arithmetic import Arithmetic
from parity.core.rows import Kind, RunResult, Slice, Verdict
from parity.report.anchors import anchor, anchors
from parity.report.figures import use_of_gate, worst_of
from parity.report.text import clean, number, pair, plural
from parity.report.view import view
from parity.report.words import MEANINGS, meaning
from parity.tests.report_runs import (
    CASES,
    GATES,
    GUILTY_POINT,
    case_rows,
    comparison,
    failing,
    odd_numbers,
    passing,
    row,
)  # fmt: skip


def test_a_passing_run_says_so_and_what_is_nearest_to_failing():
    page = view(passing())
    assert page.headline.passed
    assert page.headline.title == "PASSED: 1,752 rows - parity"
    assert page.headline.culprit is None
    assert "1,752 of 1,752 rows compared, in 8 cases and 3 dtypes" in page.headline.detail
    assert "Nearest to its gate" in page.headline.detail
    assert all(one.passed for one in page.panels)


def test_a_failing_run_names_the_first_guilty_point_with_its_numbers():
    page = view(failing())
    head = page.headline
    assert (head.passed, head.word) == (False, "FAILED")
    assert head.title == f"FAILED: {GUILTY_POINT} GUILTY - parity"
    assert head.sentence == f"First guilty: {GUILTY_POINT} in two-images, fp32."
    assert head.culprit.row.local.text == "5,211 / 8"
    assert head.culprit.row.local.where == "worst token 17"
    assert head.culprit.row.end.text == "1,480 / 8"
    assert "not rounding" in head.culprit.next


def test_a_run_without_rows_fails():
    page = view(RunResult([]))
    assert page.headline.title == "FAILED: nothing compared - parity"
    assert page.headline.sentence == "Nothing was compared, so nothing is known."
    assert not page.panels


def test_what_was_left_out_fails_the_run():
    page = view(RunResult(passing().rows, {}, ["decoding in bf16: no device"]))
    assert page.headline.title == "FAILED: 1 not compared - parity"
    assert page.not_compared == ("decoding in bf16: no device",)


def test_a_failed_proof_makes_every_verdict_doubtful():
    page = view(RunResult(passing().rows, invalid=["the candidate does not repeat itself"]))
    head = page.headline
    assert (head.word, head.passed) == ("INVALID", False)
    assert head.title == "INVALID: 1 proof failed - parity"
    assert head.sentence.startswith("1 proof of the run itself failed")
    assert head.detail.startswith("Not to be trusted: ")
    assert page.invalid == ("the candidate does not repeat itself",)


def test_victims_alone_are_not_called_guilty():
    head = view(RunResult([row(0, "a", Verdict.VICTIM)])).headline
    assert head.sentence.startswith("VICTIM: a in")
    assert not head.culprit.own_fault


def test_every_verdict_is_counted_also_those_nobody_got():
    result = failing()
    counts = {one.verdict: one.count for one in view(result).counts}
    assert counts == result.counts
    assert set(counts) == {verdict.value for verdict in Verdict}
    assert sum(counts.values()) == len(result.rows)


def test_every_verdict_has_a_meaning_and_a_next_step():
    assert set(MEANINGS) == set(Verdict)
    assert all(known.means and known.next for known in MEANINGS.values())


def test_guilty_rows_come_first_and_then_run_order():
    page = view(failing())
    ranks = [
        ("GUILTY", "MISSING", "DRIFT", "VICTIM", "PASS").index(one.verdict) for one in page.rows
    ]
    assert ranks == sorted(ranks)
    for rank in set(ranks):
        places = [one.number for one, own in zip(page.rows, ranks, strict=True) if own == rank]
        assert places == sorted(places)
    assert sorted(one.number for one in page.rows) == list(range(len(page.rows)))


def test_panels_with_something_guilty_come_first():
    page = view(failing())
    assert len(page.panels) == len(CASES) * len(GATES)
    outcomes = ["GUILTY" in one.outcome for one in page.panels]
    assert outcomes == sorted(outcomes, reverse=True)
    passed = [one.passed for one in page.panels]
    assert passed == sorted(passed)


def test_a_panel_holds_both_series_in_execution_order():
    rows = case_rows("a", "fp32", GUILTY_POINT)
    drawn = view(RunResult(rows[::-1])).panels[0]
    assert [point.name.split(" ")[0] for point in drawn.points] == [one.point for one in rows]
    at = [point.name for point in drawn.points].index(GUILTY_POINT)
    assert drawn.points[at].local == pytest.approx(rows[at].local.row.ratio / 8)
    assert drawn.points[at].end == pytest.approx(rows[at].end_to_end.row.ratio / 8)
    assert drawn.points[0].local == 0
    assert [band.stage for band in drawn.bands] == [
        "preprocessing", "vision", "positions", "text", "decoding",
    ]  # fmt: skip
    assert drawn.bands[-1].stop == len(rows)


def test_a_victim_links_to_the_point_that_caused_it():
    page = view(failing())
    guilty = {(one.case, one.dtype): one.anchor for one in page.rows if one.verdict == "GUILTY"}
    victims = [one for one in page.rows if one.verdict == "VICTIM"]
    assert victims
    assert all(one.cause_anchor == guilty[one.case, one.dtype] for one in victims)


def test_a_victim_shows_its_end_to_end_difference_and_the_guilty_its_local_one():
    rows = {one.verdict: one for one in view(failing()).rows}
    assert rows["VICTIM"].difference.where == "[0, 17, 201] end to end"
    assert rows["GUILTY"].difference.where == "[0, 17, 201]"


def test_odd_numbers_are_written_in_words():
    rows = {one.point: one for one in view(odd_numbers()).rows}
    assert rows["input_ids"].local.text == "3 of 96 differ"
    assert not rows["input_ids"].local.ok
    assert rows["a"].local.text == "NaN / 8"
    assert not rows["a"].local.ok
    assert rows["a"].notes == (
        "12 values not finite", "1 value not finite in the reference",
        "values at the end of the dtype's range: 2 in the reference, 7 here",
    )  # fmt: skip
    assert rows["b"].notes == ()
    assert rows["b"].local.text == "0 / 0"
    assert rows["b"].local.ok
    assert rows["b"].end.text == "inf / 8"
    assert rows["d"].notes == ("shape [1, 256, 320] became [1, 255, 320]",)
    assert "e (firing 2)" in rows


def test_rows_that_compared_nothing_are_not_counted_as_compared():
    page = view(odd_numbers())
    assert page.headline.detail.startswith("4 of 6 rows compared")
    assert page.groups[0].compared == 4


def test_padding_left_out_is_said():
    rows = case_rows("left-padded-batch", "fp32")
    assert view(RunResult(rows)).rows[0].notes == ("3 padding tokens left out",)


def test_provenance_is_grouped_the_run_itself_first():
    page = view(RunResult([], {"a": {"b": 1, "c": {"d": None}}, "e": [1, "x"], "f": {}}))
    assert [(one.title, one.entries) for one in page.provenance] == [
        ("Run", (("e", "1, x"),)), ("A", (("b", "1"), ("c.d", "None"))),
    ]  # fmt: skip
    assert view(RunResult([])).provenance == ()


def test_anchors_do_not_depend_on_the_run_and_are_unique():
    rows = passing().rows
    names = list(anchors(rows))
    assert len(set(names)) == len(rows)
    assert list(anchors(rows[::-1])) == names[::-1]
    assert list(anchors([rows[0], rows[0]])) == [anchor(rows[0]), f"{anchor(rows[0])}-2"]
    changed = dataclasses.replace(rows[0], verdict=Verdict.GUILTY, message="other", order=9)
    assert anchor(changed) == anchor(rows[0])
    assert anchor(dataclasses.replace(rows[0], firing=1)) != anchor(rows[0])


@pytest.mark.parametrize(
    ("ratio", "gate", "expected"),
    [(4, 8, 0.5), (8, 8, 1), (16, 8, 2), (0, 0, 0), (1e-9, 0, math.inf), (math.nan, 8, math.inf),
     (math.inf, 8, math.inf), (1, math.nan, math.inf), (math.inf, math.inf, 1)],
)  # fmt: skip
def test_use_of_the_gate_is_over_one_exactly_where_the_slice_fails(ratio, gate, expected):
    figure = Slice(ratio, 0, 0, gate)
    assert use_of_gate(figure) == expected
    assert (use_of_gate(figure) <= 1) == figure.ok


def test_the_worst_figure_is_the_one_nearest_to_its_own_gate():
    found = dataclasses.replace(
        comparison(4.0), whole=Slice(3, 0, 0, 2), row=Slice(90, 0, 0, 100, 5), column=None
    )
    assert worst_of(found).name == "whole"
    broken = dataclasses.replace(found, row=Slice(math.nan, 0, 0, 100, 5))
    assert (worst_of(broken).name, worst_of(broken).where) == ("row", "worst token 5")


def test_the_next_step_depends_on_the_size_of_the_error():
    near = row(0, "a", Verdict.GUILTY, local=comparison(12.0))
    far = row(0, "a", Verdict.GUILTY, local=comparison(1e5))
    exact = row(0, "a", Verdict.GUILTY, kind=Kind.DISCRETE, local=None, mismatches=1)
    assert "precision first" in meaning(near).next
    assert "not rounding" in meaning(far).next
    assert "index arithmetic" in meaning(exact).next


def test_a_point_that_a_kernel_accounts_for_asks_for_an_override():
    coarse = row(0, "a", Verdict.GUILTY, local=comparison(12.0), kernel="exp: 25 times")
    assert "kernel" in meaning(coarse).means
    assert "override" in meaning(coarse).next
    assert "override" not in meaning(row(0, "a", Verdict.GUILTY, local=comparison(12.0))).next


def test_a_point_that_another_arithmetic_accounts_for_asks_for_the_switch():
    used = Arithmetic("HF32", 0.99, 1e-4, 1e-4)
    told = meaning(row(0, "a", Verdict.GUILTY, local=comparison(200.0), arithmetic=used))
    assert "switch" in told.next
    assert "wrong formula" not in told.next
    passing = row(0, "a", local=comparison(0.5), arithmetic=used)
    assert meaning(passing) == MEANINGS[Verdict.PASS], "it explains, and excuses nothing"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (-0.0, "0"), (1.0, "1"), (8.0, "8"), (1.2345, "1.23"), (31.27, "31.3"),
     (5211.9, "5,212"), (123456.0, "1.2e5"), (0.00102, "0.00102"), (3.14e-7, "3.1e-7"),
     (-2.5, "-2.5"), (100.0, "100"), (math.nan, "NaN"), (math.inf, "inf"), (-math.inf, "-inf")],
)  # fmt: skip
def test_numbers_are_short(value, text):
    assert number(value) == text


def test_two_values_are_told_apart_where_they_differ():
    assert pair(0.5, 0.75) == ("0.5", "0.75")
    assert pair(0.73125401, 0.73125402) == ("0.73125401", "0.73125402")
    assert pair(1.0, 1.0) == ("1", "1")
    assert plural(1, "row") == "1 row"
    assert plural(3000, "row") == "3,000 rows"


def test_text_is_made_safe_to_show():
    assert clean("a\x1b[31mb") == "a\ufffd[31mb"
    assert clean("a\u202eb\ud800") == "a\ufffdb\ufffd"
    assert clean("a\n b\t c") == "a b c"
    assert clean("שלום") == "שלום"
    long = clean("x" * 5000 + "end")
    assert len(long) == 160
    assert long.endswith("xend")


def test_a_run_in_several_dtypes_has_a_line_for_each():
    result = passing()
    page = view(result)
    assert [one.dtype for one in page.dtypes] == list(dict.fromkeys(r.dtype for r in result.rows))
    assert all(one.passed and one.passing == one.rows for one in page.dtypes)
    assert sum(one.rows for one in page.dtypes) == len(result.rows)
    broken = view(failing())
    worst = {one.dtype: one.local for one in broken.dtypes}
    assert all(most.point == GUILTY_POINT for most in worst.values())
    assert not any(most.figure.ok for most in worst.values())
    assert not any(one.passed for one in broken.dtypes)


def test_a_run_in_one_dtype_or_none_has_no_line_for_it():
    one = RunResult([row for row in passing().rows if row.dtype == "fp32"])
    assert view(one).dtypes == ()
    assert view(RunResult([])).dtypes == ()


def test_graph_mode_is_a_dtype_of_its_own_and_says_what_it_cannot_see():
    rows = [dataclasses.replace(row, mode="graph") for row in passing().rows]
    page = view(RunResult(rows))
    assert {one.dtype for one in page.dtypes} == {f"{row.dtype} graph" for row in rows}
    assert "nothing inside it is declared" in page.headline.detail
    assert "nothing inside it is declared" not in view(passing()).headline.detail
