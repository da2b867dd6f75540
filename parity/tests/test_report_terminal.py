"""The summary in the terminal: what failed, by how much, what to do, in lines of 100."""

import dataclasses
from pathlib import Path

import pytest

from parity.core.rows import RunResult, Verdict
from parity.report.terminal import summary_lines, verdict_line
from parity.tests.report_runs import (
    GUILTY_POINT,
    big,
    failing,
    odd_numbers,
    passing,
    row,
)  # fmt: skip

PAGE = Path("reports/latest/index.html")


def test_a_failing_run():
    lines = summary_lines(failing(), PAGE)
    assert lines[0] == f"parity FAILED: First guilty: {GUILTY_POINT} in two-images, fp32."
    (case,) = [line for line in lines if line.startswith("two-images") and "fp32" in line]
    assert case.split() == ["two-images", "fp32", "73/73", "14", "1", "58", "0",
                            "5,211", "/", "8", GUILTY_POINT]  # fmt: skip
    text = "\n".join(lines)
    assert f"GUILTY {GUILTY_POINT} (two-images, fp32, vision)" in text
    assert "local      ratio 5,211 / 8, worst token 17: over the gate" in text
    assert "end to end ratio 1,480 / 8, worst token 17: over the gate" in text
    assert "reference 0.731254, candidate 0.732869" in text
    assert "meaning: " in text
    assert "next: " in text
    assert "not compared (1):" in text
    assert lines[-1] == f"report: {PAGE}"


@pytest.mark.parametrize(
    ("result", "line"),
    [
        (passing(), "PASSED: 1,752 of 1,752 rows compared, 1,752 PASS"),
        (RunResult([]), "FAILED: 0 of 0 rows compared, 0 PASS"),
        (RunResult([row(0, "a")], not_compared=["x"], invalid=["y"]),
         "INVALID: 1 of 1 row compared, 1 PASS, 1 not compared"),
        (RunResult([row(0, "a"), row(1, "b\n::error::\x1b[2J", Verdict.GUILTY, case="c\nd")]),
         "FAILED: 2 of 2 rows compared, 1 GUILTY, 1 PASS; first GUILTY: b ::error::\ufffd[2J "
         "in c d, fp32"),
    ],
)  # fmt: skip
def test_the_verdict_is_one_line_whatever_the_names(result, line):
    assert verdict_line(result) == f"parity verdict: {line}"
    assert verdict_line(result, PAGE) == f"parity verdict: {line}; {PAGE}"


def test_a_passing_run_is_short():
    lines = summary_lines(passing(), PAGE)
    assert lines[0].startswith("parity PASSED")
    assert not any("next:" in line for line in lines)
    assert sum("73/73" in line for line in lines) == 24


def test_an_empty_run_fails():
    lines = summary_lines(RunResult([]), None)
    assert lines[0] == "parity FAILED: Nothing was compared, so nothing is known."
    assert not any(line.startswith("report:") for line in lines)


@pytest.mark.parametrize("make", [passing, failing, odd_numbers, big, lambda: RunResult([])])
def test_lines_are_plain_and_at_most_a_hundred_wide(make):
    for line in summary_lines(make(), PAGE):
        assert len(line) <= 100, line
        assert line == line.rstrip()
        assert line.isascii()


def test_hostile_names_move_no_cursor_and_keep_the_width():
    evil = "\x1b[2Jx\r\n\u202e" + "y" * 10_000
    rows = [row(0, evil, Verdict.GUILTY, case=evil, dtype=evil, message=evil, stage=evil)]
    lines = summary_lines(RunResult(rows, {}, [evil]), PAGE)
    assert all(len(line) <= 100 for line in lines)
    assert all(letter.isprintable() for line in lines for letter in line)


def test_a_discrete_mismatch_says_how_many_differ():
    assert "  equality   3 elements differ" in summary_lines(odd_numbers(), None)


def test_a_long_list_of_what_was_left_out_is_cut_and_says_so():
    lines = summary_lines(RunResult([], {}, [f"case {n}" for n in range(14)]), None)
    assert "not compared (14):" in lines
    assert "  and 4 more, in the report" in lines


def test_failed_proofs_come_first():
    lines = summary_lines(RunResult([row(0, "a")], invalid=["looking changes it"]), None)
    assert lines[0].startswith("parity INVALID: 1 proof of the run itself failed")
    assert lines[1] == "  - looking changes it"
    assert lines[2].startswith("  Not to be trusted: 1 of 1 row")


def test_what_to_try_stands_under_the_culprit():
    result = failing()
    text = "tanh GELU instead of erf GELU: matches the candidate to 5e-08"
    tried = [
        dataclasses.replace(one, suggestions=(text, "\x1b[2J"))
        if one.verdict is Verdict.GUILTY
        else one
        for one in result.rows
    ]
    lines = summary_lines(dataclasses.replace(result, rows=tried))
    place = lines.index(f"  what to try: {text}")
    assert place > next(n for n, line in enumerate(lines) if line.startswith("GUILTY"))
    assert not any("what to try" in line for line in summary_lines(result))
    assert "\x1b" not in "".join(lines)


def test_a_missing_point_is_described_without_figures():
    gone = dataclasses.replace(
        row(0, "lm_head", Verdict.MISSING), local=None, end_to_end=None, message="Fired 0 times."
    )
    lines = summary_lines(RunResult([gone]), None)
    assert lines[0] == "parity FAILED: First at fault (MISSING): lm_head in single-image, fp32."
    assert "  Fired 0 times." in lines
    assert any("0/1" in line for line in lines)


def test_overridden_rows_are_counted():
    run = passing()
    assert "overridden" not in "\n".join(summary_lines(run))
    for number in (0, 5, 7):
        run.rows[number] = dataclasses.replace(run.rows[number], override="a coarse kernel")
    assert "; 3 overridden" in " ".join("\n".join(summary_lines(run)).split())


def test_gates_of_another_device_are_told_at_once():
    run = passing()
    assert "Gates:" not in "\n".join(summary_lines(run))
    run.provenance["gates note"] = "measured on CPU, none on Ascend yet"
    head = " ".join(" ".join(summary_lines(run)[:6]).split())
    assert "Gates: measured on CPU, none on Ascend yet." in head
