"""The README's example of the port runs, and prints what it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from qwen2vl_ms.tests.tiny import start

ROOT = Path(__file__).parents[2]


def test_the_example_runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    start()
    monkeypatch.chdir(ROOT)
    (code,) = re.findall(
        r"^```python\n(.*?)^```", (ROOT / "README.md").read_text("utf-8"), re.M | re.S
    )
    exec(compile(code, "README.md", "exec"), {})
    promised = re.findall(r"print\(.*\)  # (.*)", code)
    assert promised
    assert capsys.readouterr().out.splitlines() == promised


@pytest.mark.parametrize(
    "page", ["README.md", *sorted(p.name for p in (ROOT / "docs").glob("*.md"))]
)
def test_links_lead_to_files(page: str) -> None:
    path = ROOT / page if page == "README.md" else ROOT / "docs" / page
    links = re.findall(r"\]\((?!http|#)([^)#]+)", path.read_text("utf-8"))
    assert [link for link in links if not (path.parent / link).exists()] == []
