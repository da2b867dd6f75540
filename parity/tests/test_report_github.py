"""What GitHub is told: annotations that are one command each, and a summary that is no markup."""

import dataclasses
import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from parity.core.rows import RunResult, Verdict
from parity.core.sources import Source
from parity.report.github import (
    MOST,
    SUMMARY_ROOM,
    append_summary,
    command,
    github_lines,
    source_annotations,
)
from parity.report.markdown import SUMMARY_LIMIT, to_markdown
from parity.report.markup import code, escaped, fenced
from parity.report.text import clean
from parity.tests.report_runs import (
    GUILTY_POINT,
    case_rows,
    failing,
    hostile,
    odd_numbers,
    passing,
    row,
)

SOURCE = Source("VisionAttention", "qwen2vl_ms/vision.py", 171)
COMMAND = re.compile(r"::(\w+) ([^:]*)::(.*)", re.DOTALL)


def parsed(line):
    """Properties and message of a command, as GitHub's runner reads them."""
    kind, properties, message = COMMAND.fullmatch(line).groups()
    assert kind == "error"
    pairs = (pair.partition("=")[::2] for pair in properties.split(","))
    return {name: undone(value, "%3A", "%2C") for name, value in pairs}, undone(message)


def undone(text, *more):
    for escape in ("%0D", "%0A", *more, "%25"):
        text = text.replace(escape, bytes.fromhex(escape[1:]).decode())
    return text


def test_the_source_line_of_what_is_guilty_is_marked_once():
    rows = [*case_rows("a", "fp32", GUILTY_POINT), *case_rows("b", "fp32", GUILTY_POINT)]
    (line,) = source_annotations(RunResult(rows, sources={GUILTY_POINT: SOURCE}))
    properties, message = parsed(line)
    assert properties == {
        "file": "qwen2vl_ms/vision.py", "line": "171", "title": f"GUILTY: {GUILTY_POINT}",
    }  # fmt: skip
    assert message.startswith("in a, fp32 and 1 more row: On clean inputs token 17 is off")


def test_what_to_try_is_said():
    guilty = row(0, "x", Verdict.GUILTY, suggestions=("erf GELU: matches", "tanh GELU: matches"))
    _, message = parsed(source_annotations(RunResult([guilty]))[0])
    assert message.splitlines()[1:] == [
        "what to try: erf GELU: matches", "what to try: tanh GELU: matches",
    ]  # fmt: skip


def test_without_a_source_the_annotation_is_the_job_s():
    rows = case_rows("a", "fp32", GUILTY_POINT)
    for sources in ({}, {GUILTY_POINT: Source(reference_class="Qwen2VLVisionAttention")}):
        (line,) = source_annotations(RunResult(rows, sources=sources))
        assert list(parsed(line)[0]) == ["title"]


@pytest.mark.parametrize("count", [MOST - 1, MOST, MOST + 1, 200])
def test_there_are_never_more_than_github_shows(count):
    found = source_annotations(RunResult([row(n, f"p{n}", Verdict.GUILTY) for n in range(count)]))
    assert len(found) == min(count, MOST)
    more = "2 more points" if count == MOST + 1 else "191 more points"
    assert (more in found[-1]) == (count > MOST)


@pytest.mark.parametrize(
    ("result", "said"),
    [
        (RunResult([]), "Nothing was compared"),
        (RunResult(case_rows("a", "fp32"), not_compared=["x"]), "could not be compared"),
        (RunResult(case_rows("a", "fp32", GUILTY_POINT), invalid=["x"]), "can be trusted"),
        (RunResult(case_rows("a", "fp32", drift=True)), "DRIFT"),
    ],
)
def test_every_failed_run_says_why(result, said):
    (line,) = source_annotations(result)
    assert said in line


def test_a_passing_run_says_nothing():
    assert source_annotations(passing()) == []


texts = st.text(max_size=60) | st.sampled_from(
    ["a::b", "%", "%0A", "%25", "a,file=x", "\r\n::error::x", "::set-output name=a::b", "||"]
)


@settings(max_examples=60, deadline=None)
@given(texts, texts, texts)
def test_no_text_ends_a_command_or_begins_another(title, message, file):
    line = command(title, message, Source(candidate_file=file, candidate_line=3))
    assert "\n" not in line
    assert "\r" not in line
    properties, said = parsed(line)
    assert properties == {"file": file, "line": "3", "title": title}
    assert said == message


def inline(text):
    """Types of everything inline in a Markdown text, and the text and code that it shows."""
    tokens = MarkdownIt("commonmark", {"html": True}).enable("table").parse(text)
    children = [child for one in tokens for child in one.children or ()]
    return tokens, children


@settings(max_examples=60, deadline=None)
@given(texts | st.text("`*_[](){}<>#+-.!|~&@:\\/ \t1a", max_size=40))
def test_an_escaped_text_is_text(text):
    tokens, children = inline(f"said {escaped(text)}")
    assert [one.type for one in tokens] == ["paragraph_open", "inline", "paragraph_close"]
    assert {one.type for one in children} <= {"text", "text_special"}
    assert "".join(one.content for one in children).split() == f"said {clean(text)}".split()


@settings(max_examples=60, deadline=None)
@given(texts | st.text("`| \\a<", max_size=30))
def test_a_name_is_one_cell_of_code(text):
    tokens, children = inline(f"| a | b |\n| --- | --- |\n| {code(text)} | 7 |\n")
    assert sum(one.type == "td_open" for one in tokens) == 2
    shown = [one for one in children if one.type == "code_inline"]
    assert len(shown) == 1
    assert shown[0].content.strip() == (clean(text).strip() or "-").strip()


@given(st.text("`~a\n", max_size=40))
@example("before\n```\n<b>after</b>")
@example("`````\n````")
def test_nothing_ends_a_block_of_code(text):
    tokens, _ = inline(fenced(text))
    assert [one.type for one in tokens] == ["fence"]
    assert tokens[0].content == text + "\n"


@pytest.mark.parametrize("result", [failing(), passing(), hostile(), odd_numbers(), RunResult([])])
def test_a_summary_holds_no_html_no_link_and_no_picture(result):
    tokens, children = inline(to_markdown(result))
    kinds = {one.type for one in (*tokens, *children)}
    assert not kinds & {"html_block", "html_inline", "link_open", "image"}
    assert [one.tag for one in tokens if one.type == "heading_open"] == ["h2"]


def test_a_summary_says_what_failed_first_and_lists_failing_cases_first():
    text = to_markdown(failing())
    assert text.startswith("## parity: FAILED\n")
    assert f"GUILTY {GUILTY_POINT} (two-images, fp32, vision)" in text
    lines = [line for line in text.splitlines() if line.startswith("| `")]
    assert len(lines) == 24
    assert "`two-images`" in lines[0]
    assert "Not compared: (1)" in text


def test_a_huge_run_with_huge_names_stays_under_the_limit():
    rows = [row(n, "p" * 10_000, Verdict.GUILTY, case=f"{n}" * 3000, message="m" * 10_000)
            for n in range(2000)]  # fmt: skip
    huge = RunResult(rows, {"command": "c" * 100_000}, ["n" * 10_000] * 5000, ["i" * 10_000] * 5000)
    assert len(to_markdown(huge).encode()) < SUMMARY_LIMIT < SUMMARY_ROOM


def test_the_summary_is_appended_where_github_asks_for_it(tmp_path):
    path = tmp_path / "summary.md"
    path.write_text("# earlier step\n")
    assert append_summary(passing(), {}) is None
    assert append_summary(passing(), {"GITHUB_STEP_SUMMARY": str(path)}) is None
    assert path.read_text() == "# earlier step\n" + to_markdown(passing())


def test_a_full_summary_is_left_as_it_is(tmp_path):
    path = tmp_path / "summary.md"
    path.write_bytes(b"x" * (SUMMARY_ROOM - 100))
    (line,) = github_lines(passing(), {"GITHUB_STEP_SUMMARY": str(path)})
    assert re.fullmatch(r"no job summary: .* already holds 1,048,476 of 1,048,576 bytes", line)
    assert path.stat().st_size == SUMMARY_ROOM - 100


def test_a_summary_that_cannot_be_written_is_said_and_costs_nothing(tmp_path):
    (line,) = github_lines(passing(), {"GITHUB_STEP_SUMMARY": str(tmp_path / "no" / "where")})
    assert line.startswith("no job summary: cannot write")
    assert "No such file" in line


def test_annotations_are_only_for_github():
    broken = RunResult([dataclasses.replace(row(0, "a"), verdict=Verdict.GUILTY)])
    assert list(github_lines(broken, {})) == []
    assert list(github_lines(broken, {"GITHUB_ACTIONS": "false"})) == []
    assert list(github_lines(broken, {"GITHUB_ACTIONS": "true"})) == source_annotations(broken)
