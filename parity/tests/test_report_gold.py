"""The page, byte for byte, against pages that a person has looked at.

After a change that is meant, ``make update-gold`` writes them anew; look at the difference in git
before committing it. What changes by itself is scrubbed: style, scripts and their hashes.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from parity.core.rows import Kind, RunResult, Verdict
from parity.report.html import render
from parity.tests.report_runs import (
    EVIL_CASE,
    GUILTY_POINT,
    PROVENANCE,
    both_modes,
    odd_numbers,
    row,
)

GOLD = Path(__file__).parent / "gold"
UPDATE = os.environ.get("PARITY_UPDATE_GOLD") == "1"


def few(guilty: bool) -> RunResult:
    """A handful of points in two dtypes, small enough to be read as HTML."""
    rows = []
    for dtype in ("fp32", "bf16"):
        for order, (point, stage, kind) in enumerate(
            [
                ("pixel_values", "preprocessing", Kind.EXACT),
                ("visual.blocks.1.norm1", "vision", Kind.FLOAT),
                (GUILTY_POINT, "vision", Kind.FLOAT),
                ("lm_head", "text", Kind.FLOAT),
            ]
        ):
            verdict = Verdict.PASS
            if guilty and order > 1:
                verdict = Verdict.GUILTY if order == 2 else Verdict.VICTIM
            rows.append(
                row(order, point, verdict, stage=stage, kind=kind, dtype=dtype,
                    suggestions=("erf GELU",) if verdict is Verdict.GUILTY else ())
            )  # fmt: skip
    return RunResult(rows, dict(PROVENANCE))


def hostile() -> RunResult:
    rows = [row(0, EVIL_CASE, Verdict.GUILTY, case=EVIL_CASE, message=EVIL_CASE)]
    return RunResult(rows, {EVIL_CASE: EVIL_CASE}, [EVIL_CASE])


RUNS = {
    "modes": both_modes,
    "passing": lambda: few(guilty=False),
    "failing": lambda: few(guilty=True),
    "odd": odd_numbers,
    "hostile": hostile,
    "empty": lambda: RunResult([]),
}


def scrubbed(page: str) -> str:
    """The page without what is looked at elsewhere, or differs from machine to machine."""
    page = re.sub(r"<style>.*?</style>", "<style>...</style>", page, flags=re.S)
    page = re.sub(r"<script>.*?</script>", "<script>...</script>", page, flags=re.S)
    page = re.sub(r"'sha256-[A-Za-z0-9+/=]+'", "'sha256-...'", page)
    page = re.sub(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d[Z+:\d]*", "(time)", page)
    page = re.sub(r"(?<=<bdi>)(torch |mindspore )?\d+\.\d+\.\d+(?=</bdi>)", r"\1(version)", page)
    return page.replace(str(Path.cwd()), "(here)")


@pytest.mark.parametrize("name", RUNS)
def test_the_page_is_the_one_that_was_looked_at(name: str) -> None:
    page, file = scrubbed(render(RUNS[name]())), GOLD / f"{name}.html"
    if UPDATE:
        GOLD.mkdir(exist_ok=True)
        file.write_text(page, encoding="utf-8")
    same = file.read_text(encoding="utf-8") == page
    assert same, f"{file.name} differs: run `make update-gold` and look at it with `git diff`"


def test_every_gold_page_belongs_to_a_run() -> None:
    assert {file.stem for file in GOLD.iterdir()} == set(RUNS)


def test_a_changed_page_is_noticed() -> None:
    """The scrubbers leave what matters: a verdict, a figure, an address in the policy."""
    page = render(few(guilty=True))
    for old, new in ((" / 8", " / 9"), (">GUILTY<", ">PASS<"), ("'none'", "'self'")):
        assert old in page
        assert scrubbed(page.replace(old, new)) != scrubbed(page)
    assert scrubbed(page.replace("2026-01-17T03:12:44Z", "2031-12-01T00:00:00Z")) == scrubbed(page)
