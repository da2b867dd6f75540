"""The table of points in a real browser: filters, sorting, keys, links, and nothing goes wrong."""

import re

import pytest

from parity.core.modes import side_by_side
from parity.core.rows import GRAPH, PYNATIVE, RunResult
from parity.report.html import render
from parity.report.selection import LIMIT
from parity.tests.report_runs import CASES, GUILTY_POINT, case_rows, failing, row

STEP = 150
slow = pytest.mark.slow


def small():
    """One failing case in two dtypes: all of it in one window."""
    rows = case_rows("two-images", "fp32", GUILTY_POINT) + case_rows("two-images", "bf16")
    return RunResult(rows)


def verdicts(page):
    return page.locator("#table tbody tr td:first-child").all_inner_texts()


def test_a_failing_report_opens_and_filters(visit):
    result = small()
    with visit(render(result)) as page:
        assert page.title() == f"FAILED: {GUILTY_POINT} GUILTY - parity"
        assert page.locator("h1").inner_text().startswith("FAILED")
        assert page.locator("#table tbody tr").count() == len(result.rows)
        page.fill("#filter", "merger.ln_q")
        assert page.locator("#table tbody tr").count() == 2
        page.keyboard.press("Escape")
        assert page.locator("#table tbody tr").count() == len(result.rows)


@slow
def test_a_visit_notices_what_goes_wrong(visit):
    """The twin of every other test here: each kind of harm is seen."""
    html = render(small()).replace("<footer>", '<img src="http://127.0.0.1:9/x"><footer>', 1)
    with pytest.raises(AssertionError, match=r"logged|asked for"), visit(html) as page:
        page.wait_for_timeout(100)


@slow
def test_every_filter_shows_what_it_says(visit):
    result = failing()
    with visit(render(result)) as page:
        shown = page.locator("#shown")
        assert shown.inner_text() == f"{len(result.rows):,} rows"
        for name, value, field in (
            ("verdict", "DRIFT", lambda row: row.verdict.value),
            ("case", CASES[1], lambda row: row.case),
            ("dtype", "bf16", lambda row: row.dtype),
            ("stage", "vision", lambda row: row.stage),
        ):
            page.select_option(f"select[data-of={name}]", value)
            count = sum(field(row) == value for row in result.rows)
            assert shown.inner_text() == f"{count:,} of {len(result.rows):,}"
            page.click("#clear")
        page.check("#failing")
        failed = len(result.rows) - result.counts["PASS"]
        assert shown.inner_text() == f"{failed:,} of {len(result.rows):,}"
        assert "PASS" not in " ".join(verdicts(page))
        page.fill("#filter", "no such point")
        assert page.locator("#nothing").is_visible()
        assert page.locator("#later").is_hidden()


@slow
def test_a_word_with_a_dot_is_looked_for_in_names_alone(visit):
    with visit(render(small())) as page:
        page.fill("#filter", "visual.blocks.1.")
        named = page.locator("#table tbody tr td:nth-child(2) > a").all_inner_texts()
        assert len(named) == 10
        assert all(f"{name}.".startswith("visual.blocks.1.") for name in named)
        page.fill("#filter", "guilty")  # no name, and no message holds it
        assert page.locator("#table tbody tr").count() == 0
        page.fill("#filter", "clean inputs")
        assert verdicts(page) == ["GUILTY"]


@slow
def test_guilty_first_and_sorting_both_ways_and_back(visit):
    with visit(render(small())) as page:
        first = page.locator("#table tbody tr").first
        header = page.locator("th[data-by=local_use]")
        assert verdicts(page)[0] == "GUILTY"
        header.locator("button").click()
        assert header.get_attribute("aria-sort") == "descending"
        figures = [float(one) for one in page.evaluate(
            "Array.from(document.querySelectorAll('#table tbody tr'),"
            " (line) => rowOf.get(line.id).local_use || '-1')")]  # fmt: skip
        assert figures == sorted(figures, reverse=True)
        assert first.locator("td").nth(5).inner_text().startswith("5,211 / 8")
        header.locator("button").click()
        assert header.get_attribute("aria-sort") == "ascending"
        assert not first.locator("td").nth(5).inner_text().startswith("5,211 / 8")
        header.locator("button").click()
        assert header.get_attribute("aria-sort") is None
        assert verdicts(page)[0] == "GUILTY"
        page.locator("th[data-by=point] button").click()
        assert first.locator("td").nth(1).inner_text().startswith("image_grid_thw")


@slow
def test_the_whole_table_by_keyboard(visit):
    with visit(render(failing())) as page:
        focused = "document.activeElement.id"
        page.keyboard.press("/")
        assert page.evaluate(focused) == "filter"
        page.keyboard.type("lm_head")
        page.keyboard.press("Escape")
        assert page.evaluate(focused) == ""
        assert page.input_value("#filter") == ""
        for _ in range(3):
            page.keyboard.press("j")
        page.keyboard.press("k")
        assert page.evaluate(focused) == page.evaluate("shown.order[1].anchor")
        page.evaluate(f"for (let n = 0; n < {STEP + 5}; n++) keys.j()")  # past the window's end
        assert page.evaluate(focused) == page.evaluate(f"shown.order[{STEP + 6}].anchor")
        page.keyboard.press("?")
        assert page.locator("dialog#help").is_visible()
        for words in ("Ratio", "Floor", "Gate", "End to end", "DRIFT"):
            assert words in page.locator("dialog#help").inner_text()
        page.keyboard.press("Escape")
        assert page.locator("dialog#help").is_hidden()
        assert page.locator("#how dt", has_text="Ratio").count() == 1


@slow
def test_a_link_to_a_row_opens_it_wherever_it_is(visit):
    result = failing()
    html = render(result)
    last = re.findall(r'"numbers":', html)
    assert last
    with visit(html) as page:
        anchor = page.evaluate("sorted('', 1).at(-1).anchor")
        assert page.locator(f"#{anchor}").count() == 0, "it stands only in the payload"
        page.select_option("select[data-of=verdict]", "GUILTY")
        page.evaluate(f"location.hash = '{anchor}'")
        line = page.locator(f"#{anchor}")
        line.wait_for()
        assert "here" in line.get_attribute("class")
        assert line.evaluate("(one) => one.getBoundingClientRect().top") > 0
        assert page.input_value("select[data-of=verdict]") == ""
        assert page.locator("#earlier").is_visible()
    with visit(html, at=f"#{anchor}") as page:
        page.locator(f"#{anchor}").wait_for()
        assert page.locator(f"#{anchor}").is_visible()


@slow
def test_the_address_carries_filters_and_order_to_others(visit):
    html = render(failing())
    with visit(html) as page:
        page.fill("#filter", "visual. clean & tidy")
        page.fill("#filter", "layers.1.")
        page.select_option("select[data-of=dtype]", "fp16")
        page.locator("th[data-by=end_use] button").click()
        seen, address = page.locator("#table").inner_text(), page.evaluate("location.hash")
    with visit(html, at=address) as page:
        page.wait_for_function("document.getElementById('filter').value !== ''")
        assert page.locator("#table").inner_text() == seen
        assert page.locator("th[data-by=end_use]").get_attribute("aria-sort") == "descending"
        page.keyboard.press("Escape")
        assert page.evaluate("location.hash") == ""


@slow
def test_more_rows_are_a_button_away(visit):
    result = failing()
    with visit(render(result)) as page:
        lines = page.locator("#table tbody tr")
        assert lines.count() == STEP
        rest = len(result.rows) - STEP
        assert page.locator("#later").inner_text() == f"{STEP} more rows, of {rest:,}"
        page.click("#later")
        assert lines.count() == 2 * STEP
        assert lines.last.get_attribute("aria-rowindex") == str(2 * STEP + 1)
        assert page.locator("#table").get_attribute("aria-rowcount") == str(len(result.rows) + 1)


@slow
def test_rows_made_by_the_script_say_what_the_page_s_own_say(visit):
    result = failing()
    html = render(result)
    texts = "Object.fromEntries(Array.from(document.querySelectorAll('#table tbody tr'), " \
        "(line) => [line.id, line.textContent.replace(/\\s+/g, ' ')]))"  # fmt: skip
    with visit(html, java_script_enabled=False) as page:
        own = {
            line.get_attribute("id"): " ".join(line.text_content().split())
            for line in page.locator("#table tbody tr").all()[:40]
        }
    with visit(html) as page:
        made = {name: " ".join(text.split()) for name, text in page.evaluate(texts).items()}
    assert len(own) == 40
    for name, text in own.items():
        assert made[name].replace(" ", "") == text.replace(" ", "")


@slow
def test_the_modes_of_a_run_stand_side_by_side_and_filter(visit):
    rows = [
        row(order, point, mode=mode, local_bits=mode, block_ratio=1.0, block_gate=8.0)
        for mode in (PYNATIVE, GRAPH)
        for order, point in enumerate(("visual.blocks.0", "visual.blocks.1", "lm_head"))
    ]
    with visit(render(RunResult(side_by_side(rows)))) as page:
        assert page.locator("#matrix ~ .scroll thead th").all_inner_texts()[2:] == [
            "fp32", "fp32 graph", "fp32", "fp32 graph",
        ]  # fmt: skip
        section = page.locator("section[aria-labelledby=modes]")
        assert section.locator("table").last.locator("tbody tr").count() == 3
        page.select_option("select[data-of=mode]", "graph")
        assert page.locator("#shown").inner_text() == "3 of 6"
        dtypes = page.locator("#table tbody tr td:nth-child(4)").all_inner_texts()
        assert dtypes == ["fp32 graph"] * 3
        page.reload()
        assert page.locator("#shown").inner_text() == "3 of 6", "the address holds it"
        page.select_option("select[data-of=dtype]", "fp32")
        assert page.locator("#shown").inner_text() == "3 of 6", "a dtype in every mode"
        page.select_option("select[data-of=mode]", "")
        assert page.locator("#shown").inner_text() == "6 rows"
    with visit(render(small())) as page:
        assert page.locator("select[data-of=mode]").count() == 0


@slow
def test_a_narrow_window_keeps_everything_readable(visit):
    with visit(render(small()), width=700) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= 700
        assert page.locator("#table tbody tr").first.inner_text().count("5,211 / 8") == 1


@slow
def test_without_its_script_the_page_has_what_a_reviewer_needs(visit):
    with visit(render(failing()), java_script_enabled=False) as page:
        assert page.locator("h1").inner_text().startswith("FAILED")
        assert "python -m parity run" in page.locator(".culprit").inner_text()
        assert page.locator("#bar").is_hidden()
        assert page.locator("#table tbody tr").count() == LIMIT
        assert "All of them are in rows.json" in page.locator("#selection").inner_text()
        assert page.locator(".plot").first.is_visible()
        page.locator("details.case-depth summary").last.click()
        assert page.locator(".plot").last.is_visible()
        page.locator("svg a.fault").first.click()
        guilty = page.locator("#table tbody tr").first
        assert page.url.endswith(f"#{guilty.get_attribute('id')}")


@slow
def test_paper_gets_what_is_folded_on_the_screen(visit):
    with visit(render(failing())) as page:
        page.emulate_media(media="print")
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        assert page.locator("details:not([open])").count() == 0
        assert page.locator("#bar").is_hidden()
        page.evaluate("dispatchEvent(new Event('afterprint'))")
        assert page.locator("details:not([open])").count() > 0
        assert page.pdf()[:5] == b"%PDF-"
