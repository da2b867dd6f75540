"""The page of two runs in a browser: it asks for nothing, logs nothing, and anyone can read it."""

import pytest

from parity.core.diff_runs import diff_runs
from parity.report.diff_html import render_diff
from parity.tests.browser.test_browser_accessible import findings
from parity.tests.report_runs import failing, hostile, odd_numbers, passing

pytestmark = pytest.mark.slow

PAIRS = {
    "failing": (passing, failing),
    "hostile": (passing, hostile),
    "odd": (odd_numbers, failing),
    "same": (failing, failing),
}


def page_of(name):
    before, after = (make() for make in PAIRS[name])
    return render_diff(diff_runs(before, after), ("before", "after"), 50)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", PAIRS)
def test_nothing_serious_is_found(visit, name, scheme):
    with visit(page_of(name), color_scheme=scheme) as page:
        page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
        assert findings(page) == []


def test_a_planted_fault_is_found(visit):
    spoilt = page_of("failing").replace("--muted: #5f636b", "--muted: #c5c6c8", 1)
    with visit(spoilt) as page:
        assert "color-contrast" in " ".join(findings(page))


def test_it_fits_a_narrow_screen(visit):
    with visit(page_of("hostile"), width=420) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= 420


def test_the_counts_lead_to_the_changes(visit):
    with visit(page_of("failing")) as page:
        link = page.locator("a", has_text="newly failing").first
        target = link.get_attribute("href")
        link.click()
        assert page.locator(target).is_visible()
