"""The ledger: what a run compared, counted on both sides, and what its comparisons could not see.

What hides something fails the run, by a verdict or as a thing that was not compared; the rest is
counted and shown.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field

import numpy as np

from parity.core.compared import kept_rows, padding_of
from parity.core.errors import ParityError
from parity.core.points import STAGES, Firing
from parity.core.rows import PYNATIVE, Row, Verdict, ran_in
from parity.core.trace import Array, Tap, Trace
from parity.core.vacuous import CONSTANT_BY_NATURE, FLOATS, is_constant, kept
from parity.core.verdict import Evidence


@dataclass(frozen=True)
class Coverage:
    """What was compared of one case in one dtype and mode.

    Names carry their firing, after the first.
    """

    case: str
    dtype: str
    declared: int
    """Firings of points in the stages that were run."""
    reference: int
    """How many of them the reference's record holds."""
    free: int
    """How many of them occurred in the candidate's free run."""
    forced_declared: int
    """Those that a forced run has: all but the processor's."""
    forced: int
    """How many of these occurred in the forced run."""
    absent: int = 0
    """Firings of modules that are not ported yet, in whose place the reference's values are."""
    stages_left_out: list[str] = field(default_factory=list)
    """Stages that the case has and that were not asked for."""
    undeclared: list[str] = field(default_factory=list)
    """Points that the reference's record holds more firings of than are declared: nothing is
    compared with these, so they fail the run."""
    constant: list[str] = field(default_factory=list)
    """Floats that are one number throughout in the reference; they do not pass."""
    constant_by_nature: list[str] = field(default_factory=list)
    constant_in_candidate: list[str] = field(default_factory=list)
    """Floats that are one number throughout in one of the candidate's runs."""
    not_finite: list[str] = field(default_factory=list)
    """Points where the reference itself holds NaN or infinity, which the candidate may hold too."""
    shared: list[str] = field(default_factory=list)
    """Points whose value is the reference's own memory; they do not pass."""
    no_token_figure: int = 0
    """Float comparisons of a single token, which has no worst one."""
    no_channel_figure: int = 0
    """Float comparisons of too few tokens, or channels, to judge the worst channel."""
    padding: int = 0
    """Tokens of the prompt that are left out, because they are padding."""
    sampled: int = 0
    """Firings of which only some rows were compared end to end or on clean inputs, because the
    portable bundle holds no truths of the others."""
    rows_not_compared: int = 0
    """Rows of these, padding not counted, that were left out."""
    overridden: dict[str, str] = field(default_factory=dict)
    """Points judged by an override's gate, with its written reason."""
    weight_rounding: float = 0.0
    """What rounding the weights to the dtype alone moves the logits by, end to end, relative."""
    repeated: bool = False
    """Whether this case was the one that is run again, and compared with itself, as a proof."""
    mode: str = PYNATIVE

    @property
    def left_out(self) -> list[str]:
        """What fails the run although no row tells of it, each with its reason."""
        return [
            f"{self.case} {ran_in(self.dtype, self.mode)}: the reference's record holds more of "
            f"{name} than is declared; declare every firing in the subject's schedule"
            for name in self.undeclared
        ]


def ledger(covered: Sequence[Coverage], **counts: object) -> dict[str, object]:
    """What a run compared, as `RunResult` carries it: an entry for each, and counts."""
    return {"runs": [asdict(one) for one in covered], **counts}


def coverages(found: Mapping[str, object]) -> list[Coverage]:
    """The entries of a run's ledger.

    Raises:
        ParityError: they are not what :func:`ledger` made.
    """
    entries = found.get("runs", [])
    try:
        return [Coverage(**entry) for entry in entries]  # type: ignore[attr-defined]
    except TypeError as error:
        raise ParityError(
            f"the run's ledger is damaged ({error}): make the report again"
        ) from error


def cover(
    schedule: Sequence[Firing], every: Sequence[Firing], evidence: Evidence, rows: Sequence[Row]
) -> Coverage:
    """Count what was compared of one case in one dtype.

    Args:
        schedule: the firings that were to be compared, in the stages that were run.
        every: the firings of the case in all stages.
        evidence: what each side recorded.
        rows: what became of it.
    """
    model = [firing for firing in schedule if firing.point.module is not None]
    stages = {firing.stage for firing in every} - {firing.stage for firing in schedule}
    figures = [found for row in rows for found in (row.local, row.end_to_end) if found is not None]
    constant, natural, in_candidate = _constants(schedule, evidence)
    left_out = [count for firing in schedule if (count := _rows_left_out(firing, evidence))]
    return Coverage(
        case=evidence.case,
        dtype=evidence.precision.name,
        declared=len(schedule),
        reference=sum(evidence.bundle.get(f.point.name, f.index) is not None for f in schedule),
        free=sum(_tap(evidence.free, firing) is not None for firing in schedule),
        forced_declared=len(model),
        forced=sum(_tap(evidence.forced, firing) is not None for firing in model),
        absent=sum(row.verdict is Verdict.ABSENT for row in rows),
        stages_left_out=[stage for stage in STAGES if stage in stages],
        undeclared=_undeclared(every, evidence),
        constant=constant,
        constant_by_nature=natural,
        constant_in_candidate=in_candidate,
        not_finite=[row.point for row in rows if _is_not_finite(row)],
        shared=_names(schedule, lambda firing: _shared(firing, evidence)),
        no_token_figure=sum(found.row is None for found in figures),
        no_channel_figure=sum(found.column is None for found in figures),
        padding=max((row.excluded_rows for row in rows), default=0),
        sampled=len(left_out),
        rows_not_compared=sum(left_out),
        overridden={row.point: row.override for row in rows if row.override is not None},
        weight_rounding=_weight_rounding(schedule, evidence),
        mode=evidence.mode,
    )


def _weight_rounding(schedule: Sequence[Firing], evidence: Evidence) -> float:
    """The largest figure of the head's firings; what is not a number counts as the largest."""
    heads = [firing for firing in schedule if firing.point.role == "head"]
    recorded = (evidence.bundle.get(firing.point.name, firing.index) for firing in heads)
    figures = [found.weight_rounding for found in recorded if found is not None]
    return float(np.max(figures, initial=0.0))


def _rows_left_out(firing: Firing, evidence: Evidence) -> int:
    """Rows of a firing that are not compared because there is no truth of them."""
    reference = _reference(firing, evidence)
    kept = kept_rows(firing, reference, evidence)
    if kept is None:
        return 0
    padding = padding_of(firing, evidence)
    real = kept.size if padding is None else int(np.count_nonzero(padding))
    return real - int(np.count_nonzero(kept))


def _undeclared(every: Sequence[Firing], evidence: Evidence) -> list[str]:
    """Declared points that the record holds more firings of than the case is to have."""
    declared = Counter(firing.point.name for firing in every)
    held = evidence.bundle.points
    return [name for name, times in declared.items() if len(held.get(name, ())) > times]


def _constants(
    schedule: Sequence[Firing], evidence: Evidence
) -> tuple[list[str], list[str], list[str]]:
    """The floats that are one number throughout: in the reference, there by nature, opposite."""

    def opposite(firing: Firing) -> bool:
        taps = _taps(firing, evidence)
        return any(is_constant(_compared(tap.value, firing, evidence)) for tap in taps)

    floats = [firing for firing in schedule if firing.point.kind in FLOATS]
    constant = [f for f in floats if is_constant(_compared(_reference(f, evidence), f, evidence))]
    return (
        _names(constant, lambda f: f.point.role not in CONSTANT_BY_NATURE),
        _names(constant, lambda f: f.point.role in CONSTANT_BY_NATURE),
        _names(floats, opposite),
    )


def _is_not_finite(row: Row) -> bool:
    """Whether the reference's value of a row holds something that is not a number."""
    both = (row.local, row.end_to_end)
    return any(found is not None and found.reference_nonfinite is not None for found in both)


def _shared(firing: Firing, evidence: Evidence) -> bool:
    """Whether one of the candidate's values, or what arrived, is the reference's own memory."""
    reference = _reference(firing, evidence)
    pairs = [(tap.value, reference) for tap in _taps(firing, evidence)]
    arrived = evidence.forced.arrivals.get((firing.point.name, firing.index))
    recorded = evidence.bundle.get(firing.point.name, firing.index)
    if arrived is not None and recorded is not None:
        name = recorded.inputs[firing.point.forced[0]]
        pairs.append((arrived.value, evidence.bundle.tensor(name)))
    return any(np.shares_memory(candidate, reference) for candidate, reference in pairs)


def _reference(firing: Firing, evidence: Evidence) -> Array:
    """The reference's value; nothing where it has none."""
    recorded = evidence.bundle.get(firing.point.name, firing.index)
    return np.zeros(0) if recorded is None else evidence.bundle.tensor(recorded.value)


def _compared(array: Array, firing: Firing, evidence: Evidence) -> Array:
    return kept(array, padding_of(firing, evidence))


def _taps(firing: Firing, evidence: Evidence) -> Iterator[Tap]:
    """The candidate's values of a firing, in both of its runs."""
    for trace in (evidence.free, evidence.forced):
        if (tap := _tap(trace, firing)) is not None:
            yield tap


def _tap(trace: Trace, firing: Firing) -> Tap | None:
    return trace.get(firing.point.name, firing.index)


def _names(firings: Sequence[Firing], chosen: Callable[[Firing], bool]) -> list[str]:
    """The names of those that are chosen, with the firing after the first."""
    return [
        f"{firing.point.name} (firing {firing.index})" if firing.index else firing.point.name
        for firing in firings
        if chosen(firing)
    ]
