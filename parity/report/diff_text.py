"""A comparison of two runs for the terminal, as plain lines."""

from __future__ import annotations

from collections.abc import Iterator

from parity.report.diff_lines import Line, Move
from parity.report.diff_view import DiffView, FactView, Section
from parity.report.text import clean, wrap

SHOWN = 10
"""Lines of one kind of change that a terminal shows, unless all are asked for."""
_NAME = 60
"""Columns of a point's name; longer ones lose their middle."""


def diff_lines(view: DiffView) -> list[str]:
    """Write a comparison for a terminal.

    Args:
        view: The comparison, with as many lines of a kind as are to be shown.

    Returns:
        Plain lines without colour or control characters: the verdict, what makes the runs
        incomparable, what differs in provenance, then the changes, the most important first.
    """
    lines = wrap(f"parity diff {view.word}: {view.sentence}")
    lines += wrap(view.detail, "  ")
    for name, run in (("A", view.a), ("B", view.b)):
        lines.append(f"  {name}  {run.outcome}, {run.rows}: {run.name}")
    for text in view.warnings:
        lines += wrap(f"CAREFUL: {text}")
    lines += _facts(view.facts)
    for title, items in (("not compared in B", view.lost), ("compared again", view.regained)):
        lines += [f"{title} ({len(items):,}):"] * bool(items)
        lines += [text for item in items for text in wrap(f"- {item}", "  ")]
    for section in view.sections:
        lines += ["", *_section(section)]
    return [*lines, "", *wrap(view.threshold)]


def _facts(facts: tuple[FactView, ...]) -> list[str]:
    """What differs between the runs, a line each."""
    if not facts:
        return ["  nothing that was recorded about the runs explains a difference"]
    width = max(len(one.name) for one in facts)
    return [f"  {one.name:<{width}}  {clean(one.a, 60)} -> {clean(one.b, 60)}" for one in facts]


def _section(section: Section) -> Iterator[str]:
    """One kind of change."""
    yield f"{section.change} ({section.count:,}):"
    for text in section.groups:
        yield f"  {text}"
    for one in section.lines:
        yield from _line(one)
    if section.more:
        yield f"  and {section.more:,} more: --all lists them"


def _line(one: Line) -> Iterator[str]:
    """One row: its verdicts, and beneath them the figures that moved and what has to be known."""
    verdicts = one.a.verdict if one.a == one.b else f"{one.a.verdict} -> {one.b.verdict}"
    yield f"  {verdicts:<16} {clean(one.point, _NAME)}  ({one.case}, {one.dtype})"
    moves = [(name, move) for name, move in (("local", one.local), ("end to end", one.end)) if move]
    moved = [(name, move) for name, move in moves if move.way or not move.factor]
    texts = [f"{name} {_move(move)}" for name, move in moved or moves]
    if texts:
        yield from wrap("; ".join(texts), "      ")
    for note in one.notes:
        yield from wrap(note, "      ")


def _move(move: Move) -> str:
    """``1.32 -> 5,210 (x 3,950, token, gate 8)``."""
    return f"{move.a} -> {move.b} ({', '.join(filter(None, (move.factor, move.figure)))})"
