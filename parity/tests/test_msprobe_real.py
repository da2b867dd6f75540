"""The real msprobe dumps the port and the reference, and both are judged."""

import subprocess
import sys
from pathlib import Path

import pytest

import parity
from parity.core.rows import Verdict
from parity.faults import find
from parity.msprobe.dump import open_dump
from parity.msprobe.job import Request, judge_alone, judge_pair
from parity.session import Session
from parity.settings import Settings

ROOT = Path(parity.__file__).parent.parent
PYTHON = ROOT / ".venv-msprobe" / "bin" / "python"
CASES = ("single-image", "decoding")
FAULTS = ("quick-gelu-as-gelu", "rope-interleaved", "rotate-interleaved")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not PYTHON.exists(),
        reason="no environment with msprobe, whose 150 packages take minutes: make msprobe-env",
    ),
]


def dumped(folder, *arguments):
    command = [PYTHON, "-m", "parity.msprobe.make_dumps", *arguments, "-o", folder]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return folder


@pytest.fixture(scope="module")
def dumps(tmp_path_factory):
    """The port as it is, on every case; with each fault, on the first; PyTorch's."""
    folder = tmp_path_factory.mktemp("real")
    cases = [word for case in CASES for word in ("--case", case)]
    plant = [word for fault in FAULTS for word in ("--plant", fault)]
    dumped(folder / "port", "mindspore", "qwen2vl", *cases)
    dumped(folder / "faults", "mindspore", "qwen2vl", *cases, *plant)
    dumped(folder / "torch", "pytorch", "qwen2vl", *cases)
    return folder


@pytest.fixture(scope="module")
def session():
    return Session(Settings(cases=CASES))


def at_fault(rows):
    fine = (Verdict.PASS, Verdict.VICTIM)
    return [row.point for row in rows if row.verdict not in fine]


@pytest.mark.parametrize("side", ["port", "torch"])
@pytest.mark.parametrize("number", range(len(CASES)))
def test_what_is_right_passes(session, dumps, side, number):
    dump = open_dump(dumps / side, step=number)
    case = next(case for case in session.cases if case.name == CASES[number])
    rows = judge_alone(session, case, "fp32", Request(dump)).rows
    assert at_fault(rows) == []
    assert len(rows) > 80


@pytest.mark.parametrize("number", range(len(FAULTS)))
def test_a_fault_is_placed_from_its_dump(session, dumps, number):
    dump = open_dump(dumps / "faults", step=number)
    rows = judge_alone(session, session.cases[0], "fp32", Request(dump)).rows
    assert set(at_fault(rows)) <= find(FAULTS[number]).points
    assert at_fault(rows)


@pytest.mark.parametrize("number", range(len(CASES)))
def test_pytorch_s_dump_agrees_with_the_port_s(dumps, number):
    reference, candidate = (open_dump(dumps / side, step=number) for side in ("torch", "port"))
    rows = judge_pair("pair", "fp32", reference, Request(candidate)).rows
    assert at_fault(rows) == []
    assert len(rows) > 80


@pytest.mark.parametrize("number", range(len(FAULTS)))
def test_a_fault_is_found_beside_pytorch_s_dump(session, dumps, number):
    reference = open_dump(dumps / "torch", step=0)
    candidate = open_dump(dumps / "faults", step=number)
    first = at_fault(judge_pair("pair", "fp32", reference, Request(candidate)).rows)[0]
    modules = {
        point.module for point in session.declared if point.name in find(FAULTS[number]).points
    }
    assert first in modules or first.rpartition(".")[0] in modules


def test_the_hit_rate_counts_them(dumps):
    command = [sys.executable, "-m", "parity.msprobe.hit_rate", dumps / "faults", dumps / "port"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    last = done.stdout.splitlines()[-1]
    assert last.startswith("3 faults: 3 found, 3 placed; 0 false alarms in 2 faithful dumps")
    command += ["--reference", dumps / "torch"]
    beside = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert beside.stdout.splitlines()[-1].startswith("3 faults: 3 found, 3 placed; 0 false alarms")
