"""Whatever a candidate does to its process, the run knows what and where, and goes on."""

import os
import time
from pathlib import Path

import pytest

from parity.core.errors import ParityError
from parity.device.lost import lost_device
from parity.settings import Settings
from parity.workers.finish import finish
from parity.workers.orders import Orders, units_of
from parity.workers.parts import read_part
from parity.workers.process import Look

CASES = ("single-image", "text-only")


def settings_of(name, **more):
    return Settings(cases=CASES, candidate=f"parity.tests.quick_candidates:{name}", **more)


def run(folder, name, limit=300.0, **more):
    """Looks, deaths by unit, and what was printed."""
    settings = settings_of(name, **more)
    units = units_of(CASES, settings)
    orders = Orders(settings, units, tuple(range(len(units))), folder, "r")
    printed, looks, deaths = [], [], {}
    for news in finish(orders, limit, printed.append):
        if isinstance(news, Look):
            looks.append(news)
        else:
            deaths[news[0]] = news[1]
    for number, unit in enumerate(units):
        if number not in deaths:
            assert read_part(folder, number, unit, "r").facts.unit == unit
    return looks, deaths, printed


def done(looks):
    return [look.done for look in looks if look.done is not None]


def test_a_healthy_candidate_finishes_every_unit_in_one_worker(tmp_path):
    looks, deaths, printed = run(tmp_path, "Quick")
    assert deaths == {}
    assert done(looks) == [0, 1, 2]
    assert printed == []
    (row, *_), *_ = (read_part(tmp_path, n, u, "r").result.rows
                     for n, u in enumerate(units_of(CASES, settings_of("Quick"))))  # fmt: skip
    assert "nothing is computed here" in row.message


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("Exiting", "ended with exit status 0"),
        pytest.param(
            "Leaving",
            "threw SystemExit: I have had enough (quick_candidates.py:",
            marks=pytest.mark.slow,
        ),
        ("Crashing", "was killed by SIGSEGV, at quick_candidates.py:"),
        pytest.param("Killed", "was killed by SIGKILL", marks=pytest.mark.slow),
        ("Hungry", "threw MemoryError"),
    ],
)
def test_a_candidate_that_dies_is_told_of_and_the_other_cases_run(tmp_path, name, how):
    looks, deaths, _ = run(tmp_path, name)
    assert list(deaths) == [0]
    assert deaths[0].how.startswith(how)
    assert deaths[0].step == ("forced run" if name == "Hungry" else "free run")
    assert done(looks) == [1, 2]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["Hanging", "HangingInForeignCode"])
def test_a_candidate_that_hangs_is_stopped_where_it_is(tmp_path, name):
    started = time.monotonic()
    looks, deaths, _ = run(tmp_path, name, limit=15.0)
    assert time.monotonic() - started < 120
    assert deaths[0].how.startswith("hung: stopped after 15 s, at quick_candidates.py:")
    assert deaths[0].how.endswith("in misbehave")
    assert done(looks) == [1, 2]


def test_a_candidate_that_cannot_be_loaded_ends_the_run_at_once(tmp_path):
    with pytest.raises(ParityError, match=r"cannot be loaded \(fp32, pynative\).*exit status 7"):
        run(tmp_path, "Unloadable")


def test_what_a_worker_cannot_do_here_ends_the_run(tmp_path):
    with pytest.raises(ParityError, match="is not there"):
        run(tmp_path, "Nobody")


@pytest.mark.parametrize("name", ["LosingItsDevice", "DyingOfItsDevice"])
def test_a_lost_device_is_not_the_candidates_fault(tmp_path, name):
    with pytest.raises(ParityError, match=r"the device was lost in single-image.*heartbeat"):
        run(tmp_path, name)


@pytest.mark.parametrize(
    "text",
    [
        "wait for compute device to finish failed, runtime result = 507010.",
        "aclrtSetDevice: open device 0 failed, runtime result = 507033",
        "Device_Absent/Abnormal(EL0001): Device not found or invalid.",
    ],
)
def test_what_cann_says_of_a_lost_device_is_known(text):
    assert lost_device([None, "fine", text])


@pytest.mark.parametrize(
    "text",
    ["aicore exception, error code is 507015", "shape (1507010,)", "a507010", None],
)
def test_what_a_candidate_does_wrong_is_not_a_lost_device(text):
    assert lost_device([text]) is None


def test_what_a_candidate_prints_is_seen(tmp_path):
    _, _, printed = run(tmp_path, "Talking")
    assert printed == ["on standard output", "on standard error"]


def alive(pid):
    return (
        Path(f"/proc/{pid}").exists() and "(sleep) Z" not in Path(f"/proc/{pid}/stat").read_text()
    )


@pytest.mark.slow
def test_what_a_candidate_has_started_ends_with_it(tmp_path):
    _, deaths, printed = run(tmp_path, "Parent", limit=15.0)
    child = int(next(line for line in printed if line.startswith("child ")).split()[1])
    assert "hung" in deaths[0].how
    assert not alive(child)
    os.kill(os.getpid(), 0)  # and this process does not
