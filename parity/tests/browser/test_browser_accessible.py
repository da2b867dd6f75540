"""The page under axe-core: no serious finding in light or dark, and a planted one is found."""

import pytest

from parity.core.rows import RunResult
from parity.report.html import render
from parity.tests.report_runs import GUILTY_POINT, both_modes, case_rows, failing, odd_numbers

pytestmark = pytest.mark.slow

RUNS = {
    "failing": failing,
    "passing": lambda: RunResult(case_rows("a", "fp32") + case_rows("a", "bf16")),
    "odd": odd_numbers,
    "modes": both_modes,
    "empty": lambda: RunResult([]),
}


def findings(page):
    """What axe-core calls serious or critical: rule and the first element."""
    needed = "needs axe-core: pip install axe-playwright-python (it is in the extra `dev`)"
    api = pytest.importorskip("axe_playwright_python.sync_playwright", reason=needed)
    found = api.Axe().run(page).response["violations"]
    return [
        f"{one['id']}: {one['nodes'][0]['html'][:200]} {one['nodes'][0]['failureSummary'][:300]}"
        for one in found
        if one["impact"] in ("serious", "critical")
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", RUNS)
def test_nothing_serious_is_found(visit, name, scheme):
    with visit(render(RUNS[name]()), color_scheme=scheme) as page:
        for fold in page.locator("details:not([open]) > summary").all()[:4]:
            fold.click()
        assert findings(page) == []


def test_nothing_serious_is_found_in_the_help_panel(visit):
    with visit(render(RunResult(case_rows("a", "fp32", GUILTY_POINT)))) as page:
        page.keyboard.press("?")
        assert findings(page) == []


def test_a_planted_fault_is_found(visit):
    html = render(odd_numbers()).replace("--muted: #5f636b", "--muted: #c5c6c8", 1)
    with visit(html.replace(' aria-label="Verdict"', "", 1)) as page:
        found = " ".join(findings(page))
        assert "color-contrast" in found
        assert "select-name" in found
