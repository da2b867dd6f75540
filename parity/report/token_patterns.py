"""Say in words on which tokens of a prompt an error is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from parity.report.patterns import NEARLY, ordinal, over
from parity.report.text import clean, number, plural

PADS = {"<|image_pad|>": "image tokens", "<|video_pad|>": "video tokens"}
"""Tokens in whose places pictures are."""


@dataclass(frozen=True)
class Token:
    """A token and its value; ``None`` for padding."""

    row: int
    place: int
    text: str
    value: float | None


def describe(tokens: Sequence[Token], rows: int, limits: Sequence[float]) -> str:
    """Say where the error is, in a sentence or two.

    Args:
        tokens: Of every row of the batch.
        rows: Of the batch.
        limits: Values from which a token is hot, rising, the gate first. The first at which there
            is a pattern is the one told.

    Returns:
        The sentences; empty where no token is hot.
    """
    known = [one for one in tokens if one.value is not None]
    hot = [one for one in known if _hot(one, limits[0])]
    if not hot:
        return ""
    start = _start(len(hot), len(known))
    for limit in limits:
        found = _pattern(known, rows, limit)
        if found and limit == limits[0]:
            return f"The error is {found}.{_worst(known)}"
        if found:
            return f"{start} Over {number(limit)}: {found}.{_worst(known)}"
    return start + _worst(known)


def within(tokens: Sequence[Token], gate: float) -> str:
    """Say that no token is over the gate, and which is nearest to it."""
    known = [one for one in tokens if one.value is not None]
    return f"Every token is within the gate of {number(gate)}.{_worst(known)}" if known else ""


def _hot(token: Token, limit: float) -> bool:
    return token.value is not None and over(token.value, limit)


def _start(hot: int, count: int) -> str:
    """Say how many tokens are hot."""
    if hot == count:
        return "The error is on every token."
    return f"The error is on {hot:,} of {plural(count, 'token')}."


def _worst(tokens: Sequence[Token]) -> str:
    """Name the worst token."""
    worst = max(tokens, key=lambda one: _size(one.value))
    text = f' "{clean(worst.text, 24)}"' if worst.text.strip() else ""
    return f" Worst at token {worst.place}{text}: {number(worst.value or 0.0)}."


def _size(value: float | None) -> float:
    """Return a value to compare; NaN is largest."""
    return -1.0 if value is None else math.inf if math.isnan(value) else value


def _pattern(tokens: Sequence[Token], rows: int, limit: float) -> str:
    """Return words for the tokens over ``limit``; empty where there are no simple ones."""
    hot = [one for one in tokens if _hot(one, limit)]
    if not hot or len(hot) > NEARLY * len(tokens):
        return ""
    row = ""
    hit = sorted({one.row for one in hot})
    if len(hit) < rows:
        names = " and ".join(ordinal(one) for one in hit)
        row = f"only in the {names} row{'s' if len(hit) > 1 else ''} of the batch"
        tokens = [one for one in tokens if one.row in hit]
        if len(hot) >= NEARLY * len(tokens):
            return row
    inside = _by_kind(tokens, limit) or _by_place(tokens, hot)
    return ", ".join(part for part in (row, inside) if part)


def _by_kind(tokens: Sequence[Token], limit: float) -> str:
    """Say that it is on pictures only, or on text only."""
    kinds: dict[str, list[bool]] = {}
    for one in tokens:
        kinds.setdefault(PADS.get(one.text, "text"), []).append(_hot(one, limit))
    shares = {kind: sum(found) / len(found) for kind, found in kinds.items()}
    clear = all(share >= NEARLY or share <= 1 - NEARLY for share in shares.values())
    hot = [kind for kind, share in shares.items() if share >= NEARLY]
    if not clear or not hot or len(hot) == len(shares):
        return ""
    return f"only on {' and '.join(hot)}"


def _by_place(tokens: Sequence[Token], hot: Sequence[Token]) -> str:
    """Say that it is on one token, or on neighbours, or from a token on."""
    places = {one.place for one in hot}
    first, last = min(places), max(places)
    every = [one.place for one in tokens]
    between = [one for one in tokens if first <= one.place <= last]
    if len(places) == 1:
        which = {max(every): "the last token", min(every): "the first token"}
        return f"only on {which.get(first, f'token {first}')}"
    if len(hot) < NEARLY * len(between):
        return ""
    if last == max(every):
        return f"only from token {first} on"
    if first == min(every):
        return f"only up to token {last}"
    return f"only on tokens {first} to {last}"
