"""The published schema is current, real runs keep to it, and what is broken does not."""

import copy
import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

from parity.core.rows import RunResult
from parity.report.rows_io import result_to_dict, to_json
from parity.report.schema import schema, schema_text
from parity.tests.report_runs import GUILTY_POINT, case_rows, hostile, odd_numbers

ROOT = Path(__file__).parents[2]
PUBLISHED = ROOT / "docs" / "rows.schema.json"


@pytest.fixture(scope="module")
def validator():
    published = json.loads(PUBLISHED.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(published)
    return jsonschema.Draft202012Validator(published)


def complaints(validator, found):
    return [f"{list(e.absolute_path)}: {e.message:.200}" for e in validator.iter_errors(found)]


def test_the_published_schema_is_that_of_the_code():
    """`python -m parity schema > docs/rows.schema.json` makes it anew."""
    assert PUBLISHED.read_text(encoding="utf-8") == schema_text()


def test_the_command_prints_it():
    command = [sys.executable, "-m", "parity", "schema"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == schema_text()


def test_fields_are_described_by_their_docstrings():
    figures = schema()["$defs"]["Slice"]["properties"]
    assert figures["gate"]["description"] == "Largest ratio that passes."
    assert "as good as the reference" in figures["ratio"]["description"]


@pytest.mark.parametrize(
    "result",
    [
        RunResult([]),
        odd_numbers(),
        hostile(),
        RunResult(case_rows("a", "fp32", GUILTY_POINT)[:20], {"a": None}, ["b"], ["c"]),
    ],
)
def test_runs_of_every_kind_keep_to_it(validator, result):
    assert complaints(validator, json.loads(to_json(result))) == []


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """``rows.json`` of a run with a fault, as the command writes it."""
    folder = tmp_path_factory.mktemp("schema") / "report"
    command = [sys.executable, "-m", "parity", "run", "--case", "single-image", "--no-history",
               "--plant", "quick-gelu-as-gelu", "--report", str(folder)]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    return json.loads((folder / "rows.json").read_text(encoding="utf-8"))


@pytest.mark.slow
def test_a_real_failing_run_keeps_to_it(validator, real):
    parts = ("rows", "details", "inputs", "sources", "kernels")
    assert all(real[name] for name in parts), "an empty part proves nothing"
    assert complaints(validator, real) == []


def drop(found):
    del found["rows"][0]["verdict"]


def rename(found):
    found["rows"][0]["verdikt"] = found["rows"][0].pop("verdict")


def unknown_verdict(found):
    found["rows"][0]["verdict"] = "FINE"


def number_as_text(found):
    floats = next(row for row in found["rows"] if "local" in row)
    floats["local"]["whole"]["ratio"] = "0.5"


def null(found):
    found["rows"][0]["case"] = None


def order_as_float(found):
    found["rows"][0]["order"] = 0.5


def another_format(found):
    found["format"] += 1


def extra(found):
    found["more"] = 1


def count_missing(found):
    del found["counts"]["GUILTY"]


def rows_as_object(found):
    found["rows"] = {}


def detail_without_point(found):
    found["details"] = [
        {"case": "a", "dtype": "fp32", "mode": "pynative", "firing": 0, "role": "x"}
    ]


def line_as_text(found):
    found["sources"] = {"a": {"candidate_line": "12"}}


@pytest.mark.parametrize(
    "breaking",
    [drop, rename, unknown_verdict, number_as_text, null, order_as_float, another_format, extra,
     count_missing, rows_as_object, detail_without_point, line_as_text],
)  # fmt: skip
def test_a_broken_file_does_not(validator, breaking):
    found = json.loads(json.dumps(result_to_dict(RunResult(case_rows("a", "fp32")[:5]))))
    broken = copy.deepcopy(found)
    breaking(broken)
    assert complaints(validator, found) == []
    assert complaints(validator, broken) != []
