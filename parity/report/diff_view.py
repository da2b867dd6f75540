"""What a comparison of two runs shows, on a page and in the terminal: plain values, no HTML."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from parity.core.diff import Change, Changed
from parity.core.diff_runs import Runs
from parity.core.rows import RunResult, Verdict
from parity.report.diff_lines import Line, line
from parity.report.diff_words import MEANINGS, THRESHOLD, detail, ordered, sentence, word
from parity.report.headline import word as outcome
from parity.report.text import MESSAGE_LIMIT, clean, plural

_GOOD = frozenset({Change.CLEARED, Change.PASSING, Change.BETTER})


@dataclass(frozen=True)
class RunView:
    """One of the two runs."""

    name: str
    """As it was named on the command line."""
    outcome: str
    """``PASSED``, ``FAILED``, ``INVALID``."""
    passed: bool
    rows: str
    """``190 rows``."""


@dataclass(frozen=True)
class FactView:
    """Something that was not the same for both runs."""

    name: str
    a: str
    b: str


@dataclass(frozen=True)
class CountView:
    """How many rows changed in one way."""

    change: str
    anchor: str
    count: int
    means: str
    style: str
    """CSS class: ``bad``, ``good`` or none."""
    listed: bool
    """Whether there is a section of this name."""


@dataclass(frozen=True)
class Section:
    """The rows that changed in one way."""

    change: str
    anchor: str
    means: str
    count: int
    groups: tuple[str, ...]
    """Cases that one of the runs does not have at all, in words: their rows are not listed."""
    lines: tuple[Line, ...]
    more: int
    """Lines that are not shown."""


@dataclass(frozen=True)
class DiffView:
    """Everything that is shown."""

    word: str
    title: str
    sentence: str
    detail: str
    worse: bool
    """Whether something got worse, or nothing can be trusted."""
    a: RunView
    b: RunView
    warnings: tuple[str, ...]
    facts: tuple[FactView, ...]
    always: tuple[FactView, ...]
    """What differs between any two runs."""
    counts: tuple[CountView, ...]
    lost: tuple[str, ...]
    regained: tuple[str, ...]
    sections: tuple[Section, ...]
    """The most important kind of change first."""
    threshold: str


def diff_view(runs: Runs, names: tuple[str, str], limit: int) -> DiffView:
    """Compute what is shown.

    Args:
        runs: The comparison.
        names: What the two runs are called.
        limit: Lines of one kind of change; the others are counted.
    """
    changes, shared = ordered(runs), shared_cases(runs)
    listed = [kind for kind in Change if any(one.change is kind for one in changes)]
    return DiffView(
        word=word(runs),
        title=f"{word(runs)}: {clean(names[0], 40)} and {clean(names[1], 40)} - parity diff",
        sentence=sentence(runs),
        detail=detail(runs),
        worse=runs.got_worse or not runs.trusted,
        a=_run(names[0], runs.a),
        b=_run(names[1], runs.b),
        warnings=_texts(runs.warnings),
        facts=_facts(runs, always=False),
        always=_facts(runs, always=True),
        counts=_counts(runs, listed),
        lost=_texts(runs.lost),
        regained=_texts(runs.regained),
        sections=tuple(_section(kind, changes, shared, limit) for kind in listed),
        threshold=THRESHOLD,
    )


def _run(name: str, result: RunResult) -> RunView:
    """One of the two runs."""
    return RunView(clean(name), outcome(result), result.passed, plural(len(result.rows), "row"))


def _facts(runs: Runs, always: bool) -> tuple[FactView, ...]:
    """What differs in provenance."""
    return tuple(
        FactView(clean(one.name), clean(one.a, MESSAGE_LIMIT), clean(one.b, MESSAGE_LIMIT))
        for one in runs.facts
        if one.always is always
    )


def _texts(items: Sequence[str]) -> tuple[str, ...]:
    """Texts from outside, safe to show."""
    return tuple(clean(item, MESSAGE_LIMIT) for item in items)


def _counts(runs: Runs, listed: Sequence[Change]) -> tuple[CountView, ...]:
    """Count every kind of change, those that no row had included."""
    return tuple(
        CountView(kind.value, _anchor(kind), count, MEANINGS[kind], _style(kind), kind in listed)
        for kind, count in runs.rows.counts.items()
    )


def shared_cases(runs: Runs) -> frozenset[tuple[str, str]]:
    """Case, and dtype and mode, of all rows that have a partner."""
    pairs = [one for one in runs.rows.changes if one.a is not None and one.b is not None]
    rows = [row for one in pairs for row in (one.a, one.b) if row is not None]
    return frozenset((row.case, row.ran_in) for row in rows)


def _section(
    kind: Change, changes: Sequence[Changed], shared: Collection[tuple[str, str]], limit: int
) -> Section:
    """The rows that changed in one way; a case that only one run has is one line."""
    mine = [one for one in changes if one.change is kind]
    groups, single = _whole_cases(mine, shared)
    return Section(
        kind.value, _anchor(kind), MEANINGS[kind], len(mine), _first(groups, limit),
        tuple(line(one) for one in single[:limit]), max(0, len(single) - limit),
    )  # fmt: skip


def _whole_cases(
    changes: Sequence[Changed], shared: Collection[tuple[str, str]]
) -> tuple[tuple[str, ...], list[Changed]]:
    """Cases that only one run has, in words; and the other changes. What fails is never summed."""
    counts: Counter[tuple[str, str]] = Counter()
    single = []
    for one in changes:
        name = one.row.case, one.row.ran_in
        if name in shared or one.row.verdict is not Verdict.PASS:
            single.append(one)
        else:
            counts[name] += 1
    return tuple(_group(*name, count) for name, count in counts.items()), single


def _first(groups: Sequence[str], limit: int) -> tuple[str, ...]:
    """The first of them, and how many more there are."""
    more = len(groups) - limit
    return (*groups[:limit], *([f"and {plural(more, 'more case')}"] if more > 0 else []))


def _group(case: str, dtype: str, count: int) -> str:
    """A case that only one run has."""
    return f"{clean(case)} in {clean(dtype)}: {plural(count, 'row')} that pass"


def _style(kind: Change) -> str:
    """How a kind of change looks."""
    return "bad" if kind.bad else "good" if kind in _GOOD else ""


def _anchor(kind: Change) -> str:
    """The id of a section."""
    return kind.value.replace(" ", "-")
