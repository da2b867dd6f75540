"""Rows as JSON read back equal; whatever is not ours is refused with a clear message."""

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parity.core.detail import Detail, Side
from parity.core.errors import ParityError
from parity.core.inputs_shown import InputsShown
from parity.core.nonfinite import NonFinite
from parity.core.rows import Comparison, Kind, Row, RunResult, Slice, Verdict
from parity.core.sources import Source
from parity.core.standards import Standards
from parity.report.rows_io import (
    FORMAT,
    is_rows_json,
    read_json,
    result_from_dict,
    result_to_dict,
    to_json,
)  # fmt: skip
from parity.tests.report_runs import failing, odd_numbers


def same(one, other):
    """Equality that takes NaN for equal to NaN and tells 0.0 from -0.0."""
    return repr(one) == repr(other)


def written(tmp_path, result):
    path = tmp_path / "rows.json"
    path.write_text(to_json(result), encoding="ascii")
    return path


def test_a_run_reads_back_equal(tmp_path):
    result = failing()
    assert read_json(written(tmp_path, result)) == result


def test_numbers_that_are_not_finite_read_back(tmp_path):
    result = odd_numbers()
    path = written(tmp_path, result)
    assert same(read_json(path), result)

    def refuse(name):
        raise AssertionError(f"{name} is not JSON")

    found = json.loads(path.read_text(), parse_constant=refuse)
    assert found["rows"][1]["local"]["whole"]["ratio"] == "NaN"
    assert found["rows"][1]["local"]["candidate_value"] == "-Infinity"
    assert found["rows"][2]["end_to_end"]["whole"]["ratio"] == "Infinity"


floats = st.floats(allow_nan=True, allow_infinity=True)
texts = st.text(st.characters(), max_size=30)
sizes = st.lists(st.integers(0, 10**6), max_size=4).map(tuple)
slices = st.builds(
    Slice, ratio=floats, error=floats, floor=floats, gate=floats, index=st.none() | st.integers(0)
)
nonfinite = st.builds(
    NonFinite, nan=st.integers(0), plus_inf=st.integers(0), minus_inf=st.integers(0), first=sizes
)
standards = st.builds(
    Standards, open_operator=st.none() | st.booleans(), dual_max=floats, dual_mean=floats,
    dual_rms=floats, dual_l1=st.booleans(), dual_l2=st.booleans(),
)  # fmt: skip
comparisons = st.builds(
    Comparison, whole=slices, row=st.none() | slices, column=st.none() | slices,
    update=st.none() | slices, max_abs=floats, max_index=sizes, reference_value=floats,
    candidate_value=floats, nonfinite=st.integers(0), compared=st.integers(0),
    mean_relative=floats, max_relative=floats, mean_ulp=floats, max_ulp=floats, cosine=floats,
    rtol=floats, saturated=st.integers(0), reference_saturated=st.integers(0),
    standards=standards, candidate_nonfinite=st.none() | nonfinite,
    reference_nonfinite=st.none() | nonfinite,
)  # fmt: skip
rows = st.builds(
    Row, case=texts, dtype=texts, order=st.integers(0), point=texts, stage=texts,
    kind=st.sampled_from(Kind), firing=st.integers(0), verdict=st.sampled_from(Verdict),
    message=texts, cause=st.none() | texts, shape=sizes, candidate_shape=st.none() | sizes,
    reference_dtype=texts, candidate_dtype=texts, excluded_rows=st.integers(0),
    mismatches=st.none() | st.integers(0), local=st.none() | comparisons,
    end_to_end=st.none() | comparisons,
)  # fmt: skip
finite = st.floats(allow_nan=False, allow_infinity=False)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | texts | finite,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
runs = st.builds(
    RunResult, rows=st.lists(rows, max_size=4),
    provenance=st.dictionaries(texts, json_values, max_size=4),
    not_compared=st.lists(texts, max_size=3),
    details=st.lists(st.from_type(Detail), max_size=2),
    inputs=st.dictionaries(texts, st.from_type(InputsShown), max_size=2),
    sources=st.dictionaries(texts, st.from_type(Source), max_size=2),
)  # fmt: skip


@given(runs)
def test_any_run_reads_back_equal(result):
    assert same(result_from_dict(json.loads(to_json(result))), result)


@given(runs)
def test_the_dictionary_form_reads_back_equal(result):
    assert same(result_from_dict(result_to_dict(result)), result)


def test_provenance_of_unforeseen_types_becomes_text(tmp_path):
    result = RunResult([], {"path": Path("a/b"), "nan": math.nan, "pair": (1, 2.5), "n": {3: None}})
    read = read_json(written(tmp_path, result)).provenance
    assert read == {"path": str(Path("a/b")), "nan": "nan", "pair": [1, 2.5], "n": {"3": None}}


def test_a_row_is_one_line(tmp_path):
    result = failing()
    lines = to_json(result).splitlines()
    assert sum(line.startswith('{"case"') for line in lines) == len(result.rows)


def test_the_file_tells_a_script_whether_the_run_passed(tmp_path):
    found = json.loads(written(tmp_path, failing()).read_text())
    assert found["passed"] is False
    assert found["counts"]["GUILTY"] == 9
    assert found["counts"]["UNSUPPORTED"] == 0


def test_what_was_looked_into_reads_back(tmp_path):
    result = failing()
    side = Side("local")
    result.details = [Detail("c", "fp32", "pynative", "a.b", 0, "linear", sides=(side,))]
    result.inputs = {"c": InputsShown(merge=2)}
    result.sources = {"a.b": Source("Linear", "port/linear.py", 12)}
    assert read_json(written(tmp_path, result)) == result


def test_a_file_of_format_3_has_no_details(tmp_path):
    result = failing()
    found = result_to_dict(result) | {"format": 3}
    for name in ("details", "inputs", "sources", "sha256"):
        del found[name]
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(found))
    assert read_json(path) == result


def damaged(change):
    """JSON of a run after ``change`` was made to it."""
    found = result_to_dict(odd_numbers())
    change(found)
    return json.dumps(found)


DETAIL = {"case": "c", "dtype": "fp32", "mode": "pynative", "point": "p", "firing": 0, "role": "r"}
CELLS = {"layout": "tokens", "measure": "ratio", "gate": 8.0, "values": [None, "x"]}
DAMAGE = {
    "other format": (
        lambda f: f.update(format=FORMAT + 1),
        f"format {FORMAT + 1} and this version reads",
    ),
    "an older format": (lambda f: f.update(format=2), "format 2 and this version reads"),
    "no marker": (lambda f: f.pop("format_name"), "was not written by parity"),
    "no rows": (lambda f: f.pop("rows"), "no 'rows'"),
    "rows a number": (lambda f: f.update(rows=3), "damaged"),
    "row a list": (lambda f: f.update(rows=[[]]), r"rows\[0\] is not an object"),
    "field gone": (lambda f: f["rows"][1].pop("point"), r"rows\[1\] has no 'point'"),
    "field unknown": (lambda f: f["rows"][1].update(colour=1), "unknown field 'colour'"),
    "verdict unknown": (lambda f: f["rows"][1].update(verdict="FINE"), "'FINE'"),
    "order a float": (lambda f: f["rows"][1].update(order=1.5), r"rows\[1\].order is not an int"),
    "firing a bool": (lambda f: f["rows"][1].update(firing=True), "not an integer: True"),
    "case null": (lambda f: f["rows"][1].update(case=None), r"rows\[1\].case is not text"),
    "ratio a word": (
        lambda f: f["rows"][1]["local"]["whole"].update(ratio="nan"),
        r"rows\[1\].local.whole.ratio is not a number: 'nan'",
    ),
    "ratio null": (lambda f: f["rows"][1]["local"]["whole"].update(ratio=None), "not a number"),
    "flag a number": (
        lambda f: f["rows"][1]["local"]["standards"].update(dual_l1=1),
        r"rows\[1\].local.standards.dual_l1 is not true or false: 1",
    ),
    "shape a number": (lambda f: f["rows"][1].update(shape=3), "damaged"),
    "details an object": (lambda f: f.update(details={}), "details is not a list"),
    "detail with a list for a name": (
        lambda f: f.update(details=[DETAIL | {"point": []}]),
        r"details\[0\].point is not text",
    ),
    "detail without a role": (
        lambda f: f.update(details=[{"case": "c"}]),
        r"details\[0\] has no 'dtype'",
    ),
    "a cell a word": (
        lambda f: f.update(details=[DETAIL | {"sides": [{"scope": "local", "cells": CELLS}]}]),
        r"details\[0\].sides\[0\].cells.values\[1\] is not a number: 'x'",
    ),
    "inputs a list": (lambda f: f.update(inputs=[]), "inputs is not an object"),
    "merge a float": (
        lambda f: f.update(inputs={"c": {"merge": 2.0}}),
        r"inputs\['c'\].merge is not an integer",
    ),
    "source with more": (
        lambda f: f.update(sources={"p": {"author": "x"}}),
        "has an unknown field 'author'",
    ),
    "left out a text": (lambda f: f.update(not_compared="x"), "not_compared is not a list"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_file_is_refused_by_name(tmp_path, name):
    change, said = DAMAGE[name]
    path = tmp_path / "rows.json"
    path.write_text(damaged(change))
    with pytest.raises(ParityError, match=said) as caught:
        read_json(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "null", "[" * 100_000])
def test_a_file_of_another_kind_is_refused(tmp_path, text):
    path = tmp_path / "rows.json"
    path.write_text(text)
    with pytest.raises(ParityError, match=r"name the rows\.json of a report"):
        read_json(path)
    assert not is_rows_json(path)


def test_bytes_that_are_no_text_and_files_that_are_not_there_are_refused(tmp_path):
    path = tmp_path / "rows.json"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ParityError, match="is not JSON"):
        read_json(path)
    assert not is_rows_json(path)
    with pytest.raises(ParityError, match="cannot be read"):
        read_json(tmp_path / "absent.json")
    assert not is_rows_json(tmp_path / "absent.json")
