"""A run in workers finds out what the same run finds out in one process, and costs little more."""

import time
from dataclasses import replace
from pathlib import Path

import pytest

from parity.beacon import light
from parity.core.trace import Trace
from parity.job import result_of, run_job
from parity.kernel_ledger import ledger_of
from parity.provenance import MEMORY
from parity.report.rows_io import read_json, result_from_dict, result_to_dict
from parity.session import Session
from parity.settings import Settings

TWO = Settings(cases=("single-image", "text-only"), dtypes=("fp32", "bf16"))
ITS_OWN = ("command", "when", "seconds", MEMORY)
"""What of its provenance is a process's own."""


def in_process(settings):
    """The run as one process makes it."""
    started = time.monotonic()
    session = Session(settings, prove=True, look_into=True)
    session.validate()
    for dtype in settings.dtypes:
        for case in session.cases:
            session.run(case, dtype)
    kernels = ledger_of(session)
    result = result_of(session, started)
    result.kernels = kernels
    return result_from_dict(result_to_dict(result))  # as one that is read back


def without(result, *names):
    kept = {name: value for name, value in result.provenance.items() if name not in names}
    return replace(result, provenance=kept)


@pytest.mark.slow
@pytest.mark.parametrize("fault", [None, "vit-no-mask", "mean-std"])
def test_workers_change_nothing(tmp_path: Path, fault, capsys) -> None:
    settings = replace(TWO, plant=fault)
    alone = in_process(settings)
    _, path = run_job(settings, [], tmp_path / "report")
    found = read_json(path.parent / "rows.json")
    assert without(found, *ITS_OWN) == without(alone, *ITS_OWN)
    assert list(found.provenance) == list(alone.provenance)
    assert len(found.rows) == 2 * 142
    assert found.details
    assert found.passed == (fault is None)
    seconds = [float(str(one.provenance["seconds"])) for one in (found, alone)]
    with capsys.disabled():
        print(f"\nworkers {seconds[0]:.1f} s, one process {seconds[1]:.1f} s")


def test_a_difference_would_be_seen(tmp_path: Path) -> None:
    """The twin: a row that a part has lost, and a figure that it has changed, are not equal."""
    session = Session(replace(TWO, cases=("text-only",), dtypes=("fp32",)))
    rows = session.run(session.cases[0], "fp32")
    result = result_of(session, 0.0)
    for wrong in (rows[:-1], [*rows[:-1], replace(rows[-1], order=0)]):
        assert without(replace(result, rows=wrong), *ITS_OWN) != without(result, *ITS_OWN)


def test_saying_where_one_is_costs_next_to_nothing(tmp_path: Path) -> None:
    """A point is told in a small part of what recording it costs, a copy of its values apart."""
    names = [f"language_model.layers.{n}.self_attn.q_proj" for n in range(1000)]
    beacon = light(tmp_path / "beacon")
    assert cost(beacon.reach, names) < 20e-6
    with beacon.watching():
        Trace().record(names[7], None, "float32")
    assert beacon.read().point == names[7]
    Trace().record(names[8], None, "float32")
    assert beacon.read().point == names[7]


def cost(call, names):
    """Seconds of one call, the best of five rounds."""
    rounds = []
    for _ in range(5):
        started = time.perf_counter()
        for name in names:
            call(name)
        rounds.append((time.perf_counter() - started) / len(names))
    return min(rounds)
