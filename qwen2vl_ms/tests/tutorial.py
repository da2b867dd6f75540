"""The tutorial's blocks: read from Markdown, run in order, and compared between languages.

Three kinds of fenced blocks are allowed:

    python   is run; all blocks of a file share one namespace
    text     is exactly what the python block right before it prints
    (none)   is a drawing

A python block that prints has a text block after it. Translations hold the same blocks, except that
comments are in their language. A comment that says a shape ([N, 2]) is in none.
"""

from __future__ import annotations

import contextlib
import io
import re
import sys
import tokenize
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

FENCE = "```"
KINDS = ("python", "text", "")
HAN = re.compile(r"[\u4e00-\u9fff]")


class TutorialError(AssertionError):
    """A block breaks one of the rules above, or prints something else than is quoted."""


@dataclass(frozen=True)
class Block:
    """A fenced block: its kind, its first line's number in the file, and its lines."""

    kind: str
    line: int
    source: str


def read_blocks(markdown: str) -> list[Block]:
    """All fenced blocks in order.

    Raises:
        TutorialError: A kind that is not allowed, a fence left open, or a quotation of nothing.
    """
    blocks, kind, start, lines = [], None, 0, markdown.splitlines()
    for number, line in enumerate(lines, 1):
        if not line.startswith(FENCE):
            continue
        if kind is None:
            kind, start = line.removeprefix(FENCE), number + 1
            if kind not in KINDS:
                raise TutorialError(f"line {number}: a block of kind {kind!r} is not allowed")
        else:
            source = "".join(f"{one}\n" for one in lines[start - 1 : number - 1])
            blocks.append(Block(kind, start, source))
            kind = None
    if kind is not None:
        raise TutorialError(f"line {start - 1}: the block is never closed")
    for before, block in pairwise([Block("", 0, ""), *blocks]):
        if block.kind == "text" and before.kind != "python":
            raise TutorialError(f"line {block.line}: output is quoted, and no code is before it")
    return blocks


def run(path: Path) -> int:
    """Run a file's python blocks from the current folder, and compare what they print.

    Returns:
        How many ran.

    Raises:
        TutorialError: Something else was printed than is quoted.
        Exception: What a block raises, with its line in the Markdown file.
    """
    blocks = read_blocks(path.read_text(encoding="utf-8"))
    count = 0
    with fresh_module(f"run_of_{path.stem}") as namespace:
        for block, after in pairwise([*blocks, Block("", 0, "")]):
            if block.kind != "python":
                continue
            printed = _run_block(block, path, namespace)
            quoted = after.source if after.kind == "text" else ""
            if printed != quoted:
                raise TutorialError(
                    f"{path.name}, line {block.line}: the block prints\n{printed}\nand quoted is\n"
                    f"{quoted}"
                )
            count += 1
    return count


@contextlib.contextmanager
def fresh_module(name: str) -> Iterator[dict[str, Any]]:
    """The namespace of a new module, which MindSpore's compiler looks functions' globals up in."""
    sys.modules[name] = ModuleType(name)
    try:
        yield vars(sys.modules[name])
    finally:
        del sys.modules[name]


def _run_block(block: Block, path: Path, namespace: dict[str, Any]) -> str:
    """What the block prints; lines are numbered as in the file, which is where they are shown."""
    code = compile("\n" * (block.line - 1) + block.source, str(path), "exec")
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        exec(code, namespace)
    return output.getvalue()


def split_comments(source: str) -> tuple[list[str], dict[int, str]]:
    """Lines of code without their comments, and the comments by line, from 1."""
    lines, comments = source.splitlines(), {}
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            comments[row] = token.string
            lines[row - 1] = lines[row - 1][:column].rstrip()
    return lines, comments


def is_shape(comment: str) -> bool:
    """Whether a comment says shapes only, as ``# [N, 2], [N, 80]``."""
    return re.fullmatch(r"# \[[^\u4e00-\u9fff]*\]", comment) is not None


def check_translation(original: Sequence[Block], translated: Sequence[Block]) -> None:
    """Check that a Chinese file holds the blocks of the English one.

    Raises:
        TutorialError: They differ in more than comments, or a comment is not translated.
    """
    kinds = [[block.kind for block in blocks] for blocks in (original, translated)]
    if kinds[0] != kinds[1]:
        raise TutorialError(f"{len(original)} blocks and {len(translated)}, or of other kinds")
    for one, other in zip(original, translated, strict=True):
        where = f"lines {one.line} and {other.line}"
        if one.kind != "python":
            if one.source != other.source:
                raise TutorialError(f"{where}: the blocks differ")
            continue
        (code, comments), (code_too, comments_too) = map(split_comments, (one.source, other.source))
        if code != code_too:
            raise TutorialError(f"{where}: the code differs")
        if comments.keys() != comments_too.keys():
            raise TutorialError(f"{where}: comments stand on other lines")
        for row, comment in comments.items():
            _check_comment(comment, comments_too[row], where)


def _check_comment(original: str, translated: str, where: str) -> None:
    if is_shape(original):
        if translated != original:
            raise TutorialError(f"{where}: the shape {original!r} became {translated!r}")
    elif not HAN.search(translated):
        raise TutorialError(f"{where}: the comment {translated!r} is not translated")


def outline(markdown: str) -> list[str]:
    """What both languages share outside of the blocks: heading levels, figures and links, in order.

    Titles are left out, and links are without the language in the file's name.
    """
    text = re.sub(rf"^{FENCE}.*?^{FENCE}$", "", markdown, flags=re.MULTILINE | re.DOTALL)
    found = re.finditer(r"^(#+) |(!?)\[[^\]]*\]\(([^)]+)\)", text, flags=re.MULTILINE)
    return [
        match[1] or match[2] + match[3].replace("_zh.md", ".md").partition("#")[0]
        for match in found
    ]
