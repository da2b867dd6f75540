"""Parts of the page as plain data: payload, heat map, counts, choice of rows, commands."""

import dataclasses
import math

import pytest

from parity.core.detail import Detail
from parity.core.rows import Kind, RunResult, Verdict
from parity.report.commands import commands
from parity.report.counts import override_views, tallies
from parity.report.matrix import LIMIT as LINES
from parity.report.matrix import matrix, module_of
from parity.report.payload import columns, payload
from parity.report.selection import LIMIT, NEAREST, nearness, select
from parity.report.view import view
from parity.tests.report_runs import (
    GUILTY_POINT,
    case_rows,
    comparison,
    hostile,
    odd_numbers,
    row,
)  # fmt: skip


def drawn(rows):
    return matrix(rows, {id(one): f"r{place}" for place, one in enumerate(rows)})


def use(ratio, gate=8.0):
    return {"local": comparison(ratio, gate), "end_to_end": comparison(ratio / 2, gate)}


@pytest.mark.parametrize("result", [odd_numbers(), hostile(), RunResult(case_rows("a 1", "fp32"))])
def test_the_payload_gives_back_every_text(result):
    rows = sorted(view(result).rows, key=lambda one: one.number)
    found = columns(rows)
    assert [one["point"] for one in found["name"].rows()] == [one.point for one in rows]
    words = found["words"].rows()
    assert [one["message"] for one in words] == [one.message for one in rows]
    assert [one["notes"].split("\n") for one in words] == [list(one.notes) or [""] for one in rows]
    figures = found["figures"].rows()
    assert [one["local_text"] for one in figures] == [
        one.local.text if one.local else "" for one in rows
    ]
    assert [one["local_over"] for one in figures] == [
        "over" if one.local and not one.local.ok else "" for one in rows
    ]
    assert "<" not in payload(rows)


def test_modules_are_named_by_their_first_number():
    assert module_of("visual.blocks.3.attn.qkv") == "visual.blocks.3"
    assert module_of("visual.merger.mlp.0") == "visual.merger"
    assert module_of("step.1.logits") == "step.1"
    assert module_of("lm_head") == "lm_head"


def test_a_cell_has_the_worst_case_of_its_dtype():
    rows = [
        row(0, "visual.blocks.0.attn", case="a", **use(2.0)),
        row(0, "visual.blocks.0.attn", case="b", **use(4.0)),
        row(0, "visual.blocks.0.attn", case="a", dtype="bf16", **use(80.0)),
    ]
    found = drawn(rows)
    assert found.dtypes == ("fp32", "bf16")
    (line,) = found.lines
    assert [(one.text, one.anchor) for one in line.local] == [("0.5", "r1"), ("10", "r2")]
    assert [one.text for one in line.end] == ["0.25", "5"]
    assert [one.fault for one in line.local] == [False, True]
    assert line.local[0].shade < line.local[1].shade


def test_a_point_has_its_own_line_only_if_it_stands_out():
    rows = [
        row(0, "visual.blocks.0.norm1", **use(1.0)),
        row(1, "visual.blocks.0.attn", Verdict.GUILTY, **use(900.0)),
        row(2, "visual.blocks.0.mlp", Verdict.VICTIM, local=comparison(1.0)),
        row(3, "visual.blocks.1.norm1", **use(1.0)),
        row(4, "visual.blocks.1.attn", **use(7.9)),
    ]
    found = [(line.name, line.inner) for line in drawn(rows).lines]
    assert found == [
        ("visual.blocks.0", False), ("visual.blocks.0.attn", True),
        ("visual.blocks.1", False), ("visual.blocks.1.attn", True),
    ]  # fmt: skip


def test_a_victim_s_cell_is_over_its_gate_and_not_marked_as_a_fault():
    (line,) = drawn([row(0, "lm_head", Verdict.VICTIM)]).lines
    assert float(line.end[0].text.replace(",", "")) > 1
    assert not line.end[0].fault
    assert line.end[0].shade > line.local[0].shade


def test_what_is_no_number_is_the_worst_shade():
    rows = [
        row(0, "a", local=comparison(math.nan)),
        row(1, "b", Verdict.GUILTY, kind=Kind.DISCRETE, mismatches=3),
        row(2, "c", Verdict.SHAPE, local=None, end_to_end=None),
        row(3, "d", kind=Kind.DISCRETE, mismatches=0),
    ]
    cells = [line.local[0] for line in drawn(rows).lines]
    assert [one.text for one in cells] == ["NaN", "differ", "SHAPE", "="]
    assert [one.shade for one in cells] == [4, 4, 4, 0]


def test_a_case_that_skips_a_part_does_not_change_the_order():
    text = [row(0, "lm_head", case="text")]
    image = [row(0, "visual.merger", case="image"), row(1, "lm_head", case="image")]
    assert [line.name for line in drawn(text + image).lines] == ["visual.merger", "lm_head"]


def test_a_large_matrix_keeps_its_worst_lines():
    rows = [row(n, f"point{n}", **use(1 + n / 1000)) for n in range(LINES + 20)]
    found = drawn(rows)
    assert [line.name for line in found.lines] == [f"point{n}" for n in range(20, LINES + 20)]
    assert found.note.startswith("20 lines")


def test_counts_beside_the_verdicts():
    rows = [
        row(0, "a", override="a coarse kernel"),
        row(1, "b", override="a coarse kernel"),
        row(2, "c", Verdict.MISSING, local=None, end_to_end=None),
    ]
    ledger = {"tests": {"deselected": 2, "skipped": 3}}
    result = RunResult(rows, not_compared=["decoding"], ledger=ledger)
    assert [(one.name, one.count) for one in tallies(result)] == [
        ("rows", 3), ("compared", 2), ("overridden", 2), ("not compared", 1), ("tests not run", 5),
    ]  # fmt: skip
    (one,) = override_views(result)
    assert (one.reason, one.points, one.rows) == ("a coarse kernel", "a, b", "2 rows")


def test_the_rows_of_the_page_are_those_that_fail_and_the_nearest_to():
    rows = [row(n, f"p{n}", **use(1 + n / 100)) for n in range(LIMIT + 100)]
    rows[5] = row(5, "bad", Verdict.GUILTY)
    found = select(view(RunResult(rows)).rows)
    assert found.rows[0].point == "bad"
    shown = [one.point for one in found.rows[1:]]
    assert shown == [f"p{n}" for n in range(LIMIT + 100 - NEAREST, LIMIT + 100)]
    left = [one for one in view(RunResult(rows)).rows if one not in found.rows]
    assert max(map(nearness, left)) < min(map(nearness, found.rows[1:]))
    assert "here are 1 row that fails and the 60 passing rows nearest to the gate" in found.note
    assert select(found.rows[:LIMIT]).note == ""


def test_commands_repeat_the_run_as_it_was():
    first = row(0, GUILTY_POINT, Verdict.GUILTY, case="two images", mode="graph")
    result = RunResult([first], {"planted fault": "ln-eps"})
    (again,) = commands(first, result)
    assert again.text == (
        f"python -m parity run --case 'two images' --dtype fp32 --point {GUILTY_POINT} "
        "--mode graph --plant ln-eps"
    )
    alone = Detail("two images", "fp32", "graph", GUILTY_POINT, 0, "vision_attn", "repro it")
    assert commands(first, dataclasses.replace(result, details=[alone]))[0].text == "repro it"
    same = dataclasses.replace(alone, command=again.text)
    assert commands(first, dataclasses.replace(result, details=[same])) == (again,)
    other = dataclasses.replace(alone, point="another")
    assert len(commands(first, dataclasses.replace(result, details=[other]))) == 1
