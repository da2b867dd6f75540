"""The result as rows of ratios: for a terminal, in Markdown for the README, and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from parity.bench.contestants import OURS, Contestant
from parity.bench.items import MEMORY, Item
from parity.bench.ratios import Spread, met, round_ratios
from parity.bench.rounds import ADDED, SECONDS, TOTAL, Figures, Result

NONE = "-"
WHERE_OTHERS_STAND = (
    "Where others stand, of Hugging Face eager: MindONE, which substitutes operators, 4.5 to 8.3; "
    "MindNLP 2.6 to 2.9."
)


@dataclass(frozen=True)
class Row:
    """One figure of one item, by contestant."""

    title: str
    goal: float | None
    unit: str
    contestants: tuple[Contestant, ...]
    series: Mapping[str, Sequence[float]]
    absent: Mapping[str, str]

    def ratio(self, contestant: Contestant) -> Spread | None:
        """Its ratio to the baseline, None where one of both has no figures."""
        mine, baseline = (self.series.get(c.name) for c in (contestant, self.contestants[0]))
        return Spread.of(round_ratios(mine, baseline)) if mine and baseline else None

    def cell(self, contestant: Contestant) -> str:
        """Median ratio with range; of the baseline, what it is; of the port, whether it is met."""
        if contestant.name in self.absent:
            return NONE
        ratio = self.ratio(contestant)
        if ratio is None:
            return "failed"
        if contestant == self.contestants[0]:
            return f"1 ({amount(Spread.of(self.series[contestant.name]).median, self.unit)})"
        text = f"{ratio.median:.2f} ({ratio.low:.2f} to {ratio.high:.2f})"
        if self.goal is None or contestant.team != OURS:
            return text
        return f"{text} {'met' if met(ratio, self.goal) else 'not met'}"


def amount(value: float, unit: str) -> str:
    """Seconds or bytes, for people."""
    if unit == SECONDS:
        return f"{value * 1e3:.3g} ms" if value < 1 else f"{value:.3g} s"
    return f"{value / 1e9:.2f} GB" if value >= 1e9 else f"{value / 1e6:.0f} MB"


def rows_of(result: Result) -> list[Row]:
    """The rows of one item: its time, or the memory it adds and its process then has."""
    item = result.item
    if item.measure != MEMORY:
        return [_row(result.title, SECONDS, result)]
    return [_row(f"{result.title}: added by it", ADDED, result),
            _row("the same: of the whole process", TOTAL, result)]  # fmt: skip


def _row(title: str, unit: str, result: Result) -> Row:
    item = result.item
    found = {name: figures.series.get(unit, []) for name, figures in result.figures.items()}
    return Row(title, result.goal, unit, result.contestants, found, item.absent)


def tables_of(results: Sequence[Result]) -> Iterator[tuple[list[str], list[list[str]]]]:
    """Head and cells of a table for each kind of item, whose columns differ."""
    for kind in dict.fromkeys(_kind(result.item) for result in results):
        chosen = [result for result in results if _kind(result.item) == kind]
        columns = list(dict.fromkeys(c for result in chosen for c in result.contestants))
        head = ["", *(column.title for column in columns), "goal"]
        cells = []
        for row in (row for result in chosen for row in rows_of(result)):
            goal = NONE if row.goal is None else f"{row.goal:g} or less"
            taking_part = [row.cell(c) if c in row.contestants else NONE for c in columns]
            cells.append([row.title, *taking_part, goal])
        yield head, cells


def _kind(item: Item) -> tuple[str, str]:
    return item.kind, item.measure


def remarks(results: Sequence[Result], facts: Mapping[str, str]) -> list[str]:
    """What the tables do not say: how it was measured, sameness, absences, failures."""
    lines = [
        "Time or memory as a multiple of the first column's: median (range) over "
        f"{facts['rounds']}. {facts['machine']}; {facts['threads']}. {facts['versions']}.",
        *_sameness(results),
        WHERE_OTHERS_STAND,
    ]
    absences: dict[tuple[str, str], list[str]] = {}
    for result in results:
        for name, why in result.item.absent.items():
            absences.setdefault((result.item.name, why), []).append(name)
    lines += [f"{item} leaves out {', '.join(names)}: {why}."
              for (item, why), names in absences.items()]  # fmt: skip
    return lines


def _sameness(results: Sequence[Result]) -> list[str]:
    """The largest difference of each contestant's results from the baseline's, in a sentence."""
    told = []
    for kind in dict.fromkeys(result.item.kind for result in results):
        largest: dict[str, float] = {}
        for result in results:
            for contestant in result.contestants[1:] if result.item.kind == kind else ():
                error = result.figures[contestant.name].error
                if error is not None:
                    largest[contestant.title] = max(error, largest.get(contestant.title, 0.0))
        if largest:
            each = ", ".join(f"{title} {error:.0e}" for title, error in largest.items())
            told.append(f"{kind} {each}")
    if not told:
        return []
    return [
        "Everybody computed the same; largest relative difference from the first column's "
        f"results: {'; '.join(told)}."
    ]


def failures(results: Sequence[Result]) -> list[str]:
    """A line for everything that was asked for and could not be measured."""
    found: Iterator[tuple[Item, Figures]] = (
        (result.item, figures) for result in results for figures in result.figures.values()
    )
    return [f"{item.name}: {figures.failure}" for item, figures in found if figures.failure]


def markdown(results: Sequence[Result], facts: Mapping[str, str]) -> str:
    """Tables and remarks, to be pasted into a README."""
    parts = []
    for head, cells in tables_of(results):
        lines = [head, ["---"] * len(head), *cells]
        parts.append("\n".join("| " + " | ".join(line) + " |" for line in lines))
    return "\n\n".join([*parts, *remarks(results, facts), f"Made by `{facts['command']}`."])
