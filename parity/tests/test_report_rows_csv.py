"""The CSV table has a line a row, and its figures are those of the rows."""

import csv
import dataclasses
import io

from parity.core.rows import RunResult
from parity.report.flat import columns
from parity.report.rows_csv import to_csv
from parity.tests.report_runs import failing, odd_numbers, row


def read(result):
    return list(csv.DictReader(io.StringIO(to_csv(result))))


def test_every_row_is_a_line_with_its_figures():
    result = failing()
    text = to_csv(result)
    assert len(text.splitlines()) == 1 + len(result.rows)
    for line, expected in zip(read(result), result.rows, strict=True):
        assert (line["case"], line["dtype"], line["point"]) == (
            expected.case, expected.dtype, expected.point,
        )  # fmt: skip
        assert line["verdict"] == expected.verdict.value
        if expected.local is None:
            assert line["local.whole.ratio"] == ""
        else:
            assert float(line["local.whole.ratio"]) == expected.local.whole.ratio
            assert int(line["local.row.index"]) == 17
            assert line["local.max_index"] == "0 17 201"
            assert line["local.worst"] == "row"
            assert float(line["local.worst.use_of_gate"]) == (
                expected.local.row.ratio / expected.local.row.gate
            )


def test_the_columns_are_flat_and_complete():
    names = [one.name for one in columns()]
    assert len(names) == len(set(names))
    assert {f.name for f in dataclasses.fields(row(0, "a"))} - set(names) == {
        "local",
        "end_to_end",
        "arithmetic",
    }
    for side in ("local", "end_to_end"):
        for part in ("whole", "row", "column", "update"):
            for figure in ("ratio", "error", "floor", "gate", "index"):
                assert f"{side}.{part}.{figure}" in names
        for name in ("max_abs", "max_ulp", "standards.dual_l1", "candidate_nonfinite.nan"):
            assert f"{side}.{name}" in names


def test_not_finite_is_told_from_absent():
    lines = read(odd_numbers())
    assert lines[1]["local.whole.ratio"] == "NaN"
    assert lines[1]["local.max_abs"] == "Infinity"
    assert lines[1]["local.candidate_value"] == "-Infinity"
    assert lines[1]["local.row.ratio"] == ""
    assert lines[1]["local.candidate_nonfinite.minus_inf"] == "5"
    assert lines[1]["local.standards.open_operator"] == ""
    assert lines[2]["local.standards.open_operator"] == "True"
    assert lines[2]["local.candidate_nonfinite.nan"] == ""
    assert lines[0]["mismatches"] == "3"
    assert lines[1]["mismatches"] == ""


def test_texts_with_quotes_commas_and_line_breaks_stay_one_line():
    hostile = row(0, 'a","b', message='first\nsecond\r\nthird, "quoted"\u2028fourth')
    result = RunResult([hostile])
    assert len(to_csv(result).splitlines()) == 2
    (line,) = read(result)
    assert line["point"] == 'a","b'
    assert line["message"] == 'first second third, "quoted" fourth'


def test_an_empty_run_is_a_header():
    assert to_csv(RunResult([])).splitlines() == [",".join(one.name for one in columns())]
