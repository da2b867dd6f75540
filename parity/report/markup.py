"""Text from anywhere as Markdown that shows it as it is: nothing in it becomes markup."""

from __future__ import annotations

import re

from parity.report.text import clean

_PUNCTUATION = re.compile(r"([!-/:-@\[-`{-~])")


def escaped(text: str) -> str:
    """Text for a sentence: no character of it is markup."""
    return _PUNCTUATION.sub(r"\\\1", clean(text, 4000))


def code(text: str, limit: int = 160) -> str:
    """Text as code, fit for a table's cell: GitHub looks for no names or addresses in it."""
    shown = clean(text, limit)
    longest = max(map(len, re.findall("`+", shown)), default=0)
    fence = "`" * (longest + 1)
    pad = " " if not shown.strip() or "`" in (shown[0], shown[-1]) else ""
    # A table is cut at its bars before anything else is looked at, inside code too.
    return f"{fence}{pad}{shown or '-'}{pad}{fence}".replace("|", "\\|")


def fenced(text: str) -> str:
    """Lines as a block of code that nothing in them can end."""
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{text}\n{fence}"
