"""Real reports of the real model, a fault of every kind planted: the page leads to each."""

import pytest

from parity.faults import find, modules
from parity.job import result_of
from parity.report.html import render
from parity.session import Session
from parity.settings import Settings
from parity.tests.browser.test_browser_accessible import findings

pytestmark = pytest.mark.slow

KINDS = {module.__name__.rpartition(".")[2]: module.FAULTS[0].name for module in modules()}


@pytest.fixture(scope="module")
def session():
    return Session(Settings(dtypes=("fp32", "fp16", "bf16", "ascend-mixed")))


@pytest.mark.parametrize("kind", KINDS)
def test_the_page_leads_to_the_planted_fault(visit, session, kind):
    fault = find(KINDS[kind])
    (case,) = [one for one in session.cases if one.name == fault.cases[0]]
    planted = session.planting(fault.name)
    planted.run(case, fault.dtypes[0])
    result = result_of(planted, started=0.0)
    with visit(render(result)) as page:
        where = page.locator(".culprit .where")
        point = where.locator("code").inner_text().partition(" (firing ")[0]
        assert point in fault.points
        assert f"--plant {fault.name}" in page.locator(".command").last.inner_text()
        assert page.locator("svg a.fault").count() >= 1
        where.locator("a").click()
        page.locator("tr.here").wait_for()
        assert point in page.locator("tr.here").inner_text()
        page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
        assert findings(page) == []
