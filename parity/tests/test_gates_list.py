"""``python -m parity gates``: what has no headroom, what nothing reaches, and what is too loose."""

from dataclasses import replace

import pytest
from typer.testing import CliRunner

from parity.__main__ import app
from parity.core.gates_file import Distribution, GatesFile, Margin, gates_text
from parity.core.tolerance import DEFAULT_GATES
from parity.gates_list import Listed, listed, uncaught

SEEN = Distribution(100, 0.5, 1.0, 1.5, 2.0, "x", fault_largest=50.0)
FIGURES = {"whole": 4.0, "row": 4.0, "column": 4.0}
FAULT = Margin("a", "rms_norm", "one", "local", "row", 8.0, 2.0, 4.0, True)


def content(gates=FIGURES, seen=SEEN, fault=FAULT):
    scopes = ("local", "end_to_end")
    return GatesFile(
        {"date": "2026-11-21"},
        {scope: {"rms_norm": gates} for scope in scopes},
        {scope: {"rms_norm": dict.fromkeys(gates, seen)} for scope in scopes},
        {"rms-eps": fault},
    )


def run(folder, found, *options):
    (folder / "CPU-fp32.toml").write_text(gates_text(found), encoding="utf-8")
    return CliRunner().invoke(app, ["gates", "--gates", str(folder), *options])


@pytest.mark.parametrize(
    ("largest", "tight"), [(0.0, False), (3.5, False), (3.6, True), (4.0, True), (5.0, True),
                           (float("nan"), True)],
)  # fmt: skip
def test_a_port_near_its_gate_or_over_it_has_no_headroom(largest, tight):
    one = Listed("f", "local", "rms_norm", "row", 4.0, replace(SEEN, largest=largest))
    assert one.tight is tight
    assert ("no headroom" in one.remark) is tight


@pytest.mark.parametrize(("reached", "loose"), [(0.0, True), (4.0, True), (4.1, False)])
def test_a_gate_that_no_fault_exceeds_is_loose(reached, loose):
    one = Listed("f", "local", "rms_norm", "row", 4.0, replace(SEEN, fault_largest=reached))
    assert one.loose is loose
    assert ("no planted fault" in one.remark) is loose


def test_good_gates_are_listed_only_when_asked_for(tmp_path):
    result = run(tmp_path, content())
    assert result.exit_code == 0
    assert "6 gates, 0 without headroom, 0 that no planted" in result.output
    assert "rms_norm" not in result.output
    assert run(tmp_path, content(), "--all").output.count("rms_norm") == 6


def test_what_is_wrong_with_a_gate_is_said_beside_it(tmp_path):
    result = run(tmp_path, content(seen=replace(SEEN, largest=3.9, fault_largest=1.0)))
    assert result.exit_code == 0
    assert result.output.count("no headroom, no planted fault reaches it") == 6


def test_a_gate_that_was_widened_by_hand_over_a_fault_fails(tmp_path):
    """The gate in the file counts, not the one that was noted beside the fault."""
    wide = content({**FIGURES, "row": 8.0})
    assert list(uncaught(wide)) == ["rms-eps"]
    result = run(tmp_path, wide)
    assert result.exit_code == 1
    assert "TOO LOOSE: rms-eps at a reaches 8 in row, the gate is 8" in result.output
    assert run(tmp_path, content({**FIGURES, "row": 7.9})).exit_code == 0


def test_a_fault_that_the_dtype_hides_need_not_be_caught(tmp_path):
    hidden = replace(FAULT, ratio=1.0, seen=False, why="an epsilon in bf16")
    assert run(tmp_path, content(fault=hidden)).exit_code == 0


def test_a_gate_without_a_distribution_cannot_be_listed(tmp_path):
    result = run(tmp_path, replace(content(), distributions={}))
    assert result.exit_code != 0
    assert "local gate rms_norm.whole has no distribution" in str(result.exception)
    with pytest.raises(Exception, match="calibrate"):
        list(listed("f", replace(content(), distributions={})))


def test_a_folder_without_gates(tmp_path):
    result = CliRunner().invoke(app, ["gates", "--gates", str(tmp_path)])
    assert "holds no gates" in str(result.exception)


def test_no_committed_gate_is_looser_than_a_fault_it_has_to_catch_or_without_headroom():
    result = CliRunner().invoke(app, ["gates", "--gates", str(DEFAULT_GATES)])
    assert result.exit_code == 0
    assert result.output.count(" 0 without headroom") == len(list(DEFAULT_GATES.glob("*.toml")))
