"""Hooks that compiled code leaves out are an error of their own, told by name, and never a pass."""

import pytest

from parity.adapters.mindspore_compiled import compiled_parts, was_compiling
from parity.core.rows import GRAPH, PYNATIVE, Verdict
from parity.proofs import everything_tapped
from parity.session import Session
from parity.settings import Settings

VISION = ("preprocessing", "positions", "vision")
ODD = "parity.tests.odd_candidates:"
BLOCKS = [f"visual.blocks.{n}" for n in range(4)]


def run(candidate, level="block", mode=PYNATIVE, stages=VISION, case="single-image"):
    """Rows and failed proofs of one run."""
    settings = Settings(candidate=candidate, cases=(case,), level=level, modes=(mode,))
    seen = []
    session = Session(settings, observe=seen.append)
    rows = session.run(session.cases[0], "fp32", stages)
    found = everything_tapped(session.schedule(session.cases[0], stages), seen[0])
    return rows, list(found)


@pytest.mark.parametrize("mode", [PYNATIVE, pytest.param(GRAPH, marks=pytest.mark.slow)])
def test_blocks_compiled_before_the_hooks_came_are_named(mode):
    rows, proofs = run(ODD + "CompiledBefore", mode=mode)
    silent = {row.point: row for row in rows if row.point in BLOCKS}
    assert list(silent) == BLOCKS
    for row in silent.values():
        assert row.verdict is Verdict.MISSING
        assert "hooks not called: visual.blocks runs compiled, which leaves them out" in row.message
        assert "occurred" not in row.message, "that is how a plain one reads"
    assert len(proofs) == 2, "of the free run and of the forced one"
    assert proofs[0].startswith(
        "4 of 10 modules could not be looked at in the free run: visual.blocks.0, visual.blocks.1, "
    )
    assert [row.point for row in rows if row.point == "visual.merger"], "what is outside is judged"


def test_hooks_that_do_not_compile_are_named():
    rows, proofs = run(ODD + "CompiledTower", level="module")
    silent = [row for row in rows if row.point.startswith("visual.blocks.0.")]
    assert {row.point.rpartition(".")[2] for row in silent} >= {"norm1", "attn", "norm2", "mlp"}
    for row in silent:
        assert row.verdict is Verdict.MISSING
        assert "hooks do not compile: visual.blocks runs compiled and traced them" in row.message
    assert len(proofs) == 2


def test_the_run_is_invalid():
    session = Session(
        Settings(candidate=ODD + "CompiledTower", cases=("single-image",), level="block"),
        prove=True,
    )
    rows = session.run(session.cases[0], "fp32", VISION)
    (merger,) = [row for row in rows if row.point == "visual.merger"]
    assert merger.end_to_end.ok, "one graph of all blocks computes what they do one by one"
    told = [line for line in session.invalid if "could not be looked at" in line]
    assert len(told) == 2
    assert told[0].startswith("single-image fp32: 4 of 10 modules could not be looked at")


@pytest.mark.slow
def test_blocks_compiled_one_by_one_are_all_seen():
    """Twin: the port's own graphs, whose blocks are called from Python."""
    rows, proofs = run("mindspore", mode=GRAPH)
    assert not proofs
    assert all(row.verdict is Verdict.PASS for row in rows)
    assert {row.point for row in rows} >= set(BLOCKS)


def test_what_is_never_called_is_plainly_missing():
    """Twin: nothing is compiled, and a block is left out of the forward pass."""
    rows, proofs = run(ODD + "Forgetful")
    (row,) = [row for row in rows if row.point == "visual.blocks.3"]
    assert not proofs
    assert row.verdict is Verdict.MISSING
    assert row.message == "it occurred 0 times, the reference's 1 times"


@pytest.mark.slow
def test_a_block_that_is_never_called_in_graph_mode_is_plainly_missing():
    """Its own graph, held by itself, is no reason for silence: it is called from Python."""
    rows, proofs = run(ODD + "Forgetful", mode=GRAPH)
    (row,) = [row for row in rows if row.point == "visual.blocks.3"]
    assert not proofs
    assert row.message == "it occurred 0 times, the reference's 1 times"


def test_which_hooks_a_compiled_part_leaves_out():
    session = Session(Settings(modes=(GRAPH,)))
    found = {part.name: part for part in compiled_parts(session.candidate("fp32").model)}
    assert list(found) == [*BLOCKS, *(f"language_model.layers.{n}" for n in range(3))]
    block = found["visual.blocks.1"]
    assert not block.leaves_out("visual.blocks.1"), "its construct is Python"
    assert block.leaves_out("visual.blocks.1.attn")
    assert not block.leaves_out("visual.blocks.10")
    assert not compiled_parts(Session(Settings()).candidate("fp32").model)
    assert not was_compiling(ValueError("not raised by a compiler"))
