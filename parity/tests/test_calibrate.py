"""Measuring the gates: what the committed ones claim, and what cannot be measured."""

import sys

import pytest

from parity import calibrate
from parity.core.errors import ParityError
from parity.core.numerics import PRECISIONS
from parity.core.rows import Kind
from parity.core.tolerance import DEFAULT_FILE, SCOPES, load_gates
from parity.faults import catalogue, planted
from parity.session import Session, Settings

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

CASE = ("single-image",)


@pytest.fixture(scope="module")
def measured():
    return calibrate.faithful(Session(Settings(cases=CASE)), "fp32")


def test_a_gate_leaves_headroom_and_is_not_much_larger():
    for ratio in (0.0, 0.4, 1.0, 5.1, 300.0):
        gate = calibrate.Largest(ratio).gate
        assert gate >= calibrate.HEADROOM * ratio
        assert gate == float(f"{gate:.2g}")
        assert gate == 2 or gate <= 1.1 * calibrate.HEADROOM * ratio


def test_the_faithful_port_uses_no_more_of_the_gates_than_they_were_made_for(measured):
    gates = load_gates("fp32")
    for (scope, figure), seen in measured.items():
        gate = getattr(getattr(gates, scope), figure)
        assert seen.ratio * calibrate.HEADROOM <= gate, (scope, figure, seen)
        assert seen.gate <= gate


def test_blocks_as_a_whole_are_measured_too(measured):
    """Their roundings add up; graph mode is held to the same gates."""
    block = Session(Settings(cases=CASE, level="block"))
    rows = block.run(block.cases[0], "fp32")
    for figure in calibrate.FIGURES:
        found = [r.local.slices[figure].ratio for r in rows
                 if r.kind is Kind.FLOAT and r.local and figure in r.local.slices]  # fmt: skip
        assert found
        assert max(found) <= measured[("local", figure)].ratio


def margin(ratio, gate=32.0, faithful=10.0):
    return calibrate.Margin("rms-eps", "a.b", "c", "row", ratio, gate, faithful)


def test_the_file_is_what_the_command_writes(measured, tmp_path):
    path = tmp_path / "gates.toml"
    section = calibrate.as_toml("fp32", measured, [margin(100.0), margin(20.0)], CASE)
    path.write_text(calibrate.merged("", {"fp32": section}))
    for (scope, figure), seen in measured.items():
        assert getattr(getattr(load_gates("fp32", path), scope), figure) == seen.gate
    faults = tomllib.loads(path.read_text())["fp32"]["faults"]
    assert [fault["visible"] for fault in faults] == [False, True]
    assert CASE[0] in path.read_text()


def section(dtype, value):
    lines = [f"[{dtype}]", 'measured = "today"  # [not a section]']
    for scope in SCOPES:
        lines += [f"[{dtype}.{scope}]", *(f"{f} = {value}" for f in calibrate.FIGURES)]
    return "\n".join([*lines, f"[[{dtype}.faults]]", 'fault = "x"']) + "\n"


def test_measuring_one_dtype_keeps_the_others(tmp_path):
    old = calibrate.merged("", {"bf16": section("bf16", 4), "fp32": section("fp32", 8)})
    new = calibrate.merged(
        old, {"ascend-mixed": section("ascend-mixed", 2), "bf16": section("bf16", 16)}
    )
    path = tmp_path / "gates.toml"
    path.write_text(new)
    found = {d: load_gates(d, path).local.row for d in ("fp32", "bf16", "ascend-mixed")}
    assert found == {"fp32": 8, "bf16": 16, "ascend-mixed": 2}
    assert list(tomllib.loads(new)) == ["fp32", "bf16", "ascend-mixed"]
    assert calibrate.merged(new, {}) == new
    assert new.startswith(calibrate.HEADER)


def test_the_committed_file_is_one_that_merging_leaves_alone():
    text = DEFAULT_FILE.read_text()
    assert calibrate.merged(text, {}) == text


@pytest.mark.parametrize("dtype", PRECISIONS)
def test_every_fault_with_a_ratio_exceeds_a_committed_gate_or_is_known_not_to(dtype):
    listed = tomllib.loads(DEFAULT_FILE.read_text())[dtype]["faults"]
    names = {entry["fault"] for entry in listed}
    kinds = {point.name: point.kind for point in Session(Settings()).declared}
    measurable = (Kind.FLOAT, Kind.TABLE)
    assert names <= {f.name for f in catalogue().values() if kinds[f.point] in measurable}
    unseen = {name for name in names if dtype in catalogue()[name].hidden}
    assert {entry["fault"] for entry in listed if entry["times_the_gate"] <= 1} == unseen
    assert {entry["fault"] for entry in listed if not entry["visible"]} == unseen


def test_a_fault_within_the_gates_is_not_detected():
    assert margin(33.0).detected
    assert not margin(32.0).detected


def test_a_fault_that_rounding_hides_is_not_visible():
    edge = calibrate.HEADROOM * 10
    assert margin(edge + 1).visible, "it stands out of rounding, so the gate is too loose"
    assert not margin(edge).visible


def test_a_wrong_port_cannot_be_measured():
    session = Session(Settings(cases=CASE))
    with planted("mean-std"), pytest.raises(ParityError, match=r"pixel_values .* mend it first"):
        calibrate.faithful(session, "fp32")
