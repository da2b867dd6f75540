"""The work of calibrating, shared by processes: each takes what nobody has done or is doing.

What is to be done is what has no file yet, so a calibration that was ended goes on where it was.
Only a seed's locks and the files themselves are shared; it does not matter who started whom.
"""

from __future__ import annotations

import multiprocessing
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from parity.calibrate_measure import measure, measure_fault, open_session
from parity.calibration_data import Plan, write
from parity.core.errors import ParityError, describe_exception
from parity.seeds import seeded, weights_of
from parity.session import Session

WAIT_SECONDS = 1.0
Task = tuple[str, Callable[[], None]]
"""Name of the lock under which one process does it, and what to do."""


def total(plan: Plan) -> int:
    """How many measurements there are to be."""
    dtypes = len(plan.settings.dtypes)
    return dtypes * ((plan.seeds + 1) * len(plan.session.cases) + len(plan.faults))


def done(plan: Plan) -> int:
    """How many of them are there."""
    seeds = sum(len(plan.missing(seed)) for seed in range(plan.seeds + 1))
    return total(plan) - seeds - len(list(_missing_faults(plan)))


def work(plan: Plan) -> None:
    """Do what is missing until nothing is.

    Raises:
        ParityError: the reference or the candidate cannot be run.
    """
    session = open_session(plan.settings)
    while tasks := [*_seeds(plan), *_faults(plan, session)]:
        # Until one was free to be done; then what is missing is looked up anew.
        if not any(_attempt(plan, task) for task in tasks):
            time.sleep(WAIT_SECONDS)  # all that is left is being done by others


def _seeds(plan: Plan) -> Iterator[Task]:
    """The seeds that are not measured yet; somebody may be at one."""
    for seed in range(plan.seeds + 1):
        if plan.missing(seed):
            yield f"seed-{seed:03d}", partial(_seed, plan, seed)


def _faults(plan: Plan, session: Session) -> Iterator[Task]:
    """The same for faults, a dtype at a time, so that the candidate is loaded once for each."""
    for dtype, fault in _missing_faults(plan):
        yield f"{fault}-{dtype}", partial(_fault, plan, session, fault, dtype)


def _missing_faults(plan: Plan) -> Iterator[tuple[str, str]]:
    """Dtype and name of the faults that are not measured."""
    for dtype in plan.settings.dtypes:
        for fault, case in plan.faults.items():
            if not plan.fault_path(case, dtype, fault).exists():
                yield dtype, fault


def _attempt(plan: Plan, task: Task) -> bool:
    """Do a task unless another process is at it; return whether it is done."""
    name, do = task
    place = plan.place / "locks"
    place.mkdir(parents=True, exist_ok=True)
    try:
        # The operating system drops the lock with its holder, however that ends.
        with FileLock(place / f"{name}.lock", timeout=0):
            do()
    except Timeout:
        return False
    return True


def _seed(plan: Plan, seed: int) -> None:
    """Measure what is missing of one seed; its inputs, weights and captures are temporary."""
    missing = plan.missing(seed)
    if not missing:
        return  # another process was quicker
    with _folder(plan, seed) as folder:
        settings = seeded(plan.settings, seed, folder)
        session = open_session(settings)
        cases = {case.name: case for case in session.cases}
        session.references.capture([(cases[case.name], dtype) for case, dtype in missing])
        for case, dtype in missing:
            _live()
            record = measure(session, cases[case.name], dtype, seed, weights_of(seed))
            write(plan.seed_path(case, dtype, seed), record)


@contextmanager
def _folder(plan: Plan, seed: int) -> Iterator[Path]:
    """A folder for what a seed needs, empty at first and gone afterwards."""
    folder = plan.place / "seeds" / f"seed-{seed:03d}"
    shutil.rmtree(folder, ignore_errors=True)  # of a process that was killed
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _fault(plan: Plan, session: Session, fault: str, dtype: str) -> None:
    """Measure a planted fault in the first case that shows it."""
    _live()
    case = plan.faults[fault]
    path = plan.fault_path(case, dtype, fault)
    if not path.exists():
        write(path, measure_fault(session, case, dtype, fault))


def _live() -> None:
    """End a worker whose parent was killed."""
    parent = multiprocessing.parent_process()
    if parent is not None and not parent.is_alive():
        raise SystemExit(1)


def run_workers(plan: Plan, count: int, every_second: Callable[[], None]) -> None:
    """Share the work among ``count`` processes until it is done.

    Raises:
        ParityError: what one of them could not do; the others are ended.
    """
    context = multiprocessing.get_context("spawn")
    problems = context.SimpleQueue()
    fresh = replace(plan)  # without what it has looked up, which cannot be sent
    workers = [context.Process(target=_worker, args=(fresh, problems)) for _ in range(count)]
    for worker in workers:
        worker.start()
    try:
        while any(worker.is_alive() for worker in workers) and problems.empty():
            workers[0].join(WAIT_SECONDS)
            every_second()
        if not problems.empty():
            raise ParityError(problems.get())
        if lost := next((w for w in workers if w.exitcode), None):
            raise ParityError(
                f"a worker ended with status {lost.exitcode}; the same command goes on from here"
            )
    finally:
        for worker in workers:
            worker.terminate()
            worker.join()


def _worker(plan: Plan, problems: Any) -> None:
    """One process; what it cannot do is told to the one that started it."""
    try:
        work(plan)
    except ParityError as error:
        problems.put(str(error))
    except Exception as error:
        problems.put(describe_exception(error))
