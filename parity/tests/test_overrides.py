"""Overrides: what they reach, what they say in a row, and the ones that are refused."""

from dataclasses import replace
from datetime import date

import pytest

from parity.core.errors import ParityError
from parity.core.overrides import Override, check_overrides, load_overrides
from parity.core.points import Point
from parity.core.rows import Kind, Verdict
from parity.core.stats import Gate
from parity.core.tolerance import same_gate
from parity.tests import toy_model as toy

GATES = same_gate(Gate(1, 2, 3, 4))
ATTN = Point("visual.blocks.3.attn", "vision", Kind.FLOAT, "visual.blocks.3.attn")
IDS = Point("visual.position_ids", "vision", Kind.DISCRETE, "visual")
TODAY = date(2026, 11, 21)
FULL = """
[[override]]
point = "visual.blocks.*.attn"
k = 40
reason = "softmax of CANN 8.0.RC2"
dtype = "fp16"
device = "Ascend"
case = "odd-video"
scope = "local"
figures = ["row", "column"]
expires = 2026-12-31
"""


def write(folder, text):
    path = folder / "overrides.toml"
    path.write_text(text, encoding="utf-8")
    return path


def refused(folder, text, today=TODAY):
    path = write(folder, text)
    with pytest.raises(ParityError) as caught:
        load_overrides(path, today)
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_every_key_is_read(tmp_path):
    assert load_overrides(write(tmp_path, FULL), TODAY) == (
        Override("visual.blocks.*.attn", 40.0, "softmax of CANN 8.0.RC2", "fp16", "Ascend",
                 "odd-video", "local", ("row", "column"), date(2026, 12, 31)),
    )  # fmt: skip


def test_an_override_changes_the_figures_and_the_scope_it_names_and_nothing_else():
    one = Override("visual.*.attn", 40, "slow", scope="local", figures=("row",))
    gates = replace(GATES, overrides=(one,))
    assert gates.at("local", ATTN) == Gate(1, 40, 3, 4)
    assert gates.at("end_to_end", ATTN) == Gate(1, 2, 3, 4)
    assert gates.at("local", replace(ATTN, name="visual.blocks.3.mlp")) == Gate(1, 2, 3, 4)
    assert gates.override(ATTN) == "slow"
    assert gates.override(replace(ATTN, name="visual.blocks.3.mlp")) is None


def test_without_figures_it_changes_all_and_a_later_one_goes_first():
    gates = replace(GATES, overrides=(Override("*", 40, "all"), Override("*attn", 50, "one")))
    assert gates.at("local", ATTN) == Gate(50, 50, 50, 50)
    assert gates.at("local", replace(ATTN, name="x")) == Gate(40, 40, 40, 40)
    assert gates.override(ATTN) == "all; one"


def test_equality_cannot_be_overridden():
    gates = replace(GATES, overrides=(Override("*", 1e30, "all"),))
    assert gates.at("local", IDS) == Gate(0, 0, 0, 0)
    assert gates.override(IDS) is None


@pytest.mark.parametrize(
    ("asked", "applies"),
    [
        ({}, True),
        ({"dtype": "fp16"}, True),
        ({"dtype": "bf16"}, False),
        ({"device": "Ascend"}, True),
        ({"device": "CPU"}, False),
        ({"case": "video"}, True),
        ({"case": "other"}, False),
    ],
)
def test_an_override_is_for_the_runs_it_names(asked, applies):
    assert Override("*", 1, "r", **asked).applies("fp16", "Ascend:0", "video") is applies


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('reason = "softmax of CANN 8.0.RC2"', "", "override 1 lacks reason"),
        ('reason = "softmax of CANN 8.0.RC2"', 'reason = " "', "has to say something"),
        ('point = "visual.blocks.*.attn"', "point = 3", "point = 3 has to say something"),
        ("k = 40", "k = 0", "k = 0 has to be a positive number"),
        ("k = 40", "k = inf", "has to be a positive number"),
        ("k = 40", "k = nan", "has to be a positive number"),
        ("k = 40", "k = true", "has to be a positive number"),
        ("k = 40", "kk = 40", "unknown keys ['kk']"),
        ('dtype = "fp16"', 'dtype = "f16"', "dtype = 'f16' is none of fp32, fp16"),
        ('device = "Ascend"', 'device = "ascend"', "is none of CPU, GPU, Ascend"),
        ('scope = "local"', 'scope = "table"', "is none of local, end_to_end"),
        ('["row", "column"]', '["rows"]', "has to list some of whole, row"),
        ("2026-12-31", '"soon"', "expires = 'soon' has to be a date"),
        ("2026-12-31", "2026-11-20", "expired on 2026-11-20"),
        ("[[override]]", "[[overrides]]", "has to hold [[override]] tables"),
        ("[[override]]", "[[override]]\n[[override", "is not TOML"),
    ],
)
def test_an_entry_that_is_wrong(tmp_path, old, new, message):
    assert old in FULL
    assert message in refused(tmp_path, FULL.replace(old, new))


def test_an_override_holds_on_its_last_day(tmp_path):
    path = write(tmp_path, FULL)
    assert load_overrides(path, date(2026, 12, 31))
    assert "visual.blocks.*.attn" in refused(tmp_path, FULL, date(2027, 1, 1))


@pytest.mark.parametrize("text", ["", "override = 3", "override = [3]", FULL + "[other]\nx = 1"])
def test_a_file_that_holds_something_else(tmp_path, text):
    refused(tmp_path, text)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ParityError, match=r"cannot read the overrides file"):
        load_overrides(tmp_path / "nowhere.toml")


def test_one_that_matches_nothing_is_an_error():
    check_overrides([Override("visual.blocks.?.attn", 1, "r")], [ATTN, IDS], ["a"])
    for pattern, message in (("visual.block.*", "matches none of the 2 declared points"),
                             ("visual.position_ids", "compared for equality")):  # fmt: skip
        with pytest.raises(ParityError, match=message):
            check_overrides([Override(pattern, 1, "r")], [ATTN, IDS], ["a"])
    with pytest.raises(ParityError, match=r"the case 'b', which is none of a, c"):
        check_overrides([Override("*", 1, "r", case="b")], [ATTN], ["a", "c"])


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return toy.write(tmp_path_factory.mktemp("toy") / "bundle")


def worse(tap):
    """Wrong by some hundred times the rounding of fp32."""
    return (tap * (1 + 1e-5)).astype("float32")


def test_a_row_under_an_override_says_why(bundle):
    """And without it the same row fails."""
    name = "blocks.0.mlp.fc"
    gates = replace(toy.GATES, overrides=(Override(name, 1e4, "a known kernel"),))
    for chosen, verdict, reason in ((toy.GATES, Verdict.GUILTY, None),
                                    (gates, Verdict.PASS, "a known kernel")):  # fmt: skip
        run = toy.Run(bundle, gates=chosen)
        toy.spoil(run.forced, name, change=worse)
        rows = run.judge()
        assert rows[(name, 0)].verdict is verdict
        assert rows[(name, 0)].override == reason
        assert [key for key, row in rows.items() if row.override] == (
            [] if reason is None else [(name, 0), (name, 1)]
        )


def test_what_reaches_a_module_is_held_to_the_gate_of_the_module_around_it(bundle):
    """An override of the inner module is not one of the code around it."""
    for name, verdict in ((toy.QKV, Verdict.GUILTY), (toy.ATTN, Verdict.PASS)):
        run = toy.Run(bundle, gates=replace(toy.GATES, overrides=(Override(name, 1e4, "r"),)))
        run.arrive(toy.QKV, change=worse)
        assert run.judge()[(toy.ATTN, 0)].verdict is verdict
