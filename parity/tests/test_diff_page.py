"""A comparison for people: plain data first, then the terminal's lines, the page and the JSON."""

import dataclasses
import json
import math
import re
from html.parser import HTMLParser

import pytest

from parity.core.diff import Change
from parity.core.diff_runs import diff_runs
from parity.core.rows import Kind, Verdict
from parity.report.diff_figure import SIDE, place
from parity.report.diff_html import render_diff
from parity.report.diff_json import diff_to_json
from parity.report.diff_plot import furthest, plots
from parity.report.diff_text import diff_lines
from parity.report.diff_view import diff_view
from parity.report.diff_words import MEANINGS
from parity.tests.diff_rows import made, run_of, with_rows
from parity.tests.report_runs import EVIL_CASE, GUILTY_POINT, big, failing, hostile, passing

NAMES = "before", "after"
GUILTY = Verdict.GUILTY


def between(a, b, across=()):
    return diff_runs(run_of(a), run_of(b), across)


def seen(runs, limit=10):
    return diff_view(runs, NAMES, limit)


def test_every_change_has_a_meaning():
    assert set(MEANINGS) == set(Change)
    assert all(len(text) > 20 for text in MEANINGS.values())


def test_what_is_at_fault_stands_before_what_suffers_and_worse_before_less_worse():
    points = ["a", "b", "c", "d", "e"]
    before = [made(name, local=2, end=2) for name in points]
    after = [
        made("a", end=20.0, verdict=Verdict.VICTIM, cause="b"), made("b", 50.0, verdict=GUILTY),
        made("c", 4, 2), made("d", 7, 2), made("e", 0.1, 2),
    ]  # fmt: skip
    view = seen(between(before, after))
    assert [one.change for one in view.sections] == ["newly failing", "worse", "better"]
    assert [[one.point for one in section.lines] for section in view.sections] == [
        ["b", "a"], ["d", "c"], ["e"],
    ]  # fmt: skip
    assert view.sections[0].lines[1].notes == ("because of b",)
    assert view.sentence == "Newly failing: b in single-image, fp32."
    assert view.worse
    assert {one.change: one.count for one in view.counts}["worse"] == 2


@pytest.mark.parametrize(
    ("a", "b", "word"),
    [
        ([made()], [made()], "NO DIFFERENCE"),
        ([made(end=5)], [made(end=1)], "NOTHING WORSE"),
        ([made()], [made(), made("more")], "NOTHING WORSE"),
        ([made()], [made(local=9, verdict=GUILTY)], "WORSE"),
        ([made(), made("more")], [made()], "WORSE"),
    ],
)
def test_the_word(a, b, word):
    assert seen(between(a, b)).word == word


def test_runs_that_cannot_be_trusted_say_so_first():
    runs = between([made()], [made()])
    runs.b.invalid.append("proof")
    assert seen(runs).word == "NOT TO BE TRUSTED"
    assert diff_lines(seen(runs))[0].startswith("parity diff NOT TO BE TRUSTED")
    assert 'class="failed"' in render_diff(runs, NAMES, 10)


def test_a_line_has_both_ratios_their_factor_and_the_gates():
    runs = between([made(local=2)], [made(local=6, gate=16.0)])
    (line,) = seen(runs).sections[0].lines
    assert (line.local.a, line.local.b, line.local.factor) == ("2", "6", "x 3")
    assert line.local.figure == "token, gate 8 -> 16"
    assert (line.local.way, line.end.way) == (1, 0)


@pytest.mark.parametrize(
    ("a", "b", "words"),
    [
        (made(override="slow softmax"), made(), "override: slow softmax -> none"),
        (made(local=None, end=None, kind=Kind.DISCRETE, mismatches=0),
         made(local=None, end=None, kind=Kind.DISCRETE, mismatches=7, verdict=GUILTY), "0 -> 7"),
        (made(), made(local=math.nan, verdict=GUILTY), "-> NaN (no number any more"),
        (made(local=math.nan, verdict=GUILTY), made(), "NaN -> 0.6 (a number again"),
        (made(), made(local=None, end=None, verdict=Verdict.MISSING), "1.5 / 8 -> -"),
        (made(), made(local=99, verdict=GUILTY), "why it fails"),
    ],
)  # fmt: skip
def test_the_terminal_says_what_moved(a, b, words):
    assert words in "\n".join(diff_lines(seen(between([a], [b]))))


def test_the_terminal_lists_the_first_of_each_kind_and_counts_the_rest():
    before = [made(f"p{n}") for n in range(30)]
    runs = between(before, [made(f"p{n}", local=7.5) for n in range(30)])
    text = "\n".join(diff_lines(seen(runs)))
    assert text.count("PASS    ") == 10
    assert "and 20 more" in text
    assert "\n".join(diff_lines(seen(runs, 30))).count("PASS    ") == 30


def test_a_case_that_one_run_lacks_is_one_line_and_its_failures_are_not_hidden():
    other = [dataclasses.replace(made(f"p{n}"), case="two-images") for n in range(30)]
    other[7] = dataclasses.replace(made("p7", 99, verdict=GUILTY), case="two-images")
    (section,) = seen(between([made(), *other], [made()])).sections
    assert section.groups == ("two-images in fp32: 29 rows that pass",)
    assert [one.point for one in section.lines] == ["p7"]


def test_the_threshold_and_the_warnings_are_in_every_form():
    runs = diff_runs(run_of([made()], level="block"), run_of([made()], level="module"))
    for text in ("\n".join(diff_lines(seen(runs))), render_diff(runs, NAMES, 10)):
        flat = " ".join(text.split())
        assert "1.25 times" in flat
        assert "differ in level" in flat


class Page(HTMLParser):
    """What a browser would make of the page: its tags with attributes, and its text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def test_the_page_stands_alone_and_can_be_read_by_ear():
    runs = diff_runs(passing(), failing())
    text = render_diff(runs, NAMES, 1000)
    page = Page(text)
    assert page.all("script") == []
    assert not re.search(r"""(src|href)=["']?(https?:|//|[a-z]+\.)""", text)
    assert "default-src 'none'" in page.all("meta")[1]["content"]
    assert len(page.all("caption")) == len(page.all("table"))
    assert all(one.get("scope") for one in page.all("th"))
    assert len(page.all("svg")) > len(page.all("figure")) == 2
    drawn = [one for one in page.all("svg") if "aria-hidden" not in one]
    ids = {one["id"] for _, one in page.tags if "id" in one}
    assert all(set(one["aria-labelledby"].split()) <= ids for one in drawn)
    links = {one["href"] for one in page.all("a")}
    assert links <= {f"#{name}" for name in ids}
    assert "Newly failing" in page.text
    assert GUILTY_POINT in page.text


def test_names_that_would_run_something_are_text():
    names = f"<img src=x onerror=alert(1)>{EVIL_CASE}", "\u202egnol" + "x" * 10_000
    runs = diff_runs(with_rows(hostile(), hostile().rows[:-1]), hostile())
    worse = [dataclasses.replace(one, verdict=GUILTY, message=EVIL_CASE) for one in runs.b.rows]
    for found in (runs, diff_runs(hostile(), with_rows(hostile(), worse)), diff_runs(
        hostile(), with_rows(hostile(), [dataclasses.replace(r, override=EVIL_CASE) for r in worse])
    )):  # fmt: skip
        page = Page(text := render_diff(found, names, 100))
        assert page.all("img") == page.all("script") == []
        assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
        assert "\u202e" not in text
        assert len(text) < 400_000
        assert not any("\x1b" in one or "\u202e" in one for one in diff_lines(seen(found)))


def test_the_page_without_escaping_would_be_seen():
    """The twin: the parser above does see a tag that a name smuggles in."""
    assert Page(f"<p>{EVIL_CASE}").all("img")


@pytest.mark.parametrize("rows", [[], [made(local=None, end=None, verdict=Verdict.SHAPE)]])
def test_runs_without_figures_have_no_plot(rows):
    runs = between(rows, rows)
    assert plots(runs.rows.changes) == ()
    assert "NO DIFFERENCE" in render_diff(runs, NAMES, 10)


def test_the_plot_puts_worse_above_the_diagonal_and_no_number_beyond_the_axis():
    before = [made("up", 2), made("down", 6), made("nan", 2), made("zero", 0.0)]
    after = [made("up", 6), made("down", 2), made("nan", math.nan, verdict=GUILTY), made("zero", 0)]
    local, _ = plots(between(before, after).rows.changes)
    at = {one.of.row.point: (place(local, one.a), place(local, one.b)) for one in local.dots}
    assert at["up"][1] > at["up"][0] == at["down"][1]
    assert at["nan"][1] > max(at["down"])
    assert at["nan"][1] < SIDE
    assert at["zero"] == (0, 0)
    assert [one.of.row.point for one in furthest(local.dots, 1)] == ["nan", "up"]
    assert "4 figures in both runs: 2 worse, 1 better, 1 neither" in local.summary
    assert "1 went over the gate, 0 came back. Worst: nan in" in local.summary


@pytest.mark.slow
def test_a_large_comparison_is_a_small_page():
    first = big(12_000)
    rows = [
        dataclasses.replace(one, local=made(local=3.0 + number % 50).local, message="m" * 2000)
        for number, one in enumerate(first.rows)
    ]
    text = render_diff(diff_runs(first, with_rows(first, rows)), NAMES, 1000)
    assert len(text.encode()) < 3_000_000
    assert "--json writes" in text


def test_the_json_has_every_change_and_no_number_that_json_lacks():
    runs = between(
        [made(), made("b"), made("c")], [made(), made("b", math.nan, verdict=GUILTY), made("d")]
    )
    found = json.loads(diff_to_json(runs, NAMES), parse_constant=pytest.fail)
    assert [(one["point"], one["change"]) for one in found["changes"]] == [
        ("b", "newly failing"), ("c", "vanished"), ("d", "appeared"),
    ]  # fmt: skip
    (first, *_) = found["changes"]
    assert (first["a"]["verdict"], first["b"]["verdict"]) == ("PASS", "GUILTY")
    assert first["figures"][0]["ratio_b"] == "NaN"
    assert first["figures"][0]["growth"] == "Infinity"
    assert found["changes"][1]["b"] is None
    assert found["counts"]["unchanged"] == 1
    assert (found["got_worse"], found["a"], found["b"]) == (True, *NAMES)
