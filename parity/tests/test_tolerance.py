"""Gates: the shipped file loads, and a file that cannot gate is one error naming file and key."""

import pytest

from parity.core.errors import ParityError
from parity.core.numerics import PRECISIONS
from parity.core.stats import Gate
from parity.core.tolerance import DEFAULT_FILE, SCOPES, Gates, load_gates

FIGURES = ("whole", "row", "column", "update")


def written(path, **changes):
    """A gates file whose figures are 1, 2, 3, ..., with ``scope_figure`` changed as asked."""
    lines = ["[fp32]", 'measured = "today"']
    for scope in SCOPES:
        lines.append(f"[fp32.{scope}]")
        for figure in FIGURES:
            value = changes.pop(f"{scope}_{figure}", len(lines))
            lines += [] if value is None else [f"{figure} = {value}"]
    assert not changes
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def refused(path, dtype="fp32"):
    with pytest.raises(ParityError) as caught:
        load_gates(dtype, path)
    assert str(path) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("dtype", PRECISIONS)
def test_the_shipped_gates_load(dtype):
    gates = load_gates(dtype)
    for scope in SCOPES:
        gate = getattr(gates, scope)
        assert all(getattr(gate, figure) >= 1 for figure in FIGURES)


def test_the_shipped_file_is_beside_the_package():
    assert DEFAULT_FILE.name == "gates.toml"
    assert DEFAULT_FILE.is_file()


def test_every_figure_comes_from_its_own_key(tmp_path):
    gates = load_gates("fp32", written(tmp_path / "gates.toml"))
    assert gates == Gates(
        local=Gate(3, 4, 5, 6), end_to_end=Gate(8, 9, 10, 11), table=Gate(13, 14, 15, 16)
    )
    assert isinstance(gates.local.whole, float)


def test_a_fraction_can_gate(tmp_path):
    assert load_gates("fp32", written(tmp_path / "g.toml", table_row=0.5)).table.row == 0.5


@pytest.mark.parametrize("name", ["nowhere.toml", "."])
def test_a_file_that_cannot_be_read(tmp_path, name):
    assert refused(tmp_path / name).startswith("cannot read the gates file")


@pytest.mark.parametrize(
    "content",
    [b"[fp32", b"\xff\xfe", b"x = " + b"[" * 5000, b"[fp32]\n[fp32]"],
    ids=["cut", "no-utf8", "too-deep", "twice"],
)
def test_a_file_that_is_not_toml(tmp_path, content):
    path = tmp_path / "gates.toml"
    path.write_bytes(content)
    assert "is not TOML: " in refused(path)


@pytest.mark.parametrize("content", ["", "fp32 = 5", "[fp16.local]\nwhole = 1"])
def test_a_file_without_the_dtype(tmp_path, content):
    path = tmp_path / "gates.toml"
    path.write_text(content, encoding="utf-8")
    message = refused(path)
    assert "has no gates for fp32: add a [fp32.local] table" in message
    assert "python -m parity calibrate" in message


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("content", [None, "5", "[1, 2]"])
def test_a_scope_that_is_missing_or_no_table(tmp_path, scope, content):
    path = written(tmp_path / "gates.toml")
    text = path.read_text(encoding="utf-8")
    renamed = text.replace(f"[fp32.{scope}]", "[fp32.other]")
    if content is not None:
        renamed = renamed.replace("[fp32]", f"[fp32]\n{scope} = {content}", 1)
    path.write_text(renamed, encoding="utf-8")
    assert f"[fp32.{scope}] must name exactly" in refused(path)


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("figure", FIGURES)
def test_a_figure_that_is_missing(tmp_path, scope, figure):
    message = refused(written(tmp_path / "gates.toml", **{f"{scope}_{figure}": None}))
    found = sorted(set(FIGURES) - {figure})
    assert f"[fp32.{scope}] must name exactly {sorted(FIGURES)}; it has {found}" in message


def test_a_figure_that_is_unknown(tmp_path):
    path = written(tmp_path / "gates.toml", table_update="16\nmean = 1")
    message = refused(path)
    assert "[fp32.table] must name exactly" in message
    assert "'mean'" in message


@pytest.mark.parametrize(
    "value",
    ["0", "0.0", "-0.0", "-4", "true", "false", "'4'", "inf", "-inf", "nan", "[4]",
     "1" + "0" * 400],
)  # fmt: skip
@pytest.mark.parametrize("scope", SCOPES)
def test_a_value_that_gates_nothing(tmp_path, scope, value):
    message = refused(written(tmp_path / "gates.toml", **{f"{scope}_row": value}))
    assert f"[fp32.{scope}] row = " in message
    assert message.endswith("cannot gate anything; it has to be a positive number")
