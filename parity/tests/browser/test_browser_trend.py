"""The trend's page in a browser: it asks for nothing, logs nothing, and anyone can read it."""

import pytest

from parity.core.rows import Verdict
from parity.history.database import History
from parity.history.page import render
from parity.history.place import as_url
from parity.history.trend import judgements
from parity.tests.browser.test_browser_accessible import findings
from parity.tests.history_runs import record
from parity.tests.report_runs import EVIL_CASE

pytestmark = pytest.mark.slow


@pytest.fixture
def html(tmp_path):
    """Ten nights; a level rises, a point with a hostile name fails, and MindSpore was changed."""
    history = History(as_url(tmp_path / "history.sqlite"))
    for night in range(-2, 10):
        version = "2.9.0" if night < 0 else "2.10.0"
        ratios = {"a": 0.3, "b": 0.3 if night < 8 else 0.8, EVIL_CASE: 0.4 if night < 9 else 30.0}
        failed = {EVIL_CASE: Verdict.GUILTY} if night == 9 else None
        history.append(record(night, ratios, failed, mindspore=version, commit=EVIL_CASE))
    return render(*judgements(history, None, 90))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_serious_is_found(visit, html, scheme):
    with visit(html, color_scheme=scheme) as page:
        page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
        assert page.locator("tr", has_text="onerror").count() >= 1
        assert findings(page) == []


def test_a_planted_fault_is_found(visit, html):
    spoilt = html.replace("--muted: #5f636b", "--muted: #c5c6c8", 1)
    with visit(spoilt) as page:
        assert "color-contrast" in " ".join(findings(page))


def test_it_fits_a_narrow_screen(visit, html):
    with visit(html, width=420) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= 420
