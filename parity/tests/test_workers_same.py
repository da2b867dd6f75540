"""A run in workers finds out what the same run finds out in one process."""

from dataclasses import replace

import pytest

from parity.core.death import COMPARING, FORCED
from parity.core.trace import Trace
from parity.job import result_of, run_job
from parity.provenance import MEMORY
from parity.report.rows_io import read_json, result_from_dict, result_to_dict
from parity.session import Session
from parity.settings import Settings
from parity.workers.beacon import light
from parity.workers.cost import NAMES, in_one_process, telling_a_point

TWO = Settings(cases=("single-image", "text-only"), dtypes=("fp32", "bf16"))
ITS_OWN = ("command", "when", "seconds", MEMORY)
"""What of its provenance is a process's own."""


def without(result, *names):
    kept = {name: value for name, value in result.provenance.items() if name not in names}
    return replace(result, provenance=kept)


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        TWO,
        replace(TWO, plant="quick-gelu-as-gelu"),
        replace(TWO, plant="mean-std"),
        replace(TWO, cases=("text-only",), dtypes=("fp32",), modes=("graph", "pynative")),
    ],
    ids=["faithful", "quick-gelu-as-gelu", "mean-std", "both modes"],
)
def test_workers_change_nothing(tmp_path, settings):
    alone = in_one_process(settings)
    alone = result_from_dict(result_to_dict(alone))  # as one that is read back
    _, path = run_job(settings, [], tmp_path / "report")
    found = read_json(path.parent / "rows.json")
    assert without(found, *ITS_OWN) == without(alone, *ITS_OWN)
    assert list(found.provenance) == list(alone.provenance)
    assert {row.mode for row in found.rows} == set(settings.modes)
    assert {(row.case, row.dtype) for row in found.rows} == {
        (case, dtype) for case in settings.cases for dtype in settings.dtypes
    }
    assert found.details
    assert found.passed == (settings.plant is None)


@pytest.mark.slow
def test_a_difference_would_be_seen():
    """The twin: a row that a part has lost, and a figure that it has changed, are not equal."""
    session = Session(replace(TWO, cases=("text-only",), dtypes=("fp32",)))
    rows = session.run(session.cases[0], "fp32")
    result = result_of(session, 0.0)
    for wrong in (rows[:-1], [*rows[:-1], replace(rows[-1], order=0)]):
        assert without(replace(result, rows=wrong), *ITS_OWN) != without(result, *ITS_OWN)


def test_saying_where_one_is_costs_next_to_nothing(tmp_path):
    """Measured as 0.2 microseconds; the limit is for a busy machine."""
    assert telling_a_point(tmp_path) < 20e-6
    beacon = light(tmp_path / "beacon")
    beacon.step(FORCED)
    with beacon.watching():
        Trace().record(NAMES[7], None, "float32")
    assert beacon.read().point == NAMES[7]
    Trace().record(NAMES[8], None, "float32")
    assert beacon.read().point == NAMES[7]
    beacon.step(COMPARING)  # which records values of its own
    with beacon.watching():
        Trace().record(NAMES[9], None, "float32")
    assert beacon.read().point == ""
