"""The self-test's tables, in Markdown: the summary, and what became of each fault."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from parity.baselines import BASELINES
from parity.selftest.rates import METHODS, Goal, goals, named, rate, shortfalls, visible
from parity.selftest.result import SelfTest
from parity.selftest.trial import HARNESS, Trial

ABOUT = {HARNESS: "**this harness**", **{one.name: one.about for one in BASELINES}}
MEANING = (
    "A cell reads: share of the faults found, share whose own module was blamed first; false "
    "alarms among the runs of the port as it is. A fault counts unless it is declared hidden in "
    "the dtype, because it changes no more than rounding does, or hardly more; which are, and "
    "why, is in [the full table](docs/selftest.md). The gates were fitted on these very faults, "
    "so the rates say that they can be told from rounding, not what becomes of a mistake that "
    "nobody planted. The other methods see what tools that dump and compare see, the free run of "
    "both sides, with names already mapped. A method that raises an alarm on a port that is "
    "right finds nothing by raising one: read its first two numbers only where its third is 0."
)


def summary(result: SelfTest) -> str:
    """The table of rates: a method a row, a dtype a column."""
    counts = {dtype: len(visible(result, dtype)) for dtype in result.dtypes}
    head = ["found, placed exactly; false alarms", *(f"{d}, {n} faults" for d, n in counts.items())]
    rows = [[ABOUT[m], *(_rates(result, m, dtype) for dtype in result.dtypes)] for m in METHODS]
    return markdown(head, rows)


def _rates(result: SelfTest, method: str, dtype: str) -> str:
    one = rate(result, method, dtype)
    found, exact = (percent(count, one.visible) for count in (one.detected, one.exact))
    return f"{found}, {exact}; {one.alarms} of {one.runs}"


def percent(count: int, total: int) -> str:
    """A share, rounded down, so that 100 % is all of them; ``-`` of nothing."""
    return f"{100 * count // total} %" if total else "-"


def provenance(result: SelfTest) -> str:
    """When and where the numbers were made, in a sentence."""
    facts = result.provenance
    seeds = ", ".join(f"{one.alarms} in {one.runs} ({one.dtype})" for one in result.seeds)
    fewest = min((one.seeds for one in result.seeds), default=0)
    return (
        f"Made by `{facts['command']}` on {facts['date']} with {facts['versions']} on "
        f"{facts['machine']}; {len(result.faults)} faults, {len(named(result))} of which the "
        f"harness names by what to try. On {fewest} seeds of random inputs and weights, under "
        f"gates fitted on other seeds, false alarms: {seeds or 'not measured'}."
    )


def full(result: SelfTest) -> str:
    """The whole document."""
    parts = [
        "# The self-test",
        "Written by `python -m parity selftest --readme`; edits are lost.",
        provenance(result),
        summary(result),
        MEANING.replace("docs/selftest.md", "#every-fault"),
        "## Goals",
        markdown(["goal", "reached", ""], map(_goal, goals(result))),
        "## What falls short",
        _shortfalls(result),
        "## Every fault",
        "What the harness makes of it: how many times its gate the point at fault reaches (the "
        "figure in which it is worst), or that integers differ; what it says to try; and the "
        "points that it blames beyond the true one.",
        *_faults(result),
        "## The other methods, fault by fault",
        "exact: its own module is blamed first. found: something is blamed first that is not at "
        "fault. -: nothing is blamed. (not visible): in this dtype the fault changes less than "
        "rounding does. In the order fp32, fp16, bf16, ascend-mixed, as far as they were run.",
        _methods(result),
        "## What nobody can see",
        _hidden(result),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _goal(goal: Goal) -> list[str]:
    return [goal.text, goal.reached, "met" if goal.met else "**not met**"]


def _shortfalls(result: SelfTest) -> str:
    rows = [[one.dtype, one.fault, one.what, one.reason] for one in shortfalls(result)]
    rows += [[t.dtype, str(t.fault), "changes nothing", t.case] for t in result.idle()]
    rows += [["", "", "could not run", reason] for reason in result.broken]
    return markdown(["dtype", "fault", "what", "why"], rows) if rows else "Nothing."


def _faults(result: SelfTest) -> Iterator[str]:
    """A table for each dtype."""
    head = ["fault", "point", "case", "found", "what to try", "blamed beyond"]
    for dtype in result.dtypes:
        trials = _ordered(result, dtype)
        yield f"### {dtype}"
        yield markdown(head, (_fault(result, trial) for trial in trials))


def _ordered(result: SelfTest, dtype: str) -> list[Trial]:
    order = list(result.faults)
    trials = [trial for trial in result.planted if trial.dtype == dtype]
    return sorted(trials, key=lambda trial: order.index(str(trial.fault)))


def _fault(result: SelfTest, trial: Trial) -> list[str]:
    point, mine = result.point(trial), trial.outcomes[HARNESS]
    found = "not visible" if result.hidden(trial) else "**missed**"
    if mine.detected:
        found = margin(trial) if mine.exact else f"**at {mine.first}**"
    return [str(trial.fault), f"`{point}`", trial.case, found, trial.suggestion,
            ", ".join(trial.beyond)]  # fmt: skip


def margin(trial: Trial) -> str:
    """How far beyond its gate the true point is: ``36100 x, column``."""
    return trial.figure if trial.margin is None else f"{trial.margin:.3g} x, {trial.figure}"


def _methods(result: SelfTest) -> str:
    by_fault: dict[str, list[Trial]] = {name: [] for name in result.faults}
    for dtype in result.dtypes:
        for trial in _ordered(result, dtype):
            by_fault[str(trial.fault)].append(trial)
    head = ["fault", *METHODS]
    rows = [
        [name, *(", ".join(_word(result, trial, method) for trial in trials) for method in METHODS)]
        for name, trials in by_fault.items()
    ]
    return markdown(head, rows)


def _word(result: SelfTest, trial: Trial, method: str) -> str:
    mine = trial.outcomes[method]
    word = "exact" if mine.exact else "found" if mine.detected else "-"
    return f"({word})" if result.hidden(trial) else word


def _hidden(result: SelfTest) -> str:
    rows = [
        [name, ", ".join(d for d in result.dtypes if one.hidden.get(d) == reason), reason]
        for name, one in result.faults.items()
        for reason in dict.fromkeys(one.hidden[d] for d in result.dtypes if d in one.hidden)
    ]
    return markdown(["fault", "in", "why"], rows) if rows else "Every fault is seen in every dtype."


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; bars in cells are escaped."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(
        "| " + " | ".join(c.replace("|", "\\|") for c in line) + " |" for line in lines
    )
