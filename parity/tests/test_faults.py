"""Every fault the catalogue knows is found, and charged to its own point and no other."""

import json
import subprocess
import sys
from functools import cache

import pytest

from parity.core.rows import Verdict
from parity.faults import catalogue, find, planted
from parity.session import Session, Settings

FAULTS = catalogue()
TWINS = {"language_model.rotary_emb.cos": {"language_model.rotary_emb.sin"}}
"""Two results of one module are guilty together."""


@cache
def session(name):
    return Session(Settings(plant=name))


def case_of(fault):
    return next(case for case in session(None).cases if case.name == fault.cases[0])


@pytest.mark.parametrize("name", FAULTS)
def test_is_charged_to_its_own_point_only(name):
    fault = FAULTS[name]
    rows = session(name).run(case_of(fault), "fp32")
    blamed = {row.point for row in rows if row.verdict not in (Verdict.PASS, Verdict.VICTIM)}
    assert blamed - TWINS.get(fault.point, set()) == {fault.point}
    assert any(row.verdict is Verdict.GUILTY or row.point.startswith("processor.") for row in rows)
    victims = [row for row in rows if row.verdict is Verdict.VICTIM]
    assert all(row.cause in blamed for row in victims)


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
    session_ = Session(Settings())
    used = {fault.cases[0] for fault in FAULTS.values()}
    for case in session_.cases:
        if case.name in used:
            rows = session_.run(case, "fp32")
            assert rows
            assert all(row.verdict is Verdict.PASS for row in rows)


def test_every_part_of_the_model_has_a_fault():
    points = [fault.point for fault in FAULTS.values()]
    for part in ("processor.", "visual.position_ids", "visual.patch_embed", "visual.blocks.",
                 "visual.merger", "language_model.position_ids", "language_model.inputs_embeds",
                 "language_model.layers.", "lm_head"):  # fmt: skip
        assert any(point.startswith(part) for point in points), part


def test_every_fault_names_real_cases_and_points():
    known = {case.name for case in session(None).cases}
    points = {point.name for point in session(None).declared}
    for fault in FAULTS.values():
        assert set(fault.cases) <= known, fault.name
        assert fault.point in points, fault.name
        assert fault.about
        assert fault.source


def test_an_unknown_fault_is_one_clear_error():
    from parity.core.errors import ParityError

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
