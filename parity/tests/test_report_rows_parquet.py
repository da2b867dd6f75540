"""The Parquet table holds the rows with their types, null apart from NaN, and says whose it is."""

import io
import json
import math
import sys

import pandas as pd
import pytest

from parity.core.rows import RunResult
from parity.report.flat import cells, columns
from parity.report.rows_parquet import missing, to_parquet
from parity.report.write import FILES, ROWS_PARQUET, write_report
from parity.tests.report_runs import case_rows, odd_numbers, row

pq = pytest.importorskip("pyarrow.parquet")


def read(result):
    return pq.read_table(io.BytesIO(to_parquet(result)))


def test_every_value_reads_back_equal():
    result = RunResult(case_rows("single-image", "fp32", guilty="visual.blocks.1.attn"))
    found = read(result).to_pylist()
    for line, expected in zip(found, result.rows, strict=True):
        there = {name: value for name, value in line.items() if value is not None}
        flat = cells(expected)
        assert there == {k: list(v) if isinstance(v, tuple) else v for k, v in flat.items()}


def test_null_is_absent_and_nan_is_no_number():
    column = read(odd_numbers()).column("local.whole.ratio").to_pylist()
    assert column[0] is None
    assert math.isnan(column[1])
    assert column[3] == math.inf
    ulp = read(odd_numbers()).column("local.max_ulp").to_pylist()
    assert ulp[1] == math.inf


def test_columns_have_types_whatever_is_in_them():
    for result in (RunResult([]), odd_numbers()):
        schema = read(result).schema
        assert schema.names == [one.name for one in columns()]
        kinds = {name: str(schema.field(name).type) for name in schema.names}
        assert kinds["local.whole.ratio"] == "double"
        assert kinds["order"] == kinds["mismatches"] == "int64"
        assert kinds["verdict"] == kinds["local.worst"] == "string"
        assert kinds["local.standards.dual_l1"] == "bool"
        assert kinds["shape"] == "list<element: int64>"
        assert kinds["suggestions"] == "list<element: string>"


def test_pandas_reads_it():
    table = pd.read_parquet(io.BytesIO(to_parquet(RunResult(case_rows("a", "fp32")))))
    assert len(table) == len(case_rows("a", "fp32"))
    assert table["local.whole.ratio"].max() < 100
    assert set(table["verdict"]) == {"PASS"}


def test_the_file_says_which_run_it_is_of():
    result = RunResult(case_rows("a", "fp32"), {"commit": "abc", "x": {"y": math.nan}})
    about = json.loads(read(result).schema.metadata[b"parity"])
    assert about["provenance"] == {"commit": "abc", "x": {"y": "nan"}}
    assert about["passed"] is True


def test_half_a_surrogate_pair_is_written_escaped():
    hostile = row(0, "a\ud800", suggestions=("b\udfff",))
    (line,) = read(RunResult([hostile])).to_pylist()
    assert (line["point"], line["suggestions"]) == ("a\\ud800", ["b\\udfff"])


def test_without_pyarrow_the_report_is_complete_but_for_one_file_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    assert "no rows.parquet" in missing()
    assert "qwen2vl-ms[parquet]" in missing()
    result = RunResult(case_rows("a", "fp32"))
    write_report(result, tmp_path / "report")
    assert {p.name for p in (tmp_path / "report").iterdir()} == FILES - {ROWS_PARQUET}
    assert "\n" not in missing()
    monkeypatch.undo()
    assert missing() is None
