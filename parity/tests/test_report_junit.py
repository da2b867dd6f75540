"""JUnit XML: it fails exactly if the run does, and holds any name."""

import dataclasses
from xml.etree import ElementTree

import junitparser
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parity.core.rows import RunResult, Verdict
from parity.report.junit import legal, to_junit
from parity.report.write import write_report
from parity.tests.report_runs import GUILTY_POINT, case_rows, failing, hostile, passing, row


def read(result):
    """The file as junitparser reads it: name to testcases of every suite."""
    found = junitparser.JUnitXml.fromstring(to_junit(result))
    return {suite.name: list(suite) for suite in found}


def bad(suites):
    return [
        case
        for cases in suites.values()
        for case in cases
        if any(isinstance(one, (junitparser.Failure, junitparser.Error)) for one in case.result)
    ]


def test_a_suite_a_case_and_dtype_and_a_test_a_row():
    rows = [*case_rows("a", "fp32"), *case_rows("b", "bf16")]
    suites = read(RunResult(rows))
    assert list(suites) == ["a.fp32", "b.bf16"]
    names = [case.name for case in suites["a.fp32"]]
    assert names[0] == "input_ids"
    assert names[-1] == "step.5.logits (firing 5)"
    assert {case.classname for case in suites["b.bf16"]} == {"b.bf16"}
    assert bad(suites) == []


def test_the_guilty_fails_and_its_victims_are_skipped():
    suites = read(RunResult(case_rows("a", "fp32", GUILTY_POINT)))
    (guilty,) = bad(suites)
    assert guilty.name == GUILTY_POINT
    (result,) = guilty.result
    assert result.type == "GUILTY"
    assert result.message.startswith("On clean inputs token 17 is off")
    skipped = [case for case in suites["a.fp32"] if case.is_skipped]
    assert len(skipped) > 40
    assert skipped[0].result[0].message.startswith(f"VICTIM of {GUILTY_POINT}")


def test_a_victim_whose_cause_is_not_there_fails():
    alone = row(0, "lm_head", Verdict.VICTIM)
    assert [case.name for case in bad(read(RunResult([alone])))] == ["lm_head"]


def test_totals_are_what_is_in_it():
    root = ElementTree.fromstring(to_junit(failing()))  # noqa: S314  # our own
    for element in [root, *root]:
        cases = list(element.iter("testcase"))
        assert int(element.get("tests")) == len(cases)
        assert int(element.get("failures")) == sum(one.find("failure") is not None for one in cases)
        assert int(element.get("errors")) == sum(one.find("error") is not None for one in cases)
    assert int(root.get("failures")) > 0
    assert int(root.get("errors")) == 1, "what was not compared"


def absent():
    return [
        dataclasses.replace(one, verdict=Verdict.ABSENT, local=None, end_to_end=None)
        for one in case_rows("a", "fp32")
    ]


@pytest.mark.parametrize(
    ("result", "failures"),
    [
        (RunResult([]), 1),
        (RunResult(absent()), 1),
        (RunResult(case_rows("a", "fp32"), not_compared=["x: no cache"]), 1),
        (RunResult(case_rows("a", "fp32"), invalid=["hooks change", "and more"]), 2),
        (passing(), 0),
    ],
)
def test_a_run_that_fails_without_a_failing_row_fails_here_too(result, failures):
    assert len(bad(read(result))) == failures
    assert result.passed == (failures == 0)


texts = st.text(max_size=40) | st.sampled_from(
    [
        "]]>",
        "<!--",
        "&amp;",
        "\x00\x1b[2J",
        "\ud800",
        "\ufffe\uffff",
        "\u202e",
        "x" * 10_000,
        "\r\n",
    ]
)


@settings(max_examples=60, deadline=None)
@given(texts, texts, texts, st.sampled_from(list(Verdict)), st.lists(texts, max_size=2))
def test_any_text_survives_and_the_outcome_with_it(case, point, message, verdict, left_out):
    one = row(0, point, verdict, case=case, message=message, cause=None)
    result = RunResult([one], not_compared=left_out)
    suites = read(result)
    assert (bad(suites) == []) == result.passed
    (test,) = next(iter(suites.values()))
    assert test.name == legal(point)


@given(st.text())
def test_what_xml_can_hold_stays_and_nothing_else(text):
    kept = legal(text)
    assert len(kept) == len(text)
    holder = ElementTree.Element("a")
    holder.text = kept
    again = ElementTree.fromstring(ElementTree.tostring(holder))  # noqa: S314  # our own
    assert (again.text or "") == kept.replace("\r\n", "\n").replace("\r", "\n")


def test_the_file_of_a_report_with_hostile_names_can_be_read(tmp_path):
    write_report(hostile(), tmp_path / "report")
    found = junitparser.JUnitXml.fromfile(str(tmp_path / "report" / "junit.xml"))
    assert found.failures == 9
    assert "<script>" in next(c.name for suite in found for c in suite if "script" in c.name)
