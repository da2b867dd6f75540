"""Chromium for the tests of the report, and a visit that notices whatever should not happen.

A page is written to a file and opened from there, as a reviewer opens it. Every visit keeps a
screenshot in ``reports/screenshots/`` and fails if the page logged anything, raised an error or
asked for anything beside its own file.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import parity

SCREENSHOTS = Path(parity.__file__).parent.parent / "reports" / "screenshots"
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic",
         "--disable-background-networking", "--disable-component-update")  # fmt: skip


def chromium() -> str | None:
    """The browser's path, if there is one."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next((found for name in names if (found := shutil.which(name))), None)


@pytest.fixture(scope="session")
def browser() -> Iterator[object]:
    """One headless browser for all tests."""
    needed = "needs playwright: pip install playwright (it is in the extra `dev`)"
    api = pytest.importorskip("playwright.sync_api", reason=needed)
    path = chromium()
    if path is None:
        pytest.skip("needs chromium: apt-get install chromium")
    with api.sync_playwright() as driver:
        launched = driver.chromium.launch(executable_path=path, args=list(FLAGS), timeout=120_000)
        yield launched
        launched.close()


@pytest.fixture
def visit(browser, tmp_path, request) -> Callable[..., object]:
    """Open pages: ``with visit(html) as page``."""

    @contextmanager
    def opened(html: str, at: str = "", width: int = 1400, **context: object) -> Iterator[object]:
        file = tmp_path / "index.html"
        file.write_bytes(html.encode("utf-8", "backslashreplace"))
        page = browser.new_context(
            viewport={"width": width, "height": 1000}, offline=True, **context
        ).new_page()
        page.set_default_timeout(60_000)
        noticed = _watch(page, file.as_uri())
        page.goto(file.as_uri() + at)
        yield page
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        name = "".join(one if one.isalnum() else "-" for one in request.node.name)
        page.screenshot(path=SCREENSHOTS / f"{name}.png")
        page.context.close()
        assert noticed == []

    return opened


def _watch(page, own: str) -> list[str]:
    """Collect what a page logs, raises and asks for."""
    noticed: list[str] = []
    page.on("console", lambda message: noticed.append(f"logged: {message.text}"))
    page.on("pageerror", lambda error: noticed.append(f"raised: {error}"))
    page.on("dialog", lambda dialog: noticed.append(f"dialog: {dialog.message}"))

    def ask(asked) -> None:
        if asked.url.split("#")[0] != own and not asked.url.startswith("data:"):
            noticed.append(f"asked for {asked.url}")

    page.on("request", ask)
    return noticed


@pytest.fixture
def lines() -> Callable[[object], list[str]]:
    """The rows of a page's table as texts."""
    return lambda page: page.locator("#table tbody tr").all_inner_texts()
