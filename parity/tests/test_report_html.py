"""The page: one file, whole without a network or a script, and nothing in it can break out."""

import dataclasses
import json
import re
import time
from html.parser import HTMLParser

import pytest

from parity.core.rows import Kind, RunResult, Verdict
from parity.report.html import SCRIPTS, render
from parity.report.panels import label
from parity.report.payload import Column
from parity.report.selection import LIMIT, NEAREST
from parity.tests.report_runs import (
    GUILTY_POINT,
    big,
    case_rows,
    failing,
    odd_numbers,
    passing,
    row,
)  # fmt: skip

VOID = {"meta", "link", "br", "input", "img", "hr"}
RUNS = {
    "passing": passing, "failing": failing, "odd": odd_numbers, "empty": lambda: RunResult([]),
}  # fmt: skip


class Page(HTMLParser):
    """Structure of a page: balanced tags, ids, links, headings and texts."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.ids, self.links, self.headings, self.tags = [], [], [], [], []
        self.texts = {}
        self.feed(text)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        names = [name for name, _ in attributes]
        assert len(names) == len(set(names)), (tag, attributes)
        values = dict(attributes)
        if "id" in values:
            self.ids.append(values["id"])
        if tag == "a":
            self.links.append(values["href"])
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        self.handle_endtag(tag)

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag, f"</{tag}>"

    def handle_data(self, data):
        if self.open:
            self.texts.setdefault(self.open[-1], []).append(data)

    def text(self, tag):
        return " ".join(" ".join(self.texts.get(tag, [])).split())


@pytest.mark.parametrize("name", RUNS)
def test_the_structure_is_sound(name):
    text = render(RUNS[name]())
    page = Page(text)
    assert len(page.ids) == len(set(page.ids))
    assert all(link.startswith("#") for link in page.links)
    rows = {one["anchor"] for one in payload_of(text, "id")}
    rest = {link[1:] for link in page.links if not link.startswith("#points?q=")}
    assert rest <= set(page.ids) | rows
    assert page.headings[0] == 1
    assert page.headings.count(1) == 1
    assert all(b - a <= 1 for a, b in zip(page.headings, page.headings[1:], strict=False))
    labels = [v for _, a in page.tags for v in a.get("aria-labelledby", "").split()]
    assert set(labels) <= set(page.ids)


@pytest.mark.parametrize("name", RUNS)
def test_nothing_is_fetched_from_anywhere(name):
    text = render(RUNS[name]())
    assert "http:" not in text
    assert "https:" not in text
    assert not re.search(r"""(src|href|action|srcset)=["']?(?!["']?#)""", text)
    assert "@import" not in text
    assert not re.search(r"url\((?!#)", text)
    for tag, _ in Page(text).tags:
        assert tag not in {"link", "img", "iframe", "object", "embed", "base"}


@pytest.mark.parametrize("name", RUNS)
def test_the_title_carries_the_verdict(name):
    page = Page(render(RUNS[name]()))
    word = "PASSED" if name == "passing" else "FAILED"
    assert page.text("title").startswith(word)
    assert word in " ".join(page.texts["span"])


def payload_of(text, column):
    """The rows that the page's script reads, one column of them, in run order."""
    found = re.search(r'<script type="application/json" id="rows">(.*?)</script>', text, re.S)
    if found is None:
        return []
    return Column(**json.loads(found[1])[column]).rows()


def body_rows(text):
    """Verdicts of the table's rows that stand in the page, in order."""
    return re.findall(r'<tr id="r[^"]+" class="[a-z]+"><td><b class="v [a-z]+">(\w+)', text)


def test_the_payload_has_every_row_in_run_order():
    result = failing()
    text = render(result)
    about, names = payload_of(text, "about"), payload_of(text, "name")
    assert [(one["case"], one["dtype"], one["verdict"]) for one in about] == [
        (row.case, row.dtype, row.verdict.value) for row in result.rows
    ]
    assert [one["point"] for one in names] == [label(row) for row in result.rows]


def test_the_page_itself_has_what_fails_and_the_nearest_to_the_gate():
    result = failing()
    text = render(result)
    failed = [row for row in result.rows if row.verdict is not Verdict.PASS]
    found = body_rows(text)
    assert found[:9] == ["GUILTY"] * 9
    assert len(found) == LIMIT < len(failed) + NEAREST
    assert found.count("PASS") == 0
    assert f"the first {LIMIT} of {len(failed)} rows that fail" in text
    assert "All of them are in rows.json" in text


def test_a_small_run_stands_in_the_page_whole():
    rows = case_rows("a", "fp32", GUILTY_POINT)
    text = render(RunResult(rows))
    assert len(body_rows(text)) == len(rows)
    assert body_rows(text)[-1] == "PASS"
    assert "rows.json." not in text


def test_verdicts_are_printed_as_words_and_never_by_colour_alone():
    result = RunResult([row(n, f"p{n}", one) for n, one in enumerate(Verdict)])
    assert sorted(body_rows(render(result))) == sorted(one.value for one in Verdict)


def test_the_headline_has_the_numbers_and_what_to_do():
    text = render(failing())
    assert f"First guilty: {GUILTY_POINT} in two-images, fp32." in text
    assert "5,211 / 8" in text
    assert "What to do next" in text
    assert "[0, 17, 201]" in text
    assert "reference 0.731254, candidate 0.732869" in text


def test_what_to_try_is_in_the_headline_and_the_row():
    result = failing()
    assert "<dt>What to try</dt>" not in render(result)
    first = result.first_failure
    rows = [dataclasses.replace(one, suggestions=("a <tanh>",)) if one is first else one
            for one in result.rows]  # fmt: skip
    page = render(RunResult(rows))
    assert page.count("a &lt;tanh&gt;") == 2
    assert [one["suggestions"] for one in payload_of(page, "words")].count("a <tanh>") == 1
    assert "<dt>What to try</dt>" in page


def test_proofs_that_failed_are_listed_and_verdicts_labelled():
    page = render(RunResult([row(0, "a")], invalid=["looking <changes> it"]))
    assert "looking &lt;changes&gt; it" in page
    assert "INVALID" in page
    assert "Verdicts (not to be trusted)" in page
    assert "not to be trusted" not in render(RunResult([row(0, "a")]))


def test_every_term_and_every_verdict_is_explained():
    text = render(passing())
    for term in ("Ratio", "Floor", "Gate", "Local", "End to end"):
        assert f"<dt>{term}</dt>" in text
    for verdict in Verdict:
        assert f'<th scope="row">{verdict.value}</th>' in text


EVIL = (
    "</script><img src=x onerror=alert(1)>",
    "\"><svg onload='alert(1)'>",
    "{{ 7 * 7 }}{% raw %}",
    "<!-- ]]> --></style></title></textarea>",
    "javascript:alert(1)//http://evil.example/x",
    "\u202eevil\u2066 שלום \x1b[31m\x00\ud800",
    "x" * 10_000,
    "' onmouseover='alert(1)",
    "",
)


@pytest.mark.parametrize("evil", EVIL, ids=range(len(EVIL)))
def test_hostile_names_stay_text(evil):
    fields = ("case", "dtype", "stage", "message", "cause", "candidate_dtype")
    bad, plain = dict.fromkeys(fields, evil), dict.fromkeys(fields, "plain")
    runs = [
        RunResult(
            [row(0, name, Verdict.GUILTY, **texts), row(1, name, Verdict.VICTIM, **texts),
             row(2, f"{name}!", Verdict.SHAPE, local=None, **texts)],
            {name: name, "n": {name: [name]}},
            [name],
        )
        for name, texts in ((evil, bad), ("plain", plain))
    ]  # fmt: skip
    hostile, harmless = (Page(render(one)) for one in runs)
    # The same elements with the same attributes' names: whatever the names hold became text.
    shape = [
        [(tag, sorted(attributes)) for tag, attributes in page.tags] for page in (hostile, harmless)
    ]
    if evil:
        assert shape[0] == shape[1]
    assert all(not name.startswith("on") for _, attributes in hostile.tags for name in attributes)
    assert "\x1b" not in render(runs[0])
    assert len(render(runs[0])) < len(render(runs[1])) + 60_000


def test_only_the_page_s_own_script_may_run():
    import base64
    import hashlib

    text = render(failing())
    scripts = re.findall(r"<script>(.*?)</script>", text, re.S)
    assert len(scripts) == len(SCRIPTS)
    assert text.count("<script") == len(SCRIPTS) + 1  # the rows, which nothing runs
    allowed = [base64.b64encode(hashlib.sha256(one.encode()).digest()).decode() for one in scripts]
    (policy,) = [a["content"] for t, a in Page(text).tags if a.get("http-equiv")]
    assert "script-src " + " ".join(f"'sha256-{one}'" for one in allowed) + ";" in policy
    assert policy.startswith("default-src 'none'")


@pytest.mark.slow
@pytest.mark.parametrize("fails", [False, True], ids=["passing", "failing"])
def test_twelve_thousand_rows_stay_under_three_megabytes(fails):
    rows = big(12_000).rows
    if fails:
        rows = [
            dataclasses.replace(one, verdict=Verdict.VICTIM, cause=GUILTY_POINT, message=MESSAGE)
            if one.kind is Kind.FLOAT else one for one in rows
        ]  # fmt: skip
    started = time.perf_counter()
    text = render(RunResult(rows))
    size = len(text.encode())
    print(f"12,000 rows: {size / 1e6:.2f} MB in {time.perf_counter() - started:.2f} s")
    assert len(payload_of(text, "id")) == 12_000
    assert size < 3_000_000


MESSAGE = (
    f"right on clean inputs; explained by {GUILTY_POINT}. the relative error of channel 101 is "
    "0.043, 2.64e+04 times the floor of 1.6e-06 (gate 12); the largest difference is 0.0426 at "
    "[19, 147]: reference -7.04604, candidate -7.08865"
)


def test_the_same_row_twice_has_two_ids():
    one = case_rows("a", "fp32")[3]
    page = Page(render(RunResult([one, one])))
    assert len(page.ids) == len(set(page.ids))
