"""What was compared, in counts, and what these comparisons could not see."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from parity.core.arithmetic import SATURATING
from parity.core.coverage import Coverage, coverages
from parity.core.dtype_ledger import Used, saturated, used
from parity.core.rows import RunResult, ran_in
from parity.report.text import clean, number, plural

NAMES_SHOWN = 8


@dataclass(frozen=True)
class Note:
    """Something that comparisons could not see, or that was left out."""

    text: str
    means: str
    fails: bool
    """Whether it hides something, so that the run does not pass."""


@dataclass(frozen=True)
class LedgerView:
    """The ledger of a run."""

    summary: str
    """Declared against fired, on both sides."""
    notes: tuple[Note, ...]
    runs: tuple[tuple[str, ...], ...]
    """A line for every case, dtype and mode, in the order of ``headings``."""
    headings: tuple[str, ...]


HEADINGS = ("Case", "Dtype", "Declared", "Reference", "Free run", "Forced run", "Constant",
            "Padding", "Not asked for", "Repeated")  # fmt: skip


def ledger_view(result: RunResult) -> LedgerView | None:
    """Compute the ledger; ``None`` where the run kept none."""
    runs = coverages(result.ledger)
    if not runs:
        return None
    notes = (*_arithmetic(result), *_notes(runs), *_tests(result.ledger))
    return LedgerView(summary(runs), notes, _lines(runs), HEADINGS)


def summary(runs: Sequence[Coverage]) -> str:
    """Say how many of the declared firings occurred on each side."""

    def total(name: str) -> int:
        return sum(getattr(one, name) for one in runs)

    return (
        f"Of {plural(total('declared'), 'declared firing')}, the reference has "
        f"{total('reference'):,} and the candidate's free run {total('free'):,}; its forced run "
        f"{total('forced'):,} of {total('forced_declared'):,}."
    )


def _notes(runs: Sequence[Coverage]) -> Iterable[Note]:
    """What the comparisons themselves could not see."""
    absent = sum(one.absent for one in runs)
    tokens = sum(one.no_token_figure for one in runs)
    channels = sum(one.no_channel_figure for one in runs)
    repeated = [f"{one.case} {ran_in(one.dtype, one.mode)}" for one in runs if one.repeated]
    yield from _named(
        "constant", runs, "constant in the reference", "a pass would prove nothing", True
    )
    yield from _named("shared", runs, "compared with itself", "both sides share memory", True)
    yield from _named(
        "undeclared", runs, "in the record and not declared", "nothing is compared with it", True
    )
    if absent:
        yield Note(
            f"{plural(absent, 'firing')} of modules that are not ported yet",
            "the reference's values stand in for them",
            False,
        )
    yield from _named(
        "not_finite", runs, "not finite in the reference", "it must be so in the candidate", False
    )
    yield from _named(
        "constant_in_candidate", runs, "constant in the candidate", "see its verdict", False
    )
    yield from _named(
        "constant_by_nature", runs, "constant by nature", "the rotary table of position 0", False
    )
    if tokens or channels:
        yield Note(
            f"{plural(tokens, 'comparison')} without a worst token, {channels:,} without a worst "
            "channel",
            "a single token has no worst one, and under eight tokens a channel's error is chance",
            False,
        )
    yield from _rounding(runs)
    yield from _sampled(runs)
    overridden = {name: why for one in runs for name, why in one.overridden.items()}
    for name, why in overridden.items():
        yield Note(f"{clean(name)} judged by an override", clean(why), False)
    if repeated:
        yield Note(
            f"repeated as a proof: {_list(repeated)}", "the smallest of each dtype and mode", False
        )


def _arithmetic(result: RunResult) -> Iterable[Note]:
    """What was computed in another arithmetic than declared, and float16 at its end."""
    for one in used(result.rows):
        yield Note(
            f"{clean(one.ran_in)}: {plural(one.firings, 'firing')} of "
            f"{plural(len(one.points), 'point')} were computed as {clean(one.name)}, first "
            f"{clean(one.points[0])}",
            _shown_by(one) + _switches(one, result.provenance),
            False,
        )
    for held in saturated(result.rows):
        yield Note(
            f"{clean(held.ran_in)}: {held.candidate:,} values at 65504 or beyond, the reference "
            f"{held.reference:,}; {held.candidate_nonfinite:,} not finite, the reference "
            f"{held.reference_nonfinite:,}",
            "float16 ends there, end to end; chips that saturate have no infinities",
            False,
        )


def _shown_by(one: Used) -> str:
    """The evidence."""
    if one.name == SATURATING:
        return "where the reference is infinite, the candidate is not"
    size = f"relative error {number(one.error)}, {number(one.expected)} is to be expected of it"
    part = f", which accounts for at least {100 * one.share:.1f} % of each" if one.share > 0 else ""
    return size + part


def _switches(one: Used, provenance: Mapping[str, object]) -> str:
    """Say how what explains an arithmetic is set."""
    precision, model = provenance.get("precision"), provenance.get("numerics model", "none")
    if model != "none":
        return f"; numerics model: {clean(str(model))}"
    if not isinstance(precision, Mapping):
        return ""
    set_to = [f"{name} {precision[name]}" for name in one.switches if name in precision]
    return f"; {clean(', '.join(set_to))}" if set_to else ""


def _sampled(runs: Sequence[Coverage]) -> Iterable[Note]:
    """What a portable bundle of limited size has no truths of."""
    firings, rows = sum(one.sampled for one in runs), sum(one.rows_not_compared for one in runs)
    if firings:
        cases = list(dict.fromkeys(f"{one.case} {one.dtype}" for one in runs if one.sampled))
        yield Note(
            f"{plural(firings, 'firing')} compared on a sample of the rows, {rows:,} rows left "
            f"out, in {_list(cases)}",
            "the portable bundle was made under --max-size and holds no truths of these rows: a "
            "fault that shows in them alone is not seen",
            False,
        )


def _rounding(runs: Sequence[Coverage]) -> Iterable[Note]:
    """What rounding the weights alone costs in each dtype that does not hold them all."""
    costs: dict[str, list[float]] = {}
    for one in runs:
        if one.weight_rounding != 0:
            costs.setdefault(one.dtype, []).append(one.weight_rounding)
    for dtype, figures in costs.items():
        most = number(max(figures, key=lambda cost: cost if cost == cost else float("inf")))
        yield Note(
            f"rounding the weights to {clean(dtype)} alone moves the logits by {most}",
            "relative, end to end, in float64; both sides compute with the rounded weights, so "
            "this is nobody's error",
            False,
        )


def _named(
    attribute: str, runs: Sequence[Coverage], what: str, means: str, fails: bool
) -> Iterable[Note]:
    """A note on the points that one list of the entries names, if any does."""
    every = [name for one in runs for name in getattr(one, attribute)]
    if every:
        names = list(dict.fromkeys(every))
        yield Note(f"{plural(len(every), 'firing')} {what}: {_list(names)}", means, fails)


def _tests(found: Mapping[str, object]) -> Iterable[Note]:
    """What was left out by the one who started the run."""
    tests, hidden = found.get("tests"), found.get("not_shown")
    if isinstance(tests, Mapping):
        for name in ("deselected", "skipped"):
            if count := int(tests.get(name, 0)):
                means = {"deselected": "not asked for", "skipped": "explained by a failing one"}
                yield Note(f"{plural(count, 'test')} {name}", means[name], False)
    if isinstance(hidden, int) and hidden:
        yield Note(
            f"{plural(hidden, 'row')} compared and not shown", "none is at fault itself", False
        )


def _lines(runs: Sequence[Coverage]) -> tuple[tuple[str, ...], ...]:
    """The table, a line an entry."""
    return tuple(
        (
            clean(one.case), clean(ran_in(one.dtype, one.mode)), f"{one.declared:,}",
            f"{one.reference:,}", f"{one.free:,}", f"{one.forced:,} of {one.forced_declared:,}",
            str(len(one.constant)), f"{one.padding:,}",
            ", ".join(map(clean, one.stages_left_out)) or "-", "yes" if one.repeated else "-",
        )
        for one in runs
    )  # fmt: skip


def _list(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    shown = ", ".join(clean(name) for name in names[:NAMES_SHOWN])
    more = len(names) - NAMES_SHOWN
    return f"{shown} and {more:,} more" if more > 0 else shown
