"""Two modes side by side: whether a wrong value is the port's doing or the compiler's.

The same code runs op by op and compiled, on the same clean inputs. What is wrong in both is the
port's; what is wrong compiled and right op by op is what compiled code does differently. A block
that is looked into op by op is run once more as a whole, as it is compiled, so that both figures
are of the same thing.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

import numpy as np

from parity.core.compared import on_clean_inputs
from parity.core.points import Firing
from parity.core.rows import GRAPH, PYNATIVE, Between, Row, Slice, Verdict
from parity.core.trace import Tap
from parity.core.verdict import Evidence

NUMBERS_WRONG = frozenset(
    {Verdict.GUILTY, Verdict.DRIFT, Verdict.NONFINITE, Verdict.SHAPE, Verdict.DTYPE}
)
"""What a wrong computation shows as; what is not there, or proves nothing, is no mode's doing."""
UNKNOWN = frozenset({Verdict.MISSING, Verdict.EXTRA, Verdict.EMPTY, Verdict.UNSUPPORTED,
                     Verdict.ABSENT})  # fmt: skip


def with_bits(
    rows: Iterable[Row],
    schedule: Sequence[Firing],
    evidence: Evidence,
    as_blocks: Evidence,
    shared: Collection[str],
) -> list[Row]:
    """``rows`` with what comparing them with another mode's takes.

    Args:
        rows: of one case in one dtype and mode.
        schedule: the firings that they are of.
        evidence: both executions.
        as_blocks: the same with a forced run in which blocks are run as a whole.
        shared: the points that every mode of the run has.
    """
    firings = {(firing.point.name, firing.index): firing for firing in schedule}
    return [
        _with_bits(row, firing, evidence, as_blocks)
        if row.point in shared and (firing := firings.get((row.point, row.firing))) is not None
        else row
        for row in rows
    ]


def _with_bits(row: Row, firing: Firing, evidence: Evidence, as_blocks: Evidence) -> Row:
    """One row with the hashes of its values, and the figure of the block as a whole."""
    name, index = firing.point.name, firing.index
    noted = replace(
        row,
        local_bits=_bits(as_blocks.forced.get(name, index)),
        end_bits=_bits(evidence.free.get(name, index)),
    )
    worst = _worst(row) if as_blocks is evidence else _as_block(firing, as_blocks)
    return noted if worst is None else replace(
        noted, block_ratio=float(worst.ratio), block_gate=float(worst.gate)
    )  # fmt: skip


def _worst(row: Row) -> Slice | None:
    return None if row.local is None else row.local.worst[1]


def _as_block(firing: Firing, as_blocks: Evidence) -> Slice | None:
    """The worst figure of a value that was computed by a block as a whole."""
    value = on_clean_inputs(firing, as_blocks)
    found = None if value is None else value.examine().comparison
    return None if found is None else found.worst[1]


def _bits(tap: Tap | None) -> str | None:
    """A hash by which two values of the same shape, dtype and bits are known."""
    if tap is None:
        return None
    state = hashlib.blake2b(f"{tap.dtype} {tap.value.shape}".encode(), digest_size=8)
    state.update(np.ascontiguousarray(tap.value).tobytes())
    return state.hexdigest()


def side_by_side(rows: Iterable[Row]) -> list[Row]:
    """``rows`` of a whole run, each that both modes have with how the two compare."""
    every = list(rows)
    partners = {(row.mode, *_place(row), row.point): row for row in every if row.local_bits}
    wrong: dict[tuple[str, str, int], list[Row]] = defaultdict(list)
    for row in every:
        if row.mode == PYNATIVE and row.verdict in NUMBERS_WRONG:
            wrong[_place(row)].append(row)
    return [_beside(row, partners, wrong[_place(row)]) for row in every]


def _place(row: Row) -> tuple[str, str, int]:
    """What rows of two modes have to have in common, beside the point."""
    return row.case, row.dtype, row.firing


def _beside(
    row: Row, partners: dict[tuple[str, str, str, int, str], Row], wrong: Sequence[Row]
) -> Row:
    """A row beside its partner in the other mode."""
    plain, compiled = (partners.get((m, *_place(row), row.point)) for m in (PYNATIVE, GRAPH))
    if plain is None or compiled is None:
        return row
    drifts = compiled.verdict is Verdict.DRIFT
    inside = next((one for one in wrong if f"{one.point}.".startswith(f"{row.point}.")
                   and (drifts or one.verdict is not Verdict.DRIFT)), None)  # fmt: skip
    found = between(plain, compiled, inside)
    if found is None:
        return row
    if row.mode == GRAPH and row.verdict in NUMBERS_WRONG:
        row = replace(row, message=f"{row.message}. {told(found, plain, compiled, inside)}")
    return replace(row, between=found)


def between(plain: Row, compiled: Row, inside: Row | None) -> Between | None:
    """How a point compares in two modes; ``None`` where one of them has nothing to compare.

    Args:
        plain: the row of the point op by op.
        compiled: its row in graph mode.
        inside: the first that is wrong op by op, at the point or inside it.
    """
    if plain.verdict in UNKNOWN or compiled.verdict in UNKNOWN:
        return None
    if compiled.verdict in NUMBERS_WRONG:
        port = inside is not None or not _block_ok(plain) or _same_bits(plain, compiled)
        return Between.PORT if port else Between.COMPILER
    if not _block_ok(plain):
        return Between.OP_BY_OP
    return Between.BITS if _same_bits(plain, compiled) else Between.ROUNDING


def _same_bits(plain: Row, compiled: Row) -> bool:
    """Whether both computed the same bits: from the same inputs, or of what drifts, end to end."""
    if compiled.verdict is Verdict.DRIFT:
        return plain.end_bits is not None and plain.end_bits == compiled.end_bits
    return plain.local_bits is not None and plain.local_bits == compiled.local_bits


def _block_ok(plain: Row) -> bool:
    """Whether the point, run op by op as a whole, is within its gate (NaN is not)."""
    if plain.block_ratio is None or plain.block_gate is None:
        return plain.verdict not in NUMBERS_WRONG
    return plain.block_ratio <= plain.block_gate


def told(found: Between, plain: Row, compiled: Row, inside: Row | None) -> str:
    """Who is at fault, in a sentence with both modes' figures."""
    if found is Between.COMPILER:
        return (
            f"Op by op, on the same inputs, the same code is right ({_figures(plain, compiled)}): "
            "the compiler, or what compiled code does differently, is at fault, and not the "
            "port's formula"
        )
    if _same_bits(plain, compiled):
        return "Op by op the very same bits come out: the port is at fault, not the compiler"
    where = f", at {inside.point}" if inside is not None and inside.point != plain.point else ""
    return (
        f"Op by op it is wrong too{where} ({_figures(plain, compiled)}): the port is at fault, "
        "not the compiler"
    )


def _figures(plain: Row, compiled: Row) -> str:
    """The worst ratio of the block as a whole, in both modes."""
    if plain.block_ratio is None or compiled.block_ratio is None:
        return f"{plain.verdict.value} op by op, {compiled.verdict.value} compiled"
    text = f"ratio {plain.block_ratio:.3g} op by op, {compiled.block_ratio:.3g} compiled"
    if compiled.verdict is Verdict.DRIFT and plain.end_to_end and compiled.end_to_end:
        ends = [one.end_to_end.worst[1].ratio for one in (plain, compiled)
                if one.end_to_end is not None]  # fmt: skip
        return f"{text}; end to end {ends[0]:.3g} and {ends[1]:.3g}"
    return f"{text}, gate {compiled.block_gate:g}"
