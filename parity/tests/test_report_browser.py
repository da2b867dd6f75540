"""The page in a real browser: its script runs, filters, sorts and reveals, without an error."""

import json
import re
import shutil
import subprocess

import pytest

from parity.report.html import render
from parity.tests.report_runs import EVIL_CASE, GUILTY_POINT, failing, hostile

BROWSER = next(
    (
        found
        for name in ("chromium", "chromium-browser", "google-chrome")
        if (found := shutil.which(name))
    ),
    None,
)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="needs chromium: apt-get install chromium"),
]

# Acts as a person would, and writes what it saw into the page.
PROBE = """
window.seen = {errors: []};
addEventListener("error", (event) => seen.errors.push(event.message));
addEventListener("securitypolicyviolation", (event) => seen.errors.push(event.violatedDirective));
addEventListener("load", () => setTimeout(() => {
  const rows = () => Array.from(document.querySelectorAll("#table tbody tr:not([hidden])"));
  const first = () => rows()[0].querySelector("td a").textContent;
  const press = (key) => (document.activeElement || document.body)
    .dispatchEvent(new KeyboardEvent("keydown", {key, bubbles: true, cancelable: true}));
  const input = (id, value) => {
    const one = document.getElementById(id);
    if (one.type === "checkbox") one.checked = value; else one.value = value;
    one.dispatchEvent(new Event("input", {bubbles: true}));
  };
  const choose = (name, value) => {
    const one = document.querySelector(`select[data-of=${name}]`);
    one.value = value;
    one.dispatchEvent(new Event("input", {bubbles: true}));
  };
  const sort = (index) => document.querySelectorAll("#table th button")[index].click();
  const note = (name, value) => { seen[name] = value; };
  note("all", rows().length);
  press("/"); note("slash", document.activeElement.id); document.activeElement.blur();
  press("j"); press("j"); note("j", rows().indexOf(document.activeElement));
  press("k"); note("k", rows().indexOf(document.activeElement));
  input("failing", true); note("failing", rows().length);
  choose("verdict", "DRIFT"); note("drift", rows().length);
  note("said", document.getElementById("shown").textContent);
  location.hash = document.querySelector("#table tbody tr.pass").id;
  setTimeout(() => {
    note("revealed", rows().length);
    input("filter", "merger ln_q"); note("words", rows().length);
    press("Escape"); note("cleared", rows().length);
    input("filter", "no such point"); note("nothing", !document.getElementById("nothing").hidden);
    document.getElementById("bar").reset();
    setTimeout(() => {
      sort(5); note("up", first()); sort(5); note("down", rows()[0].cells[5].textContent);
      note("sorted", document.querySelectorAll("#table th")[5].getAttribute("aria-sort"));
      sort(5); note("back", rows()[0].cells[0].textContent);
      press("?"); note("help", document.getElementById("how").open);
      const plot = document.querySelector(".plot"), box = plot.getBoundingClientRect();
      const middle = {clientX: box.left + box.width / 2, clientY: box.top + 9};
      plot.dispatchEvent(new PointerEvent("pointermove", middle));
      note("readout", plot.closest("figure").querySelector(".readout").textContent);
      const out = document.createElement("pre");
      out.id = "seen"; out.textContent = JSON.stringify(seen);
      document.body.append(out);
    }, 30);
  }, 60);
}, 30));
"""


def visit(page, folder):
    """Open a page in the browser, and return what the probe in it saw."""
    # The probe stands first, and the policy makes way for it and for nothing else.
    page = page.replace("; base-uri", " 'nonce-probe'; base-uri")
    page = page.replace("<title>", f'<script nonce="probe">{PROBE}</script><title>', 1)
    (folder / "page.html").write_text(page, encoding="utf-8")
    command = [
        BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        "--disable-dev-shm-usage", f"--user-data-dir={folder / 'profile'}",
        "--virtual-time-budget=8000", "--window-size=1280,1800", "--dump-dom",
        (folder / "page.html").as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    if "<html" not in done.stdout:
        pytest.skip(f"{BROWSER} does not start here: {done.stderr[-300:]}")
    found = re.search(r'<pre id="seen">(.*?)</pre>', done.stdout, re.S)
    assert found, f"the probe wrote nothing: {done.stderr[-2000:]}"
    return json.loads(found[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))


def test_the_script_filters_sorts_moves_and_reveals(tmp_path):
    result = failing()
    seen = visit(render(result), tmp_path)
    total, passing = len(result.rows), result.counts["PASS"]
    assert seen["errors"] == []
    assert seen["all"] == total
    assert seen["slash"] == "filter"
    assert (seen["j"], seen["k"]) == (1, 0)
    assert seen["failing"] == total - passing
    assert seen["drift"] == result.counts["DRIFT"]
    assert seen["said"] == f"{result.counts['DRIFT']} of {total:,} shown"
    assert seen["revealed"] == seen["cleared"] == total
    assert seen["words"] == sum(one.point == "visual.merger.ln_q" for one in result.rows)
    assert seen["nothing"] is True
    assert seen["down"].startswith("5,211 / 6")
    assert seen["sorted"] == "descending"
    assert seen["back"] == "GUILTY"
    assert seen["help"] is True
    assert "local" in seen["readout"]
    assert seen["up"] != GUILTY_POINT


def test_hostile_names_run_nothing(tmp_path):
    seen = visit(render(hostile()), tmp_path)
    assert seen["errors"] == []
    assert seen["all"] == len(hostile().rows)
    assert "alert" in EVIL_CASE


def test_the_probe_would_see_an_error(tmp_path):
    broken = render(failing()).replace("<footer>", '<img src="x" onerror="alert(1)"><footer>', 1)
    assert visit(broken, tmp_path)["errors"]
