"""A compiler's bug and a port's bug, each planted in the real port, are told apart."""

from dataclasses import replace

import pytest

from parity.core.errors import ParityError
from parity.core.modes import side_by_side
from parity.core.rows import GRAPH, PYNATIVE, Between, Verdict
from parity.faults import catalogue
from parity.session import Session
from parity.settings import Settings

ODD = "parity.tests.odd_candidates:"
BOTH = (PYNATIVE, GRAPH)
VISION = ("preprocessing", "positions", "vision")
TEXT = ("preprocessing", "positions", "text")


def run(candidate="mindspore", stages=VISION, case="single-image", dtype="fp32"):
    """The rows of both modes, side by side."""
    session = Session(Settings(candidate=candidate, cases=(case,), modes=BOTH, dtypes=(dtype,)))
    found = [row for mode in BOTH for row in session.run(session.cases[0], dtype, stages, mode)]
    return side_by_side(found)


def guilty(rows, mode):
    return {row.point: row for row in rows if row.mode == mode and row.verdict is Verdict.GUILTY}


@pytest.mark.slow
def test_a_wrongly_fused_multiply_add_is_the_compilers():
    rows = run(ODD + "FusesWrongly")
    assert not guilty(rows, PYNATIVE)
    assert list(guilty(rows, GRAPH)) == ["visual.blocks.2"]
    row = guilty(rows, GRAPH)["visual.blocks.2"]
    assert row.between is Between.COMPILER
    assert "the same code is right (ratio " in row.message
    other = next(r for r in rows if r.mode == PYNATIVE and r.point == row.point)
    assert other.block_ratio < row.block_gate < row.block_ratio
    assert f"(ratio {other.block_ratio:.3g} op by op, {row.block_ratio:.3g} compiled" in row.message
    right = {r.point: r.between for r in rows if r.mode == GRAPH and r.local and r is not row}
    assert set(right.values()) <= {Between.BITS, Between.ROUNDING}
    assert right["visual.blocks.3"] in (Between.BITS, Between.ROUNDING), "a victim, right by itself"


@pytest.mark.slow
def test_a_dropped_cast_is_the_compilers():
    rows = run(ODD + "DropsCast", TEXT, "text-only")
    assert not guilty(rows, PYNATIVE)
    (row,) = guilty(rows, GRAPH).values()
    assert row.point == "language_model.layers.1"
    assert row.between is Between.COMPILER


@pytest.mark.slow
def test_a_wrong_formula_is_the_ports(monkeypatch):
    """Twin: the operator itself is wrong, in both modes."""
    from qwen2vl_ms import ops

    def larger(x, kernel=None):
        return x * 1.01

    monkeypatch.setattr(ops, "silu", larger)
    rows = run("mindspore", TEXT, "text-only")
    layers = {f"language_model.layers.{n}" for n in range(3)}
    assert set(guilty(rows, PYNATIVE)) == {f"{layer}.mlp" for layer in layers}
    assert set(guilty(rows, GRAPH)) == layers
    for row in guilty(rows, GRAPH).values():
        assert row.between is Between.PORT
        assert "the port is at fault, not the compiler" in row.message


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["fp32", "ascend-mixed"])
def test_the_port_itself_is_alike_in_both_modes(dtype):
    rows = run("mindspore", ("preprocessing", "positions", "vision", "text"), dtype=dtype)
    assert all(row.verdict is Verdict.PASS for row in rows)
    compiled = [row for row in rows if row.mode == GRAPH and row.stage in ("vision", "text")]
    assert {row.between for row in compiled} <= {Between.BITS, Between.ROUNDING}
    outside = {row.point: row.between for row in compiled if "blocks" not in row.point
               and "layers" not in row.point}  # fmt: skip
    assert set(outside.values()) == {Between.BITS}, "what is not compiled is the same code"


def test_one_mode_alone_notes_nothing():
    """Twin: nothing is computed for a comparison that is not made."""
    settings = Settings(cases=("text-only",))
    session = Session(settings)
    rows = session.run(session.cases[0], "fp32", TEXT)
    assert all(row.local_bits is None and row.between is None for row in rows)


@pytest.mark.parametrize("name", [name for name, one in catalogue().items() if one.in_block][::9])
def test_a_fault_that_graph_mode_would_not_run_is_refused(name):
    settings = Settings(plant=name)
    Session(settings).validate()
    for modes in ((GRAPH,), BOTH):
        with pytest.raises(ParityError, match="where nothing can be planted"):
            Session(replace(settings, modes=modes)).validate()


def test_a_fault_outside_of_blocks_is_planted_in_both_modes():
    """Twin: Python runs it in both."""
    names = [name for name, one in catalogue().items() if not one.in_block]
    assert "patch-flatten" in names
    for name in names:
        Session(Settings(plant=name, modes=BOTH)).validate()
