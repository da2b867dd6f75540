"""Rates of detection, localisation and false alarms, and what falls short of the goals."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from parity.baselines import BASELINES
from parity.selftest.result import SelfTest
from parity.selftest.trial import HARNESS, Trial

METHODS = (HARNESS, *(baseline.name for baseline in BASELINES))
GOALS = {"fp32": 1.0, "fp16": 0.95, "bf16": 0.95, "ascend-mixed": 0.95}
"""Share of the visible faults to be detected, and to be localised exactly."""
SEEDS = 20
"""Random inputs and weights on which the faithful port has to raise no alarm."""
NAMED = 20
"""Faults for which the harness has to say what to try, when all were planted."""


@dataclass(frozen=True)
class Rate:
    """One method in one dtype."""

    method: str
    dtype: str
    visible: int
    """Faults that change enough in this dtype for anybody to see."""
    detected: int
    exact: int
    """Of these, the faults whose own point was blamed first."""
    runs: int
    """Runs of the faithful port."""
    alarms: int
    """Of these, the runs in which something was blamed."""


def rate(result: SelfTest, method: str, dtype: str) -> Rate:
    """The rates of one method in one dtype."""
    seen = [trial.outcomes[method] for trial in visible(result, dtype)]
    faithful = [t.outcomes[method] for t in result.faithful if t.dtype == dtype]
    return Rate(
        method=method,
        dtype=dtype,
        visible=len(seen),
        detected=sum(one.detected for one in seen),
        exact=sum(one.exact for one in seen),
        runs=len(faithful),
        alarms=sum(one.detected for one in faithful),
    )


def visible(result: SelfTest, dtype: str) -> list[Trial]:
    """The trials of the faults that can be seen in ``dtype``."""
    return [t for t in result.planted if t.dtype == dtype and not result.hidden(t)]


@dataclass(frozen=True)
class Goal:
    """Something to reach."""

    text: str
    reached: str
    met: bool


def goals(result: SelfTest) -> list[Goal]:
    """What the harness has to reach, and what it does."""
    found = []
    for dtype in result.dtypes:
        one, least = rate(result, HARNESS, dtype), GOALS[dtype]
        for word, count in (("detected", one.detected), ("localised exactly", one.exact)):
            found.append(_share(f"{dtype}: visible faults {word}", count, one.visible, least))
        alone = sum(not trial.outcomes[HARNESS].beyond for trial in visible(result, dtype))
        found.append(_share(f"{dtype}: nothing else blamed", alone, one.visible, least))
    alarms = sum(trial.outcomes[HARNESS].detected for trial in result.faithful)
    alarms += sum(seeds.alarms for seeds in result.seeds)
    runs = len(result.faithful) + sum(seeds.runs for seeds in result.seeds)
    found.append(Goal("no false alarm", f"{alarms} in {runs} runs", runs > 0 and alarms == 0))
    if result.complete:
        fewest = min((seeds.seeds for seeds in result.seeds), default=0)
        found.append(Goal(f"{SEEDS} seeds in every dtype", str(fewest), fewest >= SEEDS))
        count = len(named(result))
        found.append(Goal(f"{NAMED} faults named", str(count), count >= NAMED))
    return found


def named(result: SelfTest) -> set[str]:
    """The faults for which the harness says what to try, in any dtype."""
    return {str(trial.fault) for trial in result.planted if trial.suggestion}


def _share(text: str, count: int, total: int, least: float) -> Goal:
    met = count >= least * total
    return Goal(f"{text}, at least {least:.0%}", f"{count} of {total}", met)


@dataclass(frozen=True)
class Shortfall:
    """Something that is not as it should be, by name."""

    dtype: str
    fault: str
    what: str
    reason: str


def shortfalls(result: SelfTest) -> Iterator[Shortfall]:
    """Everything that a reader has to know beside the rates."""
    for dtype in result.dtypes:
        for trial in visible(result, dtype):
            yield from _of_fault(trial, result)
    for trial in result.planted:
        if (reason := result.hidden(trial)) and trial.outcomes[HARNESS].detected:
            yield Shortfall(trial.dtype, str(trial.fault), "found, and declared hidden", reason)
    for trial in result.faithful:
        if first := trial.outcomes[HARNESS].first:
            yield Shortfall(trial.dtype, "none", f"false alarm in {trial.case}", f"blames {first}")
    for seeds in result.seeds:
        for point in seeds.points:
            yield Shortfall(seeds.dtype, "none", "false alarm in a seed held out", point)


def _of_fault(trial: Trial, result: SelfTest) -> Iterator[Shortfall]:
    name, mine, point = str(trial.fault), trial.outcomes[HARNESS], result.point(trial)
    if not mine.detected:
        yield Shortfall(trial.dtype, name, "missed", f"{point} reaches {_margin(trial)} its gate")
    elif not mine.exact:
        yield Shortfall(trial.dtype, name, "found elsewhere", f"blames {mine.first} before {point}")
    if mine.beyond and mine.exact:
        others = ", ".join(trial.beyond)
        yield Shortfall(trial.dtype, name, f"blames {mine.beyond} more", others)


def _margin(trial: Trial) -> str:
    return "nothing of" if trial.margin is None else f"{trial.margin:.3g} of"
