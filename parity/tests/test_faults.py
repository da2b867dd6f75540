"""Every fault the catalogue knows is found, and charged to its own point and no other."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from functools import cache

import pytest

from parity.core.errors import ParityError
from parity.core.numerics import PRECISIONS
from parity.core.rows import Verdict
from parity.faults import catalogue, find, planted
from parity.faults.check import require_change
from parity.session import Session
from parity.settings import Settings

FAULTS = catalogue()
# By dtype, since changing it loads the port anew.
SHOWN = sorted((f for f in FAULTS.values() if f.dtypes), key=lambda f: f.hidden.get("fp32", ""))
UNSEEN = [("ln-eps", "fp16"), ("rms-weight-dtype", "fp16"), ("softmax-low-precision", "fp16")]


@cache
def session():
    return Session(Settings())


def case_of(fault):
    return next(case for case in session().cases if case.name == fault.cases[0])


def rows_of(fault, dtype):
    """The faithful port's rows, and those under the fault, from one loaded candidate."""
    faithful = session().run(case_of(fault), dtype)
    return faithful, session().planting(fault.name).run(case_of(fault), dtype)


def blamed(rows):
    return {row.point for row in rows if row.verdict not in (Verdict.PASS, Verdict.VICTIM)}


@pytest.mark.parametrize("fault", SHOWN, ids=lambda fault: fault.name)
def test_is_charged_to_its_own_point_only(fault):
    """In fp32 where it can be seen there; every dtype is the self-test's work."""
    faithful, rows = rows_of(fault, fault.dtypes[0])
    require_change(fault, fault.dtypes[0], faithful, rows)
    assert fault.point in blamed(rows)
    assert blamed(rows) <= fault.points
    assert any(row.verdict is Verdict.GUILTY or row.point.startswith("processor.") for row in rows)
    victims = [row for row in rows if row.verdict is Verdict.VICTIM]
    assert all(row.cause in blamed(rows) for row in victims)


@pytest.mark.parametrize(("name", "dtype"), UNSEEN)
def test_what_is_said_to_be_hidden_is(name, dtype):
    """It changes numbers there too, by less than rounding does."""
    faithful, rows = rows_of(FAULTS[name], dtype)
    assert dtype in FAULTS[name].hidden
    assert not blamed(faithful)
    assert not blamed(rows)


def test_a_fault_that_changes_nothing_is_an_error():
    fault = FAULTS["resize-bounds"]
    case = next(case for case in session().cases if case.name == "text-only")
    faithful = session().run(case, "fp32")
    rows = session().planting(fault.name).run(case, "fp32")
    with pytest.raises(ParityError, match="'resize-bounds' changes nothing in fp32 in text-only"):
        require_change(fault, "fp32", faithful, rows)
    for change in ({"mismatches": 1}, {"verdict": Verdict.GUILTY}, {"local": None}):
        changed = [*rows[:-1], replace(rows[-1], **change)]
        require_change(fault, "fp32", faithful, changed)


def in_place(fault):
    """What the fault's target is right now."""
    owner, name = fault.locate()
    return owner.__dict__[name]


@pytest.mark.parametrize("name", FAULTS)
def test_is_taken_back_whatever_happens(name):
    """A patch that stays would make every later test lie."""
    original = in_place(FAULTS[name])
    with planted(name):
        assert in_place(FAULTS[name]) is not original
    assert in_place(FAULTS[name]) is original
    with pytest.raises(RuntimeError, match="in the middle"), planted(name):
        raise RuntimeError("in the middle")
    assert in_place(FAULTS[name]) is original


def test_the_port_as_it_is_passes_every_case_of_a_fault():
    for fault in SHOWN:
        rows = session().run(case_of(fault), "fp32")
        assert rows
        assert all(row.verdict is Verdict.PASS for row in rows)


def test_every_part_of_the_model_has_a_fault():
    points = [fault.point for fault in FAULTS.values()]
    for part in ("processor.pixel_values", "processor.input_ids", "processor.image_grid_thw",
                 "visual.position_ids", "visual.rotary_pos_emb.", "visual.patch_embed",
                 "visual.blocks.", "visual.merger", "language_model.position_ids",
                 "language_model.rotary_emb.", "language_model.attention_mask",
                 "language_model.inputs_embeds", "language_model.layers.", "language_model.norm",
                 "lm_head"):  # fmt: skip
        assert any(point.startswith(part) for point in points), part


def test_every_fault_names_real_cases_points_and_dtypes():
    known = {case.name for case in session().cases}
    points = {point.name for point in session().declared}
    for fault in FAULTS.values():
        assert set(fault.cases) <= known, fault.name
        assert fault.points <= points, fault.name
        assert set(fault.hidden) <= set(PRECISIONS), fault.name
        assert all(fault.hidden.values()), fault.name
        assert fault.about


def test_most_faults_really_happened():
    """An issue's or pull request's number, or a default that differs; none is invented."""
    sources = [fault.source for fault in FAULTS.values()]
    assert all(sources)
    assert sum(re.search(r"\w \d+$", source) is not None for source in sources) >= 40
    assert sum(source.startswith("MindSpore") for source in sources) >= 4


def test_a_name_stands_for_one_fault():
    from parity.faults import modules

    names = [fault.name for module in modules() for fault in module.FAULTS]
    assert len(names) == len(set(names)) == len(FAULTS)


def test_the_list_tells_what_shows_a_fault_and_what_hides_it():
    from parity.faults.listing import lines

    text = "\n".join(lines(FAULTS["ln-eps"]))
    assert "seen in fp32; cases: single-image, two-images" in text
    assert "hidden in fp16, bf16, ascend-mixed: an epsilon changes less than rounding" in text
    assert "seen in no dtype" in "\n".join(lines(FAULTS["rms-weight-dtype"]))
    assert not any("hidden" in line for line in lines(FAULTS["mean-std"]))


def test_an_unknown_fault_is_one_clear_error():
    with pytest.raises(ParityError, match="no fault is named 'nonsense'; there are: mean-std"):
        find("nonsense")


@pytest.mark.parametrize("name", ["mean-std", "gqa-tile"])
def test_the_command_line_fails_and_names_it(name, tmp_path):
    fault = FAULTS[name]
    command = [sys.executable, "-m", "parity", "run", "--plant", name, "--case", fault.cases[0],
               "--report", str(tmp_path / "report")]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert f"First guilty: {fault.point}" in done.stdout
    page = (tmp_path / "report" / "index.html").read_text()
    assert fault.point in page[page.index("<title>") : page.index("</title>")]
    rows = json.loads((tmp_path / "report" / "rows.json").read_text())["rows"]
    assert {row["point"] for row in rows if row["verdict"] == "GUILTY"} == {fault.point}
