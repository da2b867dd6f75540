"""Measuring the gates: what the committed ones claim, and what cannot be measured."""

import sys
from dataclasses import replace

import pytest

from parity import calibrate
from parity.core.errors import ParityError
from parity.core.tolerance import DEFAULT_FILE, load_gates
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


def test_a_gate_leaves_headroom_and_is_a_power_of_two():
    for ratio in (0.0, 0.4, 1.0, 5.1, 300.0):
        gate = calibrate.Largest(ratio).gate
        assert gate >= calibrate.HEADROOM * ratio
        assert gate in {2.0**k for k in range(1, 20)}


def test_the_faithful_port_uses_no_more_of_the_gates_than_they_were_made_for(measured):
    gates = load_gates("fp32")
    for (scope, figure), seen in measured.items():
        gate = getattr(getattr(gates, scope), figure)
        assert seen.ratio * calibrate.HEADROOM <= gate, (scope, figure, seen)
        assert seen.gate <= gate


def test_the_file_is_what_the_command_writes(measured, tmp_path):
    session = Session(Settings(cases=CASE))
    margin = calibrate.Margin("rms-eps", "a.b", "c", "row", 100.0, 32.0)
    path = tmp_path / "gates.toml"
    path.write_text(calibrate.as_toml("fp32", measured, [margin], CASE))
    for (scope, figure), seen in measured.items():
        assert getattr(getattr(load_gates("fp32", path), scope), figure) == seen.gate
    assert tomllib.loads(path.read_text())["fp32"]["faults"][0]["fault"] == "rms-eps"
    assert session.cases[0].name in path.read_text()


def test_every_fault_with_a_ratio_exceeds_a_committed_gate():
    listed = tomllib.loads(DEFAULT_FILE.read_text())["fp32"]["faults"]
    floats = {f.name for f in catalogue().values() if not f.point.startswith("processor.")}
    exact = {"rope-hw-swapped", "vit-no-mask", "vit-cu-seqlens-frame", "rope-1d", "rope-left-pad",
             "rope-temporal-const", "rope-deltas-lost", "mask-padding-visible"}  # fmt: skip
    assert {entry["fault"] for entry in listed} == floats - exact
    assert all(entry["times_the_gate"] > 1 for entry in listed)


def test_a_fault_within_the_gates_is_not_detected():
    caught = calibrate.Margin("x", "p", "c", "row", ratio=33.0, gate=32.0)
    assert caught.detected
    assert not replace(caught, ratio=32.0).detected


def test_a_wrong_port_cannot_be_measured():
    session = Session(Settings(cases=CASE))
    with planted("mean-std"), pytest.raises(ParityError, match=r"pixel_values .* mend it first"):
        calibrate.faithful(session, "fp32")
