"""Every row of the table as compact columns, from which the page's script fills it.

A run of 12,000 rows would be 12 MB of table. Its texts are few sentences with many numbers, so
they are kept as a list of patterns, which pattern each row has, and the numbers that go into them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from markupsafe import Markup

from parity.report.table import FigureView, RowView

HOLE = "\x01"
"""Stands for a number in a pattern; shown texts hold no control characters."""
_NUMBER = re.compile(r"(?<![A-Za-z0-9_])-?\d[\d.,]*(?:e-?\d+)?(?![A-Za-z0-9_])")


FIELDS = {
    "id": ("anchor",),
    "about": ("verdict", "style", "case", "dtype", "mode", "ran_in", "stage"),
    "name": ("point",),
    "words": ("message", "suggestions", "notes", "cause", "cause_anchor"),
    "figures": (
        "local_text", "local_where", "local_use", "local_over",
        "end_text", "end_where", "end_use", "end_over",
        "size", "where", "reference", "candidate",
    ),
}  # fmt: skip
"""What each column holds: fields that tend to go together, so that patterns are few."""


@dataclass(frozen=True)
class Column:
    """Some fields of every row."""

    fields: tuple[str, ...]
    patterns: tuple[str, ...]
    """Each text once, its numbers taken out; fields are separated by tabs, items of a list by
    line breaks."""
    which: tuple[int, ...]
    """Pattern of each row."""
    numbers: str
    """What goes into the patterns, in order, separated by spaces."""

    def rows(self) -> list[dict[str, str]]:
        """Put the fields together again, as the page's script does."""
        numbers = iter(self.numbers.split(" "))
        texts = [re.sub(HOLE, lambda _: next(numbers), self.patterns[one]) for one in self.which]
        return [dict(zip(self.fields, text.split("\t"), strict=True)) for text in texts]


def columns(rows: Sequence[RowView]) -> dict[str, Column]:
    """Take the rows apart, in run order; nothing that the table shows is lost."""
    found = [_fields(row) for row in sorted(rows, key=lambda row: row.number)]
    return {name: _column(fields, found) for name, fields in FIELDS.items()}


def payload(rows: Sequence[RowView]) -> Markup:
    """The rows as JSON that can stand in a page: no ``<`` in it, whatever names hold."""
    found = {name: asdict(one) for name, one in columns(rows).items()}
    text = json.dumps(found, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return Markup(text.replace("<", "\\u003c"))


def _column(fields: tuple[str, ...], rows: Sequence[dict[str, str]]) -> Column:
    patterns: dict[str, int] = {}
    which, numbers = [], []
    for row in rows:
        text = "\t".join(row[name] for name in fields)
        numbers += _NUMBER.findall(text)
        which.append(patterns.setdefault(_NUMBER.sub(HOLE, text), len(patterns)))
    return Column(fields, tuple(patterns), tuple(which), " ".join(numbers))


def _fields(row: RowView) -> dict[str, str]:
    """Every field of a row as text; those of a missing figure or difference are empty."""
    plain = {name: str(getattr(row, name)) for name in (*FIELDS["id"], *FIELDS["about"], "point",
             "message", "cause", "cause_anchor")}  # fmt: skip
    lists = {"suggestions": "\n".join(row.suggestions), "notes": "\n".join(row.notes)}
    largest = {
        name: getattr(row.difference, name) if row.difference else ""
        for name in ("size", "where", "reference", "candidate")
    }
    return plain | lists | _figure("local", row.local) | _figure("end", row.end) | largest


def _figure(side: str, figure: FigureView | None) -> dict[str, str]:
    """The fields of a figure; ``over`` marks one that is over its gate."""
    if figure is None:
        return dict.fromkeys((f"{side}_text", f"{side}_where", f"{side}_use", f"{side}_over"), "")
    return {
        f"{side}_text": figure.text, f"{side}_where": figure.where, f"{side}_use": figure.sort,
        f"{side}_over": "" if figure.ok else "over",
    }  # fmt: skip
