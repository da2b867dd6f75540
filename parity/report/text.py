"""How numbers, names and indices are written for people."""

from __future__ import annotations

import math
import textwrap
import unicodedata

NAME_LIMIT = 160
"""Characters of a name shown on a page; the data files always hold all of it."""
MESSAGE_LIMIT = 800
WIDTH = 100
"""Columns of what is written to a terminal."""


def number(value: float) -> str:
    """Write a number with three significant digits, ``NaN`` and ``inf`` in words."""
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("inf" if value > 0 else "-inf")
    if value == 0:
        return "0"
    if not 1e-3 <= abs(value) < 1e5:
        mantissa, exponent = f"{value:.1e}".split("e")
        return f"{mantissa}e{int(exponent)}"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    text = f"{value:,.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def pair(reference: float, candidate: float) -> tuple[str, str]:
    """Write two values with as few digits as still tell them apart."""
    for digits in (6, 9, 17):
        texts = f"{reference:.{digits}g}", f"{candidate:.{digits}g}"
        if texts[0] != texts[1]:
            break
    return texts


def plural(count: int, word: str) -> str:
    """``1 point``, ``2 points``, ``3,000 points``."""
    return f"{count:,} {word}" if count == 1 else f"{count:,} {word}s"


def clean(text: str, limit: int = NAME_LIMIT) -> str:
    """Make text safe to show: nothing that moves a cursor or reorders text, and not too long.

    Control characters (terminal escapes among them), lone surrogates and bidirectional overrides
    become U+FFFD; white space becomes one space. What is too long loses its middle.
    """
    shown = " ".join(text.split())
    if not shown.isprintable():
        shown = "".join(map(_visible, shown))
    if len(shown) <= limit:
        return shown
    head = (limit - 3) * 2 // 3
    return f"{shown[:head]}...{shown[len(shown) - (limit - 3 - head) :]}"


def wrap(text: str, indent: str = "") -> list[str]:
    """Break text into lines of at most ``WIDTH``."""
    return textwrap.wrap(
        text, WIDTH, initial_indent=indent, subsequent_indent=f"{indent}  ", break_on_hyphens=False
    )


def _visible(character: str) -> str:
    """Return the character, or U+FFFD where it is not for showing."""
    if character.isprintable() or character in "\u200c\u200d":  # joiners belong to their script
        return character
    return character if unicodedata.category(character) == "Zs" else "\ufffd"
