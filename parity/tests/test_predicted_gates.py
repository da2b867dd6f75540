"""Gates of a device that nobody has measured: made from the CPU's, and never taken for measured."""

import math
import shutil
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from parity.__main__ import app
from parity.calibrate_rule import LEAST
from parity.core.errors import ParityError
from parity.core.files import file_hash
from parity.core.gates_file import gates_text, read_gates_file
from parity.core.numerics import PRECISIONS
from parity.core.rows import RunResult
from parity.core.tolerance import DEFAULT_GATES, load_gates
from parity.device.choice import judged_as
from parity.numerics_models import find
from parity.predicted_gates import widened
from parity.report.headline import detail
from parity.settings import Settings
from parity.tests.report_runs import failing

HALF = read_gates_file(DEFAULT_GATES / "CPU-fp16.toml")
KEY = ("local", "linear", "whole")


def at(content, key, what="gates"):
    scope, role, figure = key
    return getattr(content, what)[scope][role][figure]


def every(content):
    return {
        (scope, role, figure): gate
        for scope, roles in content.gates.items()
        for role, figures in roles.items()
        for figure, gate in figures.items()
    }


def test_a_model_that_changes_nothing_leaves_the_cpu_s_gates():
    same = widened(HALF, {})
    assert every(same) == every(HALF)
    assert same.distributions == HALF.distributions
    for name, margin in HALF.faults.items():
        assert (same.faults[name].seen, same.faults[name].gate) == (
            margin.ratio > at(HALF, (margin.scope, margin.role, margin.figure)) and margin.seen,
            at(HALF, (margin.scope, margin.role, margin.figure)),
        )


@pytest.mark.parametrize("factor", [1.1, 3.0, 40.0])
def test_a_larger_ratio_widens_its_own_gate_alone(factor):
    wide = widened(HALF, {KEY: factor})
    largest = at(HALF, KEY, "distributions").largest * factor
    assert at(wide, KEY, "distributions").largest == largest
    assert at(wide, KEY) >= max(LEAST * largest, at(HALF, KEY))
    others = {key: gate for key, gate in every(wide).items() if key != KEY}
    assert others == {key: gate for key, gate in every(HALF).items() if key != KEY}


def test_a_fault_that_the_wider_gate_hides_is_said_to_be():
    caught = next(m for m in HALF.faults.values() if m.seen and math.isfinite(m.ratio))
    key = (caught.scope, caught.role, caught.figure)
    wide = widened(HALF, {key: 2 * caught.ratio / at(HALF, key, "distributions").largest})
    name = next(name for name, one in HALF.faults.items() if one is caught)
    assert not wide.faults[name].seen
    assert "the device's own rounding" in wide.faults[name].why


def test_a_predicted_file_says_so_wherever_it_is_read(tmp_path):
    content = replace(HALF, measured={}, predicted={"model": "ascend-910b", "date": "2026-11-22"})
    path = tmp_path / "Ascend-fp16.toml"
    path.write_text(gates_text(content))
    assert "NOTHING HERE WAS MEASURED ON HARDWARE" in path.read_text()
    again = read_gates_file(path)
    assert (again.measured, again.predicted) == ({}, content.predicted)
    note = load_gates("fp16", "Ascend:3", tmp_path).note
    assert note.startswith("PREDICTED for Ascend from the numerics model ascend-910b, not measured")
    run = failing()
    assert "Gates: PREDICTED for Ascend" in detail(replace_provenance(run, note), [])
    path.write_text(path.read_text().replace("[predicted]", "[measured]"))
    with pytest.raises(ParityError):
        read_gates_file(path)


def replace_provenance(run, note):
    return RunResult(run.rows, {**run.provenance, "gates note": note})


def test_gates_are_measured_or_predicted_and_not_both(tmp_path):
    path = tmp_path / "Ascend-fp16.toml"
    path.write_text('[measured]\ndate = "x"\n[predicted]\ndate = "y"\n')
    for scope in ("local", "end_to_end"):
        path.write_text(path.read_text() + f"[{scope}]\na = {{whole = 1, row = 1, column = 1}}\n")
    with pytest.raises(ParityError, match="the one or the other"):
        read_gates_file(path)


def test_the_published_ones_are_found_for_every_dtype_and_marked():
    for dtype in PRECISIONS:
        content = read_gates_file(DEFAULT_GATES / f"Ascend-{dtype}.toml")
        cpu = read_gates_file(DEFAULT_GATES / f"CPU-{dtype}.toml")
        assert bool(content.predicted) != bool(content.measured)
        gates = load_gates(dtype, "Ascend:0")
        if content.predicted:
            assert "PREDICTED" in gates.note
            today = file_hash(DEFAULT_GATES / f"CPU-{dtype}.toml")[:16]
            made_from = content.predicted["from"]
            assert made_from == f"CPU-{dtype}.toml {today}", "run `python -m parity predict-gates`"
            assert all(gate >= every(cpu)[key] for key, gate in every(content).items())
        assert every(content).keys() == every(cpu).keys()


def test_the_command_predicts_and_leaves_what_was_measured(tmp_path):
    shutil.copy(DEFAULT_GATES / "CPU-fp32.toml", tmp_path)
    asked = ["predict-gates", "--dtype", "fp32", "--gates", str(tmp_path)]
    done = CliRunner().invoke(app, asked)
    assert done.exit_code == 0, done.output
    content = read_gates_file(tmp_path / "Ascend-fp32.toml")
    assert content.predicted["model"] == "ascend-910b, which changes nothing in fp32"
    assert content.predicted["cases"] == []
    listed = CliRunner().invoke(app, ["gates", "--gates", str(tmp_path)])
    assert "Ascend-fp32.toml" in listed.output
    assert "predicted 20" in listed.output
    measured = replace(content, measured={"date": "2027-01-01"}, predicted={})
    (tmp_path / "Ascend-fp32.toml").write_text(gates_text(measured))
    again = CliRunner().invoke(app, asked)
    assert "was measured: left as it is" in again.output
    assert read_gates_file(tmp_path / "Ascend-fp32.toml").measured == {"date": "2027-01-01"}


def test_only_a_whole_chip_has_gates():
    done = CliRunner().invoke(app, ["predict-gates", "--model", "hf32-conv"])
    assert isinstance(done.exception, ParityError)
    assert judged_as(Settings(numerics="ascend-910b")) == "Ascend"
    assert judged_as(Settings(numerics="hf32-conv")) == "CPU"
    assert find("ascend-910b").chip
