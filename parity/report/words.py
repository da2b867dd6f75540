"""What the terms and the verdicts mean, and what to do about each, in plain words."""

from __future__ import annotations

from dataclasses import dataclass

from parity.core.rows import DUMPED, Between, Kind, Row, Verdict
from parity.report.figures import local_figure


@dataclass(frozen=True)
class Meaning:
    """A verdict in one sentence, and the next step for the person who reads it."""

    means: str
    next: str


OF_A_DUMP = (
    "Wrong even when it is fed the reference's own inputs", "Wrong for what it was given itself"
)  # fmt: skip
"""What a dump can tell in place of what a forced run does."""
BY_KERNEL = Meaning(
    "Over its gate on the reference's own inputs, by what this device's kernel of one primitive "
    "gets wrong; the formula is right.",
    "Call another operator of the framework here, or accept it: write an override of this point "
    "with the reason, and pass its file as --overrides.",
)
"""Of a guilty point that a kernel accounts for."""

BY_ARITHMETIC = Meaning(
    "Over its gate on the reference's own inputs, by what another arithmetic than the declared one "
    "makes of them; the formula is right, as far as its errors tell.",
    "See under what was compared which switch of the device explains it, and set it "
    "(`python -m parity device`); or judge the run in the dtype that it is really computed in.",
)
"""Of a guilty point whose error another arithmetic accounts for."""

BY_ITS_END = Meaning(
    "The candidate ended, or was stopped, before it had produced this.",
    "The message says how, and after which point. Run this case alone to see it again.",
)
"""Of what is missing because the candidate did not live to produce it."""

BY_COMPILER = Meaning(
    "Over its gate where its block is compiled, and right op by op on the same inputs: the "
    "compiler, or what compiled code does differently, is at fault, and not the port's formula.",
    "Compile less of this block until it is right, or write the operator in another way, and "
    "report what is left to MindSpore. Run in PyNative mode until then.",
)
"""Of what is wrong in graph mode alone."""

MEANINGS: dict[Verdict, Meaning] = {
    Verdict.GUILTY: Meaning(
        "Wrong even when it is fed the reference's own inputs: the fault is inside this module.",
        "Compare its code, its weights and its arguments with the reference's. "
        "Nothing before it matters.",
    ),
    Verdict.VICTIM: Meaning(
        "Right on the reference's own inputs, wrong end to end, because a point before it is "
        "guilty.",
        "Leave it alone. Repair the guilty point and run again.",
    ),
    Verdict.DRIFT: Meaning(
        "Right on the reference's own inputs and nothing before it is guilty, yet the error that "
        "has added up end to end is over the gate.",
        "Look along the depth for where the end-to-end series climbs: many small losses "
        "(a low-precision accumulation, a cast too early), or something between two points that "
        "no point covers.",
    ),
    Verdict.MISSING: Meaning(
        "Declared, and the candidate did not produce it as often as declared.",
        "See whether the module still has this name and is still called, once for every firing.",
    ),
    Verdict.EXTRA: Meaning(
        "The candidate produced it more often than declared.",
        "See whether the module is called twice, or shared under two names.",
    ),
    Verdict.SHAPE: Meaning(
        "The shapes differ, so no number was compared.",
        "Look at the last reshape, transpose or merge in this module.",
    ),
    Verdict.DTYPE: Meaning(
        "The dtypes differ, so the candidate computes in another precision.",
        "Look for a cast that is missing, or one too many.",
    ),
    Verdict.NONFINITE: Meaning(
        "The candidate holds NaN or infinity where the reference holds a number.",
        "Look for an overflow in half precision, a fully masked row, or a division by zero.",
    ),
    Verdict.EMPTY: Meaning(
        "There was nothing to compare: a tensor without elements, only padding, one number "
        "throughout, or the reference's own memory.",
        "Give the case an input that reaches this point, and answers to it.",
    ),
    Verdict.UNSUPPORTED: Meaning(
        "The device cannot compute this, so nothing is known about it.",
        "Run it on a device that can, or take it out of the run with a written reason.",
    ),
    Verdict.ABSENT: Meaning(
        "The candidate says it does not have this yet, so the reference's own value stands in.",
        "Port it. What comes after it is judged on the reference's values.",
    ),
    Verdict.PASS: Meaning(
        "Within its gate, on the reference's own inputs and end to end.", "Nothing."
    ),
}

TERMS: tuple[tuple[str, str], ...] = (
    (
        "Truth",
        "The same computation in float64. The candidate and the reference are each measured "
        "against it, on the same weights and inputs, rounded once to the dtype under test.",
    ),
    (
        "Error",
        "Length of (output - truth) over length of truth: of the whole tensor, and of every token "
        "and every channel by itself, of which the worst is kept with its index. A block is also "
        "judged on its update (output minus input), which a large residual would hide.",
    ),
    (
        "Floor",
        "The reference's own error, or the rounding noise of the dtype where that is larger. "
        "Nobody can ask for less error than this.",
    ),
    (
        "Ratio",
        "Candidate's error over the floor. 1 is as good as the reference itself; a few is another "
        "order of summation or a coarser kernel; a bug is orders of magnitude.",
    ),
    (
        "Gate",
        "The largest ratio that passes. It was measured: above what faithful ports reach, below "
        "what planted faults cause. NaN never passes.",
    ),
    (
        "Local",
        "The module is fed the reference's own inputs, so the figure is about this module alone.",
    ),
    (
        "End to end",
        "The candidate runs by itself and errors add up along the depth, as a user would see them.",
    ),
    (
        "Use of the gate",
        "Ratio over gate: the height in the figure, the number in the heat map, and the length of "
        "a bar in the table, whose middle is the gate. Over 1 fails.",
    ),
    (
        "Largest difference",
        "Where candidate and reference are furthest apart, with both values there. It shows where "
        "to look; the ratio is what judges.",
    ),
    (
        "Equality",
        "Token ids, grids, positions and pixel values are compared element by element; "
        "there is no ratio.",
    ),
)


def meaning(row: Row) -> Meaning:
    """Return what the row's verdict means, with a next step that takes its numbers into account."""
    known = MEANINGS[row.verdict]
    if row.verdict is Verdict.MISSING and "the candidate " in row.message:
        return BY_ITS_END
    if row.between is Between.COMPILER:
        return BY_COMPILER
    if row.mode == DUMPED:
        known = Meaning(known.means.replace(*OF_A_DUMP), known.next)
    if row.verdict is not Verdict.GUILTY:
        return known
    if row.arithmetic is not None:
        return BY_ARITHMETIC
    if row.kernel is not None:
        return BY_KERNEL
    return Meaning(known.means, f"{known.next} {_hint(row)}")


def _hint(row: Row) -> str:
    """Guess from the size and the place of a local error what kind of fault it is."""
    if row.kind in (Kind.DISCRETE, Kind.EXACT):
        return "These values are exact, so rounding is no excuse: look at the index arithmetic."
    worst = local_figure(row)
    if worst is None:
        return ""
    if worst.use < 10:
        return (
            "It is less than ten times its gate: suspect precision first (the dtype of a sum, an "
            "early cast, an epsilon, an approximate activation)."
        )
    return (
        "It is far over its gate: suspect a wrong formula, axis, order, mask or weight, "
        "not rounding."
    )
