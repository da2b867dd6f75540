"""Who is at fault, the port or the compiler, from the rows of both modes."""

from dataclasses import replace

import numpy as np
import pytest

from parity.core.detail import Detail
from parity.core.modes import between, side_by_side, with_bits
from parity.core.numerics import precision
from parity.core.rows import GRAPH, PYNATIVE, Between, RunResult, Verdict
from parity.core.trace import Tap
from parity.core.verdict import Evidence, judge
from parity.report.details import details_view
from parity.report.markdown import to_markdown
from parity.report.modes import WORDS, modes_lines, modes_view
from parity.report.terminal import summary_lines
from parity.report.words import BY_COMPILER, meaning
from parity.tests import toy_model
from parity.tests.report_runs import comparison, row

BLOCK, INNER = "visual.blocks.1", "visual.blocks.1.attn"


def pair(plain=Verdict.PASS, compiled=Verdict.PASS, bits=("a", "a"), ratios=(1.0, 1.0), **changes):
    """The rows of one block in both modes; the gate is 8."""
    return [
        row(0, BLOCK, verdict, mode=mode, local_bits=bit, end_bits=bit, block_ratio=ratio,
            block_gate=8.0, message="wrong" if verdict is not Verdict.PASS else "", **changes)
        for verdict, mode, bit, ratio in zip((plain, compiled), (PYNATIVE, GRAPH), bits, ratios,
                                             strict=True)
    ]  # fmt: skip


def inner(verdict=Verdict.GUILTY, **changes):
    return replace(row(1, INNER, verdict), **changes)


GUILTY, DRIFT, PASS = Verdict.GUILTY, Verdict.DRIFT, Verdict.PASS


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (pair(), Between.BITS),
        (pair(bits=("a", "b")), Between.ROUNDING),
        (pair(compiled=GUILTY, bits=("a", "b"), ratios=(1.0, 99.0)), Between.COMPILER),
        (pair(compiled=Verdict.NONFINITE, bits=("a", "b")), Between.COMPILER),
        (pair(compiled=Verdict.SHAPE, bits=("a", "b")), Between.COMPILER),
        (pair(GUILTY, GUILTY, bits=("a", "b"), ratios=(98.0, 99.0)), Between.PORT),
        (pair(compiled=GUILTY, bits=("a", "a"), ratios=(99.0, 99.0)), Between.PORT),
        (pair(compiled=GUILTY, bits=("a", "b"), ratios=(float("nan"), 99.0)), Between.PORT),
        ([*pair(compiled=GUILTY, bits=("a", "b"), ratios=(7.0, 99.0)), inner()], Between.PORT),
        (pair(bits=("a", "b"), ratios=(99.0, 1.0)), Between.OP_BY_OP),
        (pair(compiled=Verdict.VICTIM, bits=("a", "a")), Between.BITS),
        (pair(compiled=DRIFT, bits=("a", "b")), Between.COMPILER),
        (pair(DRIFT, DRIFT, bits=("a", "b")), Between.PORT),
        ([*pair(compiled=GUILTY, bits=("a", "b"), ratios=(1, 99)), inner(DRIFT)], Between.COMPILER),
        (pair(compiled=Verdict.MISSING), None),
        (pair(plain=Verdict.ABSENT, compiled=Verdict.ABSENT), None),
    ],
)  # fmt: skip
def test_who_is_at_fault(rows, expected):
    found = side_by_side(rows)
    assert [one.between for one in found[:2]] == [expected, expected]
    assert all(one.between is None for one in found[2:]), "one mode has it alone"


@pytest.mark.parametrize(
    "other", [{"case": "other"}, {"dtype": "bf16"}, {"firing": 1}, {"point": "visual.blocks.10"}]
)
def test_rows_of_different_things_are_no_pair(other):
    """Twin: the same rows, one of them of another case, dtype, firing or point."""
    plain, compiled = pair(compiled=GUILTY, bits=("a", "b"))
    assert [one.between for one in side_by_side([plain, replace(compiled, **other)])] == [None] * 2
    elsewhere = inner(**({"point": "visual.blocks.10.attn"} | other))
    found = side_by_side([plain, compiled, elsewhere])
    assert found[1].between is Between.COMPILER, "what is wrong elsewhere explains nothing here"


def test_the_message_has_both_figures():
    rows = pair(compiled=GUILTY, bits=("a", "b"), ratios=(1.25, 4321.0))
    plain, compiled = side_by_side(rows)
    assert plain.message == ""
    assert compiled.message == (
        "wrong. Op by op, on the same inputs, the same code is right (ratio 1.25 op by op, "
        "4.32e+03 compiled, gate 8): the compiler, or what compiled code does differently, is at "
        "fault, and not the port's formula"
    )
    assert meaning(compiled) is BY_COMPILER
    _, both, _ = side_by_side([*pair(GUILTY, GUILTY, ("a", "b"), (90.0, 99.0)), inner()])
    assert both.message == (
        "wrong. Op by op it is wrong too (ratio 90 op by op, 99 compiled, gate 8): the port is at "
        "fault, not the compiler"
    )
    rows = [*pair(PASS, GUILTY, ("a", "b"), (7.0, 99.0)), inner()]
    assert f"Op by op it is wrong too, at {INNER} (ratio 7" in side_by_side(rows)[1].message
    _, same = side_by_side(pair(GUILTY, GUILTY))
    assert same.message == (
        "wrong. Op by op the very same bits come out: the port is at fault, not the compiler"
    )
    assert meaning(same) is not BY_COMPILER


def test_what_drifts_is_told_end_to_end():
    rows = pair(compiled=DRIFT, bits=("a", "b"))
    rows[0] = replace(rows[0], end_to_end=comparison(3.0))
    rows[1] = replace(rows[1], end_to_end=comparison(77.0))
    assert "; end to end 3 and 77)" in side_by_side(rows)[1].message


def test_a_run_in_one_mode_is_left_as_it_is():
    rows = [row(0, BLOCK), row(1, INNER, GUILTY)]
    assert side_by_side(rows) == rows
    assert modes_lines(rows) == []
    assert modes_view(rows, {}) is None


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return toy_model.write(tmp_path_factory.mktemp("toy") / "bundle")


def noted(run, names=("embed", "blocks.0"), as_blocks=None):
    """The rows of a toy's run by point and firing, with what a comparison of modes takes."""
    one, other = (
        Evidence("toy", precision("fp32"), toy_model.GATES, given.bundle, given.free, given.forced,
                 level=level, padding=toy_model.PADDING)
        for given, level in ((run, "module"), (as_blocks or run, "block"))
    )  # fmt: skip
    rows = judge(toy_model.SCHEDULE, one)
    found = with_bits(rows, toy_model.SCHEDULE, one, other if as_blocks else one, names)
    return {(row.point, row.firing): row for row in found}


def test_equal_bits_have_equal_hashes_and_one_bit_shows(bundle):
    key, one, other = ("blocks.0", 0), toy_model.Run(bundle), toy_model.Run(bundle)
    before, after = noted(one)[key], noted(other)[key]
    assert (before.local_bits, before.end_bits) == (after.local_bits, after.end_bits)

    def one_bit(value):
        changed = value.copy()
        changed.reshape(-1)[3] = np.nextafter(changed.reshape(-1)[3], np.float32(9))
        return changed

    toy_model.spoil(other.forced, "blocks.0", change=one_bit)
    after = noted(other)[key]
    assert before.local_bits != after.local_bits
    assert before.end_bits == after.end_bits
    tap = one.forced.taps["blocks.0"][0]
    for changed in (Tap(tap.value.reshape(-1), tap.dtype), Tap(tap.value, "bfloat16")):
        one.forced.taps["blocks.0"][0] = changed
        assert noted(one)[key].local_bits != before.local_bits


def test_only_what_all_modes_have_is_noted(bundle):
    found = noted(toy_model.Run(bundle))
    named = {point for (point, _), one in found.items() if one.local_bits is not None}
    assert named == {"embed", "blocks.0"}
    assert found[("blocks.0", 1)].local_bits != found[("blocks.0", 0)].local_bits
    assert found[("blocks.0", 0)].block_ratio == found[("blocks.0", 0)].local.worst[1].ratio


def test_the_figure_of_a_block_is_that_of_the_block_as_a_whole(bundle):
    run, whole = toy_model.Run(bundle), toy_model.Run(bundle)
    toy_model.spoil(whole.forced, "blocks.0")
    found = noted(run, as_blocks=whole)[("blocks.0", 0)]
    assert found.verdict is Verdict.PASS
    assert found.local.worst[1].ratio < found.block_gate < found.block_ratio
    assert noted(run, as_blocks=run)[("blocks.0", 0)].block_ratio < found.block_gate


def test_the_view_lists_what_differs_first_and_counts_everything():
    rows = [
        *pair(bits=("a", "b"), ratios=(1.0, 1.1), case="one"),
        *pair(case="two"),
        *pair(compiled=GUILTY, bits=("a", "b"), ratios=(1.0, 99.0), case="three"),
        *pair(bits=("a", "b"), ratios=(1.0, 7.0), dtype="bf16"),
    ]
    found = side_by_side(rows)
    view = modes_view(found, {id(one): f"r{n}" for n, one in enumerate(found)})
    assert [(one.dtype, one.counts, one.end_bits, one.total) for one in view.tallies] == [
        ("fp32", (1, 1, 1, 0, 0), 1, 3), ("bf16", (0, 1, 0, 0, 0), 0, 1),
    ]  # fmt: skip
    first, second = view.points
    assert (first.case, first.dtype, first.between) == ("three", "fp32", "compiler")
    assert (first.plain, first.compiled, first.gate) == ("1", "99", "8")
    assert (first.plain_anchor, first.compiled_anchor) == ("r4", "r5")
    assert (second.dtype, second.words) == ("bf16", WORDS[Between.ROUNDING])
    lines = " ".join(" ".join(summary_lines(RunResult(found))).split())
    assert (
        "graph beside pynative, fp32: of 3 values 1 bit for bit the same, 1 the same within "
        "rounding, 1 wrong compiled and right op by op: the compiler's" in lines
    )
    summary = to_markdown(RunResult(found)).replace("\\", "")  # what escapes punctuation
    assert "graph beside pynative, bf16: of 1 value 1 the same within rounding" in summary


def test_the_details_of_a_point_have_both_modes():
    found = side_by_side(pair(compiled=GUILTY, bits=("a", "b"), ratios=(1.0, 99.0)))
    alone = row(3, "lm_head", GUILTY)
    details = [Detail(r.case, r.dtype, r.mode, r.point, r.firing, "x") for r in (*found, alone)]
    told = [one.modes for one in details_view(RunResult([*found, alone], details=details)).items]
    words = "wrong compiled and right op by op: the compiler's; worst local ratio 1 op by op, 99 "
    assert told == [f"{words}compiled, gate 8"] * 2 + [""]


def test_between_needs_no_more_than_the_two_rows():
    plain, compiled = pair(bits=(None, None))
    assert between(plain, compiled, None) is Between.ROUNDING, "unknown bits are not equal bits"
