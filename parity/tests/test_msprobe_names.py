"""Names of a dump's modules: by rule, by a file, and what is refused."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parity.core.errors import ParityError
from parity.msprobe.names import NameMap, by_rule, listed, name_modules, parse_names, read_names

KNOWN = {"visual", "visual.blocks.0", "visual.blocks.1", "language_model.layers.0",
         "language_model.norm", "lm_head"}  # fmt: skip
FILE = Path("names.toml")


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("visual.blocks.0", "visual.blocks.0"),
        ("model.visual.blocks.0", "visual.blocks.0"),
        ("network.backbone.model.visual.blocks.1", "visual.blocks.1"),
        ("0.model.lm_head", "lm_head"),  # a list of models
        ("model.layers.0", "language_model.layers.0"),  # as checkpoints name it
        ("wrapped.model.norm", "language_model.norm"),
        ("layers.0", None),
        ("visual.blocks.2", None),
        ("visual.blocks.0.extra", None),
        ("norm", None),
        ("", None),
    ],
)
def test_the_rule(path, name):
    assert by_rule(path, KNOWN) == name


def names(text):
    return parse_names(text.encode(), FILE)


def test_the_file_replaces_beginnings_the_longest_first():
    found = names(
        '[names]\n"vit" = "visual"\n"vit.stage.*.fn" = "visual.blocks.*"\n"out" = "lm_head"'
    )
    assert found.change("vit.merger") == ("visual.merger", "vit")
    assert found.change("vit.stage.7.fn.attn") == ("visual.blocks.7.attn", "vit.stage.*.fn")
    assert found.change("vitals") == ("vitals", None)
    assert found.change("a.vit") == ("a.vit", None)


def test_what_is_unknown_is_listed():
    paths = ["model.visual", "model.extra", "model.lm_head"]
    found = name_modules(paths, KNOWN, NameMap())
    assert found.modules == {"model.visual": "visual", "model.lm_head": "lm_head"}
    assert found.unmapped == ["model.extra"]


def test_a_map_that_matches_nothing_is_an_error():
    with pytest.raises(ParityError, match=r"names\.toml: no module of the dump begins with vti"):
        name_modules(["vit"], KNOWN, names('[names]\n"vti" = "visual"'))


def test_a_dump_without_a_known_name_is_an_error():
    with pytest.raises(ParityError, match=r"none of the 2 modules .* has a known name.*--names"):
        name_modules(["a", "b"], KNOWN, NameMap())


def test_two_modules_of_one_name_are_an_error():
    with pytest.raises(ParityError, match=r"a\.lm_head and b\.lm_head .* are both lm_head"):
        name_modules(["a.lm_head", "b.lm_head"], KNOWN, NameMap())


@pytest.mark.parametrize(
    "text",
    ["", "x", "names = 1", "[names]", "[other]\na = 'b'", "[names]\na = 1", "[names]\na = ''",
     "[names]\na = 'b.*'", "[names]\n'' = 'b'", "[names]\na = 'b'\n[more]"],
)  # fmt: skip
def test_what_is_no_map_is_refused(text):
    with pytest.raises(ParityError, match=r"names\.toml"):
        names(text)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ParityError, match=r"cannot read .*gone\.toml"):
        read_names(tmp_path / "gone.toml")


def test_a_long_list_is_cut():
    assert listed(["a"] * 3) == "a, a, a"
    assert listed(["a"] * 100).endswith("(100 in all)")


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=60) | st.text(max_size=60).map(lambda text: f"[names]\n{text}".encode()))
def test_any_bytes_are_a_map_or_an_error(content):
    try:
        found = parse_names(content, FILE)
    except ParityError:
        return
    assert found.entries
    found.change("a.b.c")
