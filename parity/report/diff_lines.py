"""What a line of a comparison shows: one row in both runs."""

from __future__ import annotations

from dataclasses import dataclass

from parity.core.diff import Change, Changed
from parity.core.rows import Comparison, Row, Verdict
from parity.core.shift import COUNT, Shift
from parity.report.diff_words import factor, ran_in
from parity.report.figures import SLICE_WORDS, worst_of
from parity.report.panels import label
from parity.report.table import style
from parity.report.text import clean, number, plural

_MESSAGE_LIMIT = 300
_EXPLAINED = frozenset({Change.FAILING, Change.BLAMED, Change.VERDICT, Change.APPEARED})
"""Changes of which B's message says why."""


@dataclass(frozen=True)
class Side:
    """A verdict with its looks; a dash where the run does not have the row."""

    verdict: str
    style: str


@dataclass(frozen=True)
class Move:
    """One figure in both runs."""

    a: str
    """Its ratio in A; a dash where there is none."""
    b: str
    factor: str
    """``x 3.9``; empty where one of the two is missing."""
    figure: str
    """``token, gate 8`` or ``token, gate 8 -> 4``."""
    way: int
    """1 worse, -1 better, 0 neither."""


@dataclass(frozen=True)
class Line:
    """One row in both runs."""

    a: Side
    b: Side
    point: str
    case: str
    dtype: str
    local: Move | None
    """On clean inputs, or the elements that differ where equality is asked for."""
    end: Move | None
    notes: tuple[str, ...]


def line(one: Changed) -> Line:
    """Compute the line of a change."""
    by_scope = {shift.scope: shift for shift in one.shifts}
    local = by_scope.get("local") or by_scope.get("equality")
    return Line(
        a=_side(one.a),
        b=_side(one.b),
        point=label(one.row),
        case=clean(one.row.case),
        dtype=ran_in(one),
        local=_move(local) if local else _half(one, "local"),
        end=_move(by_scope["end_to_end"]) if "end_to_end" in by_scope else _half(one, "end_to_end"),
        notes=tuple(_notes(one)),
    )


def _side(row: Row | None) -> Side:
    """The verdict of one run."""
    return Side("-", "none") if row is None else Side(row.verdict.value, style(row.verdict))


def _move(shift: Shift) -> Move:
    """A figure that both runs have."""
    if shift.figure == COUNT:
        words = "elements differ"
    else:
        gates = dict.fromkeys(map(number, (shift.gate_a, shift.gate_b)))
        words = f"{SLICE_WORDS[shift.figure]}, gate {' -> '.join(gates)}"
    a, b = number(shift.ratio_a), number(shift.ratio_b)
    return Move(a, b, factor(shift.growth), words, shift.direction)


def _half(one: Changed, scope: str) -> Move | None:
    """A figure that one run has."""
    a, b = (_ratio(None if row is None else getattr(row, scope)) for row in (one.a, one.b))
    return None if a == b == "-" else Move(a, b, "", "ratio / gate", 0)


def _ratio(comparison: Comparison | None) -> str:
    """The worst ratio against its gate, or a dash."""
    worst = worst_of(comparison)
    return "-" if worst is None else f"{number(worst.figure.ratio)} / {number(worst.figure.gate)}"


def _notes(one: Changed) -> list[str]:
    """What has to be known beside the figures: the message, causes and overrides."""
    notes, b = [], one.b
    if b is not None and one.change in _EXPLAINED and b.verdict not in (Verdict.PASS,):
        notes.append(_because(b))
    overrides = [row.override for row in (one.a, one.b) if row is not None]
    if len(set(overrides)) > 1:
        was, now = (clean(text or "none", _MESSAGE_LIMIT) for text in overrides)
        notes.append(f"override: {was} -> {now}")
    counts = [row.mismatches for row in (one.a, one.b) if row is not None and row.mismatches]
    if counts and not one.shifts:
        notes.append(f"{plural(counts[-1], 'element')} differ")
    return notes


def _because(row: Row) -> str:
    """Why a row fails: its cause for a victim, else its message."""
    if row.verdict is Verdict.VICTIM and row.cause:
        return f"because of {clean(row.cause)}"
    return clean(row.message, _MESSAGE_LIMIT)
