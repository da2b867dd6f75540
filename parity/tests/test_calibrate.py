"""Calibrating: what becomes of measurements, honest false alarms, the files and the picture."""

from dataclasses import replace
from xml.etree import ElementTree

import pytest

from parity import calibrate_work
from parity.calibrate import calibrate_job, held_out, missed, told
from parity.calibration_data import Plan, Record, write
from parity.core.errors import ParityError
from parity.core.gates_file import read_gates_file
from parity.settings import Settings
from parity.subjects.roles import ROLES

NORM = "language_model.layers.1.input_layernorm"
FIGURES = ("whole", "row", "column")


@pytest.fixture
def plan(tmp_path):
    settings = Settings(cases=("single-image",), dtypes=("fp32",), gates=tmp_path / "gates")
    return Plan(settings, 4, tmp_path / "place")


def record(seed, ratio, **given):
    scopes = {scope: {name: [ratio] for name in FIGURES} for scope in ("local", "end_to_end")}
    usual = {"dtype": "fp32", "device": "CPU", "weights": "trained"}
    return Record(seed=seed, case="single-image", ratios={NORM: scopes}, **usual | given)


def measured(plan, ratios=(1.0, 2.0, 1.5, 1.0, 1.8), fault=100.0):
    """Leave measurements as the workers do: of every seed, and of every fault."""
    case = plan.session.cases[0]
    for seed, ratio in enumerate(ratios):
        write(plan.seed_path(case, "fp32", seed), record(seed, ratio))
    for name in plan.faults:
        found = record(0, fault, fault=name)
        write(plan.fault_path(case, "fp32", name), found)


def elements(picture, tag):
    """Those of a picture that was made here."""
    every = ElementTree.parse(picture).iter()  # noqa: S314
    return [element for element in every if element.tag.endswith(f"}}{tag}")]


def test_what_was_measured_already_is_not_measured_again(plan):
    measured(plan)
    assert calibrate_work.done(plan) == calibrate_work.total(plan)
    content = calibrate_job(plan, workers=1)["fp32"]
    path = plan.settings.gates / "CPU-fp32.toml"
    assert read_gates_file(path).gates == content.gates
    assert content.gates["local"]["rms_norm"] == dict.fromkeys(FIGURES, 5.0)
    assert content.measured["runs"] == 5
    assert content.distributions["local"]["rms_norm"]["row"].count == 5
    assert content.faults["rms-eps"].seen


def test_false_alarms_are_counted_on_seeds_that_the_gates_were_not_fitted_on(plan):
    """On those that they were fitted on there is none, whatever was measured."""
    quiet = [record(seed, 4.0) for seed in range(4)]
    assert held_out(plan, quiet, []) == {"runs": 4, "false_alarms": 0, "points": []}
    loud = [*quiet, record(5, 40.0)]
    found = held_out(plan, loud, [])
    assert (found["runs"], found["false_alarms"]) == (5, 1)
    assert found["points"] == [f"{NORM} in single-image, seed 5"]


def test_each_half_that_is_held_out_has_trained_and_random_weights(plan):
    from parity.seeds import weights_of

    records = [record(seed, 1.0, weights=weights_of(seed)) for seed in range(21)]
    halves = [{r.weights for r in records if (r.seed + 1) // 2 % 2 == half} for half in (0, 1)]
    assert halves == [{"trained", "random"}] * 2
    assert held_out(plan, records, [])["runs"] == 21


def test_with_one_seed_nothing_can_be_held_out(plan):
    assert held_out(plan, [record(0, 1.0)], [])["runs"] == 0


def test_a_port_that_is_wrong_cannot_be_measured(plan):
    measured(plan)
    case = plan.session.cases[0]
    write(plan.seed_path(case, "fp32", 2), record(2, 1.0, wrong=["ids: GUILTY, 1 value differs"]))
    with pytest.raises(ParityError, match=r"single-image, fp32, seed 2: ids: .*mend it first"):
        calibrate_job(plan, workers=1)
    assert not plan.settings.gates.exists()


def test_faults_that_are_not_caught_are_told_by_name_unless_the_dtype_hides_them(plan):
    measured(plan, fault=1.0)
    content = calibrate_job(plan, workers=1)["fp32"]
    assert "rms-eps" in missed("fp32", content)
    assert "rms-eps" not in missed("bf16", content)
    for dtype, word in (("fp32", "NOT CAUGHT"), ("bf16", "hidden")):
        line = next(line for line in told(dtype, content) if "rms-eps" in line)
        assert word in line


def test_files_of_other_dtypes_are_kept_and_drawn(plan):
    measured(plan)
    calibrate_job(plan, workers=1)
    folder = plan.settings.gates
    (folder / "CPU-bf16.toml").write_bytes((folder / "CPU-fp32.toml").read_bytes())
    calibrate_job(plan, workers=1)
    assert sorted(path.name for path in folder.iterdir()) == [
        "CPU-bf16.toml", "CPU-fp32.toml", "CPU.svg",
    ]  # fmt: skip
    texts = [element.text for element in elements(folder / "CPU.svg", "text")]
    assert "fp32, 5 runs" in texts
    assert "bf16, 5 runs" in texts
    assert "rms_norm" in texts


def test_the_picture_has_a_mark_for_every_fault_and_none_outside(plan):
    measured(plan, fault=1e12)
    content = calibrate_job(plan, workers=1)["fp32"]
    picture = plan.settings.gates / "CPU.svg"
    (root,), dots = elements(picture, "svg"), elements(picture, "circle")
    assert len(dots) == len(content.faults) + 2 > 3, "the legend has two"
    for dot in dots:
        assert 0 < float(dot.get("cx")) < float(root.get("width")) / 2 or dot in dots[:2]


def test_every_fault_with_a_role_is_planted_in_a_case_that_shows_it():
    from parity.faults import catalogue

    plan = Plan(Settings(), 0)
    for name, case in plan.faults.items():
        assert case.name in catalogue()[name].cases
    assert {plan.points[catalogue()[name].point].role for name in plan.faults} <= set(ROLES)
    text = Plan(replace(Settings(), cases=("text-only",)), 0)
    assert set(text.faults) < set(plan.faults)
