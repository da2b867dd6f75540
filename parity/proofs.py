"""A run proves itself before it judges: what fails here makes everything it says worthless.

Verdicts rest on the harness being a fair witness: the comparison finds no difference where there
is none, looking changes nothing, the candidate says the same thing twice, both sides are given the
same bits, and nothing has changed the record in the meantime. A candidate's own mistakes are not
looked for here; they are verdicts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from parity.core.narrow import pack
from parity.core.points import Firing
from parity.core.rows import Comparison, Kind, Row, Slice, Verdict
from parity.core.sampling import kept_of
from parity.core.store import Bundle, ReferenceFiring, narrow_dtype, tensor_name
from parity.core.trace import Array, Tap, Trace
from parity.core.verdict import Evidence, judge

NAMED = 4
"""Modules that a failed proof names."""
CLOSE = 1e-9
"""How far two ways of adding up the same squares in float64 may be apart."""


def inputs_agree(evidence: Evidence, rows: Sequence[Row]) -> Iterator[str]:
    """Whether both sides were given the same bits.

    The forced run has to be fed the bundle's. What the candidate's own processor makes is judged
    as points; where all of these pass, the free run was fed the same bits too.
    """
    firings = evidence.bundle.points
    recorded = {
        name.removeprefix("processor."): [firing.value for firing in found]
        for name, found in firings.items()
        if name.startswith("processor.")
    }
    alike = all(row.verdict is Verdict.PASS for row in rows if row.stage == "preprocessing")
    runs = {"forced": evidence.forced} | ({"free": evidence.free} if alike else {})
    for which, trace in runs.items():
        for name in sorted(recorded.keys() | trace.fed.keys()):
            wanted, fed = recorded.get(name, []), trace.fed.get(name, [])
            # A run that stopped was not fed the calls after that.
            if (wanted[: len(fed)] if trace.stopped and fed else wanted) != fed:
                yield (
                    f"the {which} run was not fed the reference's {name}, bit for bit: see what "
                    "the candidate's adapter does to it before the model sees it"
                )


def everything_tapped(schedule: Sequence[Firing], evidence: Evidence) -> Iterator[str]:
    """Whether every module could be looked at: compiled code leaves out hooks without a word."""
    modules = list(dict.fromkeys(f.point.module for f in schedule if f.point.module is not None))
    for which, trace in (("free", evidence.free), ("forced", evidence.forced)):
        silent = [name for name in modules if name in trace.untapped]
        if silent:
            more = f" and {len(silent) - NAMED} more" if len(silent) > NAMED else ""
            yield (
                f"{len(silent)} of {len(modules)} modules could not be looked at in the {which} "
                f"run: {', '.join(silent[:NAMED])}{more}: {trace.untapped[silent[0]]}"
            )


def proven_at_capture(bundle: Bundle) -> Iterator[str]:
    """Whether what was proven of the reference, when it was captured, held."""
    for proof in bundle.proofs:
        if not proof.holds:
            yield (
                f"at capture this did not hold: {proof.claim} ({proof.detail}). Find what is "
                f"random in the reference or minds its hooks, delete {bundle.folder}, and capture "
                "again"
            )


def record_unchanged(schedule: Sequence[Firing], evidence: Evidence) -> Iterator[str]:
    """Whether what was compared with still is what was read from disk."""
    for firing in schedule:
        recorded = evidence.bundle.get(firing.point.name, firing.index)
        for role, name in _tensors(recorded, evidence.level):
            if not _intact(evidence.bundle.tensor(name), name):
                yield (
                    f"the reference's record of {firing.point.name} ({role}) was changed in memory "
                    "during the run: look for an operation in place on an array of the bundle"
                )


def _tensors(recorded: ReferenceFiring | None, level: str) -> Iterator[tuple[str, str]]:
    """Role and name of every tensor that judging a firing reads."""
    if recorded is None:
        return
    yield "value", recorded.value
    roles = ("local", "arrival") if level == "module" else ("local_block",)
    for role in (*roles, "end_to_end"):
        if (name := getattr(recorded, role)) is not None:
            yield role, name
    yield from recorded.inputs.items()


def _intact(array: Array, name: str) -> bool:
    """Whether an array has the content that its name is a hash of."""
    dtype = narrow_dtype(name)
    try:
        return tensor_name(array if dtype is None else pack(array, dtype), dtype) == name
    except ValueError:
        return False  # it holds a value that the narrow dtype has not


def reference_against_itself(schedule: Sequence[Firing], evidence: Evidence) -> Iterator[str]:
    """Whether the reference, taken for the candidate, differs by nothing and scores its own error.

    Its error is then its own, so that every ratio is its own error over the floor: exactly 1 where
    its error is the floor, less where the dtype's rounding or the neighbours are.
    """
    echo = _as_candidate(schedule, evidence.bundle)
    for row in judge(schedule, replace(evidence, free=echo, forced=echo, holes=())):
        if row.verdict not in (Verdict.PASS, Verdict.EMPTY):
            yield _itself(row, f"is {row.verdict.value}: {row.message}")
            continue
        if row.mismatches:
            yield _itself(row, f"differs in {row.mismatches} elements")
        for scope in ("local", "end_to_end"):
            comparison = getattr(row, scope)
            for reason in _not_itself(comparison) if comparison else ():
                yield _itself(row, f"{reason} ({scope.replace('_', ' ')})")
        yield from _own_error(row, schedule, evidence)


def _itself(row: Row, reason: str) -> str:
    firing = f" (firing {row.firing})" if row.firing else ""
    return (
        f"the reference compared with itself at {row.point}{firing} {reason}: the comparison, or "
        "the bundle, is broken; capture again, and run the harness's own tests"
    )


def _not_itself(found: Comparison) -> Iterator[str]:
    """What a comparison of equal tensors shows that it must not show."""
    if found.max_abs != 0 or found.nonfinite:
        yield f"differs by {found.max_abs:g}"
    for name, figure in found.slices.items():
        if not _scores_its_own(figure):
            yield (
                f"has a ratio of {figure.ratio!r} ({name}) with an error of {figure.error!r} and "
                f"a floor of {figure.floor!r}"
            )


def _scores_its_own(figure: Slice) -> bool:
    """Whether a ratio is the error over the floor, and the floor at least the error."""
    if figure.error == 0:
        return figure.ratio == 0
    if figure.error == figure.floor:
        return figure.ratio == 1
    return figure.error < figure.floor and _near(figure.ratio * figure.floor, figure.error)


def _own_error(row: Row, schedule: Sequence[Firing], evidence: Evidence) -> Iterator[str]:
    """Whether the whole tensor's error is a stored one, added up in another way."""
    if row.kind is not Kind.FLOAT or row.excluded_rows:
        return
    for scope in ("local", "end_to_end"):
        found: Comparison | None = getattr(row, scope)
        own = [_relative(evidence, *stored) for stored in _stored(row, scope, schedule, evidence)]
        if found is not None and not any(_near(found.whole.error, one) for one in own):
            yield _itself(row, f"has an error of {found.whole.error!r}, its own are {own}")


def _stored(
    row: Row, scope: str, schedule: Sequence[Firing], evidence: Evidence
) -> Iterator[tuple[str, str | None]]:
    """Names of value and residual that a row may be about.

    A module's local row is about its output, or about what arrived at it or inside it.
    """
    bundle, blocks = evidence.bundle, evidence.level == "block"
    if (recorded := bundle.get(row.point, row.firing)) is not None:
        role = "local_block" if scope == "local" and blocks else scope
        yield recorded.value, getattr(recorded, role)
    if scope == "end_to_end" or blocks:
        return
    for firing in schedule:
        name = firing.point.name
        inside = bundle.get(name, firing.index) if firing.index == row.firing else None
        if inside is not None and firing.point.forced and f"{name}.".startswith(f"{row.point}."):
            yield inside.inputs[firing.point.forced[0]], inside.arrival


def _relative(evidence: Evidence, value: str, residual: str | None) -> float:
    """Norm of a stored residual over the norm of the truth, by NumPy's own sums."""
    if residual is None:
        return 0.0
    both = [evidence.bundle.tensor(name).astype(np.float64) for name in (value, residual)]
    kept = kept_of(both[0].shape, evidence.sampled)
    reference, wrong = both if kept is None else (array[kept] for array in both)
    size = float(np.linalg.norm(reference + wrong))
    return float(np.linalg.norm(wrong)) / size if size else math.inf


def _near(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=CLOSE)


def _as_candidate(schedule: Sequence[Firing], bundle: Bundle) -> Trace:
    """What a candidate leaves behind that computes what the reference computed, bit for bit."""
    trace = Trace()
    for firing in schedule:
        recorded = bundle.get(firing.point.name, firing.index)
        if recorded is None:
            continue
        trace.record(firing.point.name, bundle.tensor(recorded.value).copy(), recorded.dtype)
        if firing.point.forced and firing.point.kind is Kind.FLOAT and not firing.point.is_input:
            arrived = bundle.tensor(recorded.inputs[firing.point.forced[0]])
            if np.issubdtype(arrived.dtype, np.floating):
                key = (firing.point.name, firing.index)
                trace.arrivals[key] = Tap(arrived.copy(), recorded.dtype)
    return trace


def looking_changes_nothing(free: Trace, again: Callable[[], Trace]) -> Iterator[str]:
    """Whether the candidate gives the same bits with hooks, without, and twice.

    Args:
        free: the free run, under hooks.
        again: runs the candidate on the same inputs without any.
    """
    plain = again()
    if free.stopped and plain.stopped:
        return  # it runs neither way, which the points tell
    if not free.results and not free.stopped:
        yield "the candidate's run left no results, so whether hooks change them is unknown"
        return
    changed = _differ(plain, free)
    if changed is None:
        return
    if _differ(plain, again()) is not None:
        yield (
            f"the candidate does not repeat itself: {changed} of two runs on the same inputs "
            "differs in its bits. Look for randomness (a dropout, set_train), for something that "
            "a call leaves behind for the next, or set the device to deterministic arithmetic"
        )
    else:
        yield (
            f"looking at the candidate changes it: {changed} differs in its bits with hooks and "
            "without. Look for a hook that returns something else than it was given"
        )


def _differ(one: Trace, other: Trace) -> str | None:
    """The first result in which two runs differ, in words; ``None`` if there is none."""
    if (one.stopped is None) != (other.stopped is None):
        return f"the end ({one.stopped or other.stopped})"
    if len(one.results) != len(other.results):
        return "the number of results"
    pairs = zip(one.results, other.results, strict=True)
    found = next((n for n, (a, b) in enumerate(pairs) if a != b), None)
    return None if found is None else f"result {found + 1} of {len(one.results)}"
