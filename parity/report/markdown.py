"""A run as Markdown for people: what GitHub shows as a job's summary, or a comment holds."""

from __future__ import annotations

from collections.abc import Sequence

from parity.core.rows import RunResult, Verdict
from parity.report.groups import Group, group
from parity.report.headline import detail, sentence, word
from parity.report.markup import code, escaped, fenced
from parity.report.modes import modes_lines
from parity.report.panels import label
from parity.report.terminal import culprit
from parity.report.text import clean, number

SUMMARY_LIMIT = 256_000
"""Bytes that a summary never reaches, whatever is in the run."""
_GROUPS = 100
_LISTED = 10
_COLUMNS = ("case", "dtype", "compared", "pass", "guilty", "victims", "other", "worst local")
_SHOWN = ("command", "commit", "working tree", "machine", "seconds")


def to_markdown(result: RunResult) -> str:
    """Write a run's verdict, its first guilty point and a table of cases as Markdown.

    Names in it are data: whatever they hold, they are shown as they are, and make no markup.
    """
    groups = group(result.rows)
    parts = [f"## parity: {escaped(word(result))}", escaped(sentence(result))]
    parts += _listed("Proofs of the run itself that failed:", result.invalid)
    if (first := result.first_failure) is not None:
        parts.append(fenced("\n".join(culprit(first))))
    parts.append(escaped(detail(result, groups)))
    parts += map(escaped, modes_lines(result.rows))
    if groups:
        parts.append(_table(groups))
    parts += _listed("Not compared:", result.not_compared)
    facts = [(name, result.provenance[name]) for name in _SHOWN if name in result.provenance]
    parts += ["\n".join(f"- {name}: {code(str(value))}" for name, value in facts)] if facts else []
    return "\n\n".join(parts) + "\n"


def _table(groups: Sequence[Group]) -> str:
    """A line for every case and dtype, those that fail first."""
    shown = sorted(groups, key=lambda one: one.passed)[:_GROUPS]
    lines = [_COLUMNS, ("---",) * len(_COLUMNS), *map(_cells, shown)]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    more = len(groups) - len(shown)
    return f"{table}\n\nand {more:,} more in the report" if more else table


def _cells(one: Group) -> tuple[str, ...]:
    """The cells of one line."""
    counts = (f"{one.compared}/{len(one.rows)}", one.count(Verdict.PASS),
              one.count(Verdict.GUILTY), one.count(Verdict.VICTIM), one.other)  # fmt: skip
    worst = "-"
    if one.worst_local is not None:
        row, figure = one.worst_local
        ratio = f"{number(figure.figure.ratio)} of {number(figure.figure.gate)}"
        worst = f"{ratio} at {code(label(row))}"
    return (code(one.case), code(one.dtype), *map(str, counts), worst)


def _listed(title: str, items: Sequence[str]) -> list[str]:
    """The first items under a title; nothing if there are none."""
    if not items:
        return []
    lines = [f"- {escaped(clean(item, 300))}" for item in items[:_LISTED]]
    if len(items) > _LISTED:
        lines.append(f"- and {len(items) - _LISTED:,} more in the report")
    return [f"{title} ({len(items):,})", "\n".join(lines)]
