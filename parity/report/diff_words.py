"""What the changes between two runs mean, and how a comparison is summed up, in plain words."""

from __future__ import annotations

from parity.core.diff import Change, Changed
from parity.core.diff_runs import Runs
from parity.core.shift import FACTOR, PARITY
from parity.report.figures import at_fault
from parity.report.panels import label
from parity.report.text import clean, number, plural

MEANINGS: dict[Change, str] = {
    Change.FAILING: "Passes in A and fails in B. What is itself at fault stands first; its victims "
    "pass again with it.",
    Change.BLAMED: "Suffered from another point in A, and is itself at fault in B.",
    Change.WORSE: "The same outcome, with an error that grew by a factor that counts, or crossed "
    "its gate.",
    Change.MIXED: "Worse on the reference's own inputs and better end to end, or the other way "
    "round.",
    Change.VANISHED: "Judged in A and not in B: nothing is known about it any more.",
    Change.VERDICT: "Fails in both, for another reason.",
    Change.APPEARED: "Judged in B and not in A, so there is nothing to hold it against.",
    Change.OVERRIDE: "No figure moved; it is judged under another override, or no longer under "
    "one.",
    Change.GATE: "No figure moved; the gate did.",
    Change.CLEARED: "Was itself at fault in A, and suffers from another point in B.",
    Change.PASSING: "Fails in A and passes in B.",
    Change.BETTER: "The same outcome, with an error that shrank by a factor that counts, or came "
    "back within its gate.",
    Change.OUTSIDE: "Inside a block, and one of the runs looked at blocks as a whole.",
    Change.UNCHANGED: "The same outcome, and no figure moved by a factor that counts.",
}
THRESHOLD = (
    f"A figure counts as worse or better if its ratio grew or shrank by more than {FACTOR:g} "
    f"times, or crossed its gate; a ratio under {PARITY:g} is as good as the reference and counts "
    f"as {PARITY:g}. On CPU the same code and versions give the same bits; on a device less than "
    "this is noise. Gates leave at least this much room."
)
NEXT_STEP = "Name the same case with --case, or the same dtype or mode as RUN:NAME."


def word(runs: Runs) -> str:
    """Sum the comparison up: ``NOT TO BE TRUSTED``, ``WORSE``, ``NOTHING WORSE`` or the like."""
    if not runs.trusted:
        return "NOT TO BE TRUSTED"
    if runs.got_worse:
        return "WORSE"
    return "NO DIFFERENCE" if nothing_changed(runs) else "NOTHING WORSE"


def nothing_changed(runs: Runs) -> bool:
    """Whether no row changed in a way that counts, and the same things were left out."""
    same = all(one.change is Change.UNCHANGED for one in runs.rows.changes)
    return same and not runs.lost and not runs.regained


def sentence(runs: Runs) -> str:
    """Name the change to look at first."""
    if not runs.trusted:
        return "A run that failed a proof of itself says nothing, and so does this comparison."
    first = next(iter(ordered(runs)), None)
    if first is not None and (first.change.bad or not runs.lost):
        return f"{first.change.value.capitalize()}: {where(first)}."
    if runs.lost:
        return f"{plural(len(runs.lost), 'thing')} that A compared could not be compared in B."
    if runs.regained:
        return "B compared what A could not."
    return "Every row that both runs have stands as it did."


def detail(runs: Runs) -> str:
    """Count the rows and their changes."""
    counts = [f"{n:,} {change.value}" for change, n in runs.rows.counts.items() if n]
    return (
        f"{plural(len(runs.a.rows), 'row')} in A, {len(runs.b.rows):,} in B, "
        f"{runs.rows.paired:,} in both: {', '.join(counts) or 'nothing to compare'}."
    )


def where(one: Changed) -> str:
    """``visual.merger in single-image, fp32``."""
    return f"{label(one.row)} in {clean(one.row.case)}, {ran_in(one)}"


def ran_in(one: Changed) -> str:
    """The dtype and mode of a row; both runs' where they are compared: ``fp32 -> bf16``."""
    names = [clean(row.ran_in) for row in (one.a, one.b) if row is not None]
    return " -> ".join(dict.fromkeys(names))


def ordered(runs: Runs) -> list[Changed]:
    """Every change that matters, the most important first.

    By kind; in a kind what is itself at fault first; then what moved most, and run order.
    """
    ranks = {change: rank for rank, change in enumerate(Change)}
    found = [
        one for one in runs.rows.changes if one.change not in (Change.UNCHANGED, Change.OUTSIDE)
    ]
    return sorted(found, key=lambda one: (ranks[one.change], not at_fault(one.row), _size(one)))


def _size(one: Changed) -> float:
    """Sorts what moved most first, where moving is what the change is about; else run order."""
    growths = [shift.growth for shift in one.shifts]
    if one.change in (Change.WORSE, Change.MIXED):
        return -max(growths, default=1.0)
    return min(growths, default=1.0) if one.change is Change.BETTER else 0.0


def factor(growth: float) -> str:
    """Write a growth: ``x 3.9``, ``/ 12``, ``=``; in words where NaN or infinity came or went."""
    if growth == 1:
        return "="
    if growth == 0:
        return "a number again"
    if growth == float("inf"):
        return "no number any more"
    return f"x {number(growth)}" if growth > 1 else f"/ {number(1 / growth)}"
