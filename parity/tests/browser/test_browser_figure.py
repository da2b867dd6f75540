"""The figure and the heat map in a real browser: each leads to the row that it draws."""

import pytest

from parity.core.rows import RunResult
from parity.report.html import render
from parity.tests.report_runs import GUILTY_POINT, case_rows, failing

pytestmark = pytest.mark.slow


def test_the_pointer_names_a_point_and_a_click_goes_to_its_row(visit):
    rows = case_rows("two-images", "fp32", GUILTY_POINT)
    with visit(render(RunResult(rows))) as page:
        plot = page.locator(".plot").first
        box = plot.bounding_box()
        for place in (0, 40, len(rows) - 1):
            x = box["x"] + page.evaluate(PLACES)[place] * box["width"] / 1160
            page.mouse.move(x, box["y"] + 30)
            assert page.locator(".readout").first.inner_text().startswith(f"{rows[place].point}")
        page.mouse.click(x, box["y"] + 30)
        page.wait_for_function("location.hash !== ''")
        assert "step.5.logits" in page.locator("tr.here").inner_text()


PLACES = """() => {
  const plot = document.querySelector(".plot"), xs = [];
  for (const band of plot.dataset.bands.split(" ")) {
    const [left, right, size] = band.split(":").map(Number);
    for (let at = 0; at < size; at++) xs.push(left + (right - left) * (at + 0.5) / size);
  }
  return xs;
}"""


def test_the_second_panel_leads_to_its_own_rows(visit):
    with visit(render(failing())) as page:
        plot = page.locator(".plot").nth(1)
        plot.focus()
        for _ in range(6):
            page.keyboard.press("ArrowRight")
        page.keyboard.press("Enter")
        page.locator("tr.here").wait_for()
        words = page.locator("tr.here").inner_text()
        title = page.locator("figure h4").nth(1).inner_text()
        assert "visual.blocks.0.norm1" in words
        assert words.split("\t")[2].strip() == title.split(" ")[0]
        assert "fp16" in words
        assert "fp16" in title


def test_a_cross_in_the_figure_is_a_link(visit):
    with visit(render(failing())) as page:
        page.locator("svg a.fault").first.click()
        page.locator("tr.here").wait_for()
        assert "GUILTY" in page.locator("tr.here").inner_text()
        assert GUILTY_POINT in page.locator("tr.here").inner_text()


def test_a_cell_leads_to_the_row_it_shows_and_a_name_to_all_of_its_rows(visit):
    with visit(render(failing())) as page:
        line = page.locator(".matrix tr.inner", has_text=GUILTY_POINT)
        cell = line.locator("td").nth(2)
        assert cell.inner_text().startswith("\u2715")
        use = cell.inner_text().split()[-1]
        cell.locator("a").click()
        page.locator("tr.here").wait_for()
        words = page.locator("tr.here").inner_text()
        assert GUILTY_POINT in words
        assert "bf16" in words
        ratio, gate = words.split("\t")[5].split(" / ")
        assert float(ratio.replace(",", "")) / float(gate.split()[0]) == pytest.approx(
            float(use.replace(",", "")), rel=0.01
        )
        line.locator("th a").click()
        page.wait_for_function("document.getElementById('filter').value !== ''")
        named = page.locator("#table tbody tr td:nth-child(2) > a").all_inner_texts()
        assert set(named) == {GUILTY_POINT}
        assert len(named) == 24


def test_the_headline_leads_to_the_guilty_row(visit):
    with visit(render(failing())) as page:
        page.locator(".culprit .where a").click()
        page.locator("tr.here").wait_for()
        assert GUILTY_POINT in page.locator("tr.here").inner_text()
