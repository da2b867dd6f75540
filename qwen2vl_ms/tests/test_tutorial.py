"""The tutorial runs, prints what it quotes, and is the same in both languages."""

from __future__ import annotations

import ast
import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import qwen2vl_ms
from parity.faults import planted
from qwen2vl_ms.tests import tiny, tutorial
from qwen2vl_ms.tests.tutorial import TutorialError, check_translation, outline, read_blocks

ROOT = Path(qwen2vl_ms.__file__).parent.parent
DOCS = ROOT / "docs"
ENGLISH, CHINESE = DOCS / "tutorial.md", DOCS / "tutorial_zh.md"
FIGURES = ("patch-order.svg", "position-ids.svg", "error-along-depth.svg")


def text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


@pytest.mark.slow
def test_every_block_runs_and_prints_what_is_quoted(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny.start()
    monkeypatch.chdir(ROOT)
    assert tutorial.run(ENGLISH) == sum(b.kind == "python" for b in read_blocks(text(ENGLISH))) > 40


@pytest.mark.slow
def test_a_fault_in_a_module_stops_the_tutorial(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny.start()
    monkeypatch.chdir(ROOT)
    with planted("qkv-order"), pytest.raises(AssertionError) as caught:
        tutorial.run(ENGLISH)
    stopped = text(ENGLISH).splitlines()[caught.traceback[-1].lineno]
    assert stopped.strip() == "assert distance(ours, theirs) < ROUNDING"


def page(folder: Path, *blocks: str) -> Path:
    path = folder / "page.md"
    path.write_text("\n\n".join(f"```{block}\n```" for block in blocks), encoding="utf-8")
    return path


def test_blocks_share_a_namespace(tmp_path: Path) -> None:
    assert tutorial.run(page(tmp_path, "python\nx = 2", "python\nprint(x)", "text\n2")) == 2


@pytest.mark.parametrize(
    ("blocks", "message"),
    [
        (["python\nprint(2)", "text\n3"], "line 2: the block prints\n2\n\nand quoted is\n3"),
        (["python\nprint(2)"], "prints\n2\n\nand quoted is\n$"),
        (["python\nx = 2", "text\n2"], "prints\n\nand quoted is\n2"),
        (["text\n2"], "line 2: output is quoted, and no code is before it"),
        (["python\nprint(2)", "\n+", "text\n2"], "no code is before it"),
        (["sh\nls"], "line 1: a block of kind 'sh' is not allowed"),
    ],
)
def test_a_wrong_quotation_fails(tmp_path: Path, blocks: list[str], message: str) -> None:
    with pytest.raises(TutorialError, match=message):
        tutorial.run(page(tmp_path, *blocks))


def test_a_block_that_is_never_closed() -> None:
    with pytest.raises(TutorialError, match="line 2: the block is never closed"):
        read_blocks("text\n```python\nprint(2)\n")


def test_an_error_names_its_line_in_the_page(tmp_path: Path) -> None:
    path = page(tmp_path, "python\nx = 2", "python\nassert x == 2\nassert x == 3")
    with pytest.raises(AssertionError) as caught:
        tutorial.run(path)
    last = caught.traceback[-1]
    assert (last.path, last.lineno + 1) == (path, 7)


def test_the_languages_share_their_blocks() -> None:
    check_translation(read_blocks(text(ENGLISH)), read_blocks(text(CHINESE)))


ORIGINAL = "```python\nx = 1  # one\ny = 2  # [N, 2]\n```\n```\n--\n```\n"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("x = 1  # one", "x = 3  # 一", "the code differs"),
        ("  # one", "  # uno", "'# uno' is not translated"),
        ("  # one", "", "comments stand on other lines"),
        ("[N, 2]", "[N, 3]", "the shape '# .N, 2.' became '# .N, 3.'"),
        ("--", "+-", "the blocks differ"),
        ("```\n--", "```text\n--", "2 blocks and 2, or of other kinds"),
    ],
)
def test_another_block_in_the_other_language_fails(old: str, new: str, message: str) -> None:
    translated = ORIGINAL.replace("# one", "# 一")
    check_translation(read_blocks(ORIGINAL), read_blocks(translated))
    changed = ORIGINAL.replace(old, new).replace("# one", "# 一")
    with pytest.raises(TutorialError, match=message):
        check_translation(read_blocks(ORIGINAL), read_blocks(changed))


def test_the_languages_share_sections_figures_and_links() -> None:
    english, chinese = outline(text(ENGLISH)), outline(text(CHINESE))
    assert english == chinese
    assert english.count("##") == 10
    assert [link for link in english if link.startswith("!")] == [f"!figures/{f}" for f in FIGURES]


def test_the_outline_sees_a_difference() -> None:
    page = "# T\n[zh](a_zh.md#x)\n```python\n# no title\n```\n## S\n![one](f.svg)"
    assert outline(page) == ["#", "a.md", "##", "!f.svg"]
    assert outline(page.replace("## S", "### S")) != outline(page)
    assert outline(page.replace("f.svg", "g.svg")) != outline(page)


def broken_links(path: Path, markdown: str) -> list[str]:
    """Links to files that are not there, or to titles of the page that are not there."""
    titles = re.findall(r"^#+ (.*)$", markdown, flags=re.MULTILINE)
    anchors = {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
    links = re.findall(r"\]\(([^)]+)\)", markdown)
    assert links
    return [
        link
        for link in links
        if (link[1:] not in anchors if link[0] == "#" else not (path.parent / link).exists())
    ]


@pytest.mark.parametrize("path", [ENGLISH, CHINESE], ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    assert broken_links(path, text(path)) == []
    assert broken_links(path, "# A b's\n[x](#a-bs) [y](#ab) [z](none.md)") == ["#ab", "none.md"]


def test_chinese_is_written_with_chinese_punctuation() -> None:
    prose = re.sub(r"^```.*?^```$|`[^`]*`|\]\([^)]*\)", "", text(CHINESE), flags=re.M | re.S)
    wrong = re.compile(r"[\u4e00-\u9fff][,;:!?(]|[,;:!?)][\u4e00-\u9fff]")
    assert wrong.findall(prose) == []
    assert wrong.findall("好,好")


@pytest.fixture(scope="module")
def figures() -> ModuleType:
    """``docs/figures/make.py``, which is no part of a package."""
    spec = importlib.util.spec_from_file_location("make_figures", DOCS / "figures" / "make.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def measured() -> Any:
    return json.loads(text(DOCS / "figures" / "error-along-depth.json"))


def test_figures_are_what_the_program_draws(figures: ModuleType, measured: Any) -> None:
    drawn = dict(figures.figures(measured))
    assert tuple(drawn) == FIGURES
    assert [name for name in FIGURES if drawn[name] != text(DOCS / "figures" / name)] == []


def test_figures_follow_their_data(
    figures: ModuleType, measured: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = dict(figures.figures(measured))
    worse = {run: [{**m, "local": 50.0} for m in modules] for run, modules in measured.items()}
    monkeypatch.setattr(figures, "PARTS", (("text", 1), *figures.PARTS[1:]))
    after = dict(figures.figures(worse))
    assert [name for name in FIGURES if before[name] != after[name]] == list(FIGURES[1:])


def test_the_figure_of_positions_shows_the_tutorials_prompt(figures: ModuleType) -> None:
    found = re.search(r"^parts = (.*)$", text(ENGLISH), flags=re.MULTILINE)
    assert found is not None
    assert tuple(ast.literal_eval(found[1])) == figures.PARTS


def test_what_the_figure_of_errors_is_said_to_show(measured: Any) -> None:
    port, faulty = measured.values()
    assert {module["verdict"] for module in port} == {"PASS"}
    guilty = [m["point"] for m in faulty if m["verdict"] == "GUILTY"]
    assert guilty == ["visual.blocks.2.mlp"]
    after = [m for m in faulty if m["verdict"] == "VICTIM"]
    assert min(m["end_to_end"] for m in after) > 1000
    assert max(m["local"] for m in after) < 100
