"""Gates: the shipped files load, and a file that cannot gate is one error naming file and key."""

from dataclasses import replace

import pytest

from parity.core.errors import ParityError
from parity.core.gates_file import (
    ALWAYS,
    FIGURES,
    SCOPES,
    Distribution,
    GatesFile,
    Margin,
    gates_path,
    gates_text,
    read_gates_file,
)
from parity.core.numerics import PRECISIONS
from parity.core.points import Point
from parity.core.rows import Kind
from parity.core.stats import Gate
from parity.core.tolerance import DEFAULT_GATES, EQUALITY, load_gates, same_gate
from parity.subjects.roles import ROLES

NORM = Point("a.norm", "text", Kind.FLOAT, "a.norm", role="rms_norm")
BLOCK = Point("a", "text", Kind.FLOAT, "a", role="text_block")
IDS = Point("ids", "positions", Kind.DISCRETE, "a", role="other")
BLOCKS = {"vision_block", "text_block"}
GOOD = GatesFile(
    measured={"date": "2026-11-21", "seeds": 2, "cases": ["one", 'quoted "two"\n']},
    gates={
        "local": {"rms_norm": {"whole": 3.0, "row": 4.0, "column": 5.5},
                  "text_block": {"whole": 1.0, "row": 2.0, "column": 3.0, "update": 4.0}},
        "end_to_end": {"rms_norm": {"whole": 6.0, "row": 7.0, "column": 8.0},
                       "text_block": {"whole": 9.0, "row": 10.0, "column": 11.0, "update": 12.0}},
    },
    distributions={"local": {"rms_norm": {"row": Distribution(9, 0.5, 1.0, 1.5, 2.0, "x", 7e6)}}},
    faults={"rms-eps": Margin("a.norm", "rms_norm", "one", "local", "row", 13.0, 2.0, 4.0, True)},
)  # fmt: skip


def shipped(name="CPU-fp32.toml"):
    return DEFAULT_GATES / name


def write(folder, content=GOOD, name="CPU-fp32.toml", text=None):
    path = folder / name
    path.write_text(gates_text(content) if text is None else text, encoding="utf-8")
    return path


def refused(folder, **kwargs):
    path = write(folder, **kwargs)
    with pytest.raises(ParityError) as caught:
        load_gates("fp32", "CPU", folder)
    assert str(path) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("dtype", PRECISIONS)
def test_the_shipped_gates_have_every_role_and_figure(dtype):
    content = read_gates_file(gates_path(DEFAULT_GATES, "CPU", dtype))
    for scope in SCOPES:
        assert set(content.gates[scope]) == set(ROLES)
        for role, figures in content.gates[scope].items():
            assert set(figures) == set(FIGURES if role in BLOCKS else ALWAYS)
            assert all(value >= 1 for value in figures.values())


def test_what_is_written_is_what_is_read(tmp_path):
    assert read_gates_file(write(tmp_path)) == GOOD
    assert gates_text(read_gates_file(tmp_path / "CPU-fp32.toml")) == gates_text(GOOD)


@pytest.mark.parametrize("dtype", PRECISIONS)
def test_the_shipped_files_are_what_the_command_writes(dtype):
    path = gates_path(DEFAULT_GATES, "CPU", dtype)
    assert gates_text(read_gates_file(path)) == path.read_text(encoding="utf-8")


def test_a_gate_is_that_of_the_scope_and_the_points_role(tmp_path):
    write(tmp_path)
    gates = load_gates("fp32", "CPU", tmp_path)
    assert gates.at("local", BLOCK) == Gate(1, 2, 3, 4)
    assert gates.at("end_to_end", BLOCK) == Gate(9, 10, 11, 12)
    assert gates.at("local", NORM).column == 5.5
    assert gates.note == ""


def test_a_figure_that_was_never_measured_lets_nothing_pass(tmp_path):
    write(tmp_path)
    assert not load_gates("fp32", "CPU", tmp_path).at("local", NORM).update >= 0


def test_what_is_compared_for_equality_has_no_ratio_that_passes():
    for gates in (same_gate(Gate(9, 9, 9, 9)), load_gates("fp32")):
        assert gates.at("local", IDS) == EQUALITY
        assert gates.at("end_to_end", replace(IDS, kind=Kind.EXACT)) == EQUALITY


def test_a_role_that_was_never_measured(tmp_path):
    path = write(tmp_path)
    gates = load_gates("fp32", "CPU", tmp_path)
    with pytest.raises(ParityError) as caught:
        gates.at("local", replace(NORM, role="conv"))
    for part in (str(path), "a.norm", "'conv'", "python -m parity calibrate"):
        assert part in str(caught.value)


def test_a_device_that_was_never_measured_is_judged_as_the_cpu_is_and_says_so():
    gates = load_gates("fp32", "GPU:0")
    assert gates.roles == load_gates("fp32").roles
    assert gates.note.startswith("measured on CPU, none on GPU yet")
    assert "calibrate --device GPU" in gates.note


def test_a_device_that_was_measured_has_gates_of_its_own(tmp_path):
    write(tmp_path)
    own = replace(
        GOOD, gates={s: {"rms_norm": {"whole": 1, "row": 1, "column": 1}} for s in SCOPES}
    )
    write(tmp_path, own, "Ascend-fp32.toml")
    gates = load_gates("fp32", "Ascend:3", tmp_path)
    assert gates.at("local", NORM).whole == 1
    assert gates.note == ""


@pytest.mark.parametrize("folder", ["nowhere", "."])
def test_no_gates_at_all(tmp_path, folder):
    with pytest.raises(ParityError, match=r"cannot read the gates file .*CPU-fp32.toml.*calibrate"):
        load_gates("fp32", "CPU", tmp_path / folder)


@pytest.mark.parametrize(
    "content",
    [b"[local", b"\xff\xfe", b"x = " + b"[" * 5000, b"[local]\n[local]"],
    ids=["cut", "no-utf8", "too-deep", "twice"],
)
def test_a_file_that_is_not_toml(tmp_path, content):
    (tmp_path / "CPU-fp32.toml").write_bytes(content)
    with pytest.raises(ParityError, match=r"CPU-fp32.toml is not TOML: "):
        load_gates("fp32", "CPU", tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[local]", "[locl]", "unknown tables ['locl']"),
        ("rms_norm   = { whole = 3.0,", "rms_norm   = {", "[local] rms_norm must name whole"),
        ("column = 5.5", "column = 5.5, mean = 1", "it has ['column', 'mean'"),
        ("row = 7.0", "rwo = 7.0", "[end_to_end] rms_norm must name whole"),
        ("rms_norm   = { whole = 3", "norm = { whole = 3", "both of ['local', 'end_to_end']"),
        ("count = 9", "cont = 9", "[distributions.local.rms_norm] is damaged"),
        ("point = ", "pint = ", "[faults] is damaged"),
        ("[faults]\n", "faults = 3\n", "[faults] has to be a table"),
    ],
)  # fmt: skip
def test_a_file_that_is_damaged(tmp_path, old, new, message):
    text = gates_text(GOOD)
    assert old in text
    if old == "[faults]\n":
        text = new + text.replace(old, "[old]\n").split("[old]")[0]
    assert message in refused(tmp_path, text=text.replace(old, new, 1))


@pytest.mark.parametrize("scope", SCOPES)
def test_a_scope_without_gates(tmp_path, scope):
    empty = {name: {} if name == scope else roles for name, roles in GOOD.gates.items()}
    text = "\n".join(
        f"[{name}]\n" + "\n".join(f"{r} = {{ whole = 1, row = 1, column = 1 }}" for r in roles)
        for name, roles in empty.items()
    )
    message = refused(tmp_path, text=text)
    assert f"has no gates in [{scope}]" in message
    assert "python -m parity calibrate" in message


@pytest.mark.parametrize(
    "value",
    ["0", "0.0", "-0.0", "-4", "true", "false", "'4'", "inf", "-inf", "nan", "[4]",
     "1" + "0" * 400],
)  # fmt: skip
@pytest.mark.parametrize("scope", ["3.0", "6.0"], ids=SCOPES)
def test_a_value_that_gates_nothing(tmp_path, scope, value):
    text = gates_text(GOOD).replace(f"whole = {scope}", f"whole = {value}")
    message = refused(tmp_path, text=text)
    assert "rms_norm whole = " in message
    assert message.endswith("cannot gate anything; it has to be a positive number")
