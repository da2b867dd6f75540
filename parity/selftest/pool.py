"""Running trials, in this process or in several."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from parity.core.errors import ParityError, describe_exception
from parity.selftest.plan import Task
from parity.selftest.records import Records
from parity.selftest.trial import Trial, run_trial
from parity.session import Session
from parity.settings import Settings


@dataclass(frozen=True)
class Broken:
    """A trial that could not be run, and why."""

    task: Task
    reason: str


def run_tasks(
    settings: Settings, tasks: Sequence[Task], folder: Path, workers: int
) -> Iterator[tuple[Task, Trial | Broken]]:
    """Run ``tasks``; each one is kept in ``folder`` as soon as it is finished.

    Args:
        settings: what is compared with what.
        tasks: what to run.
        folder: of the records.
        workers: processes; with 1 everything runs in this one.

    Raises:
        ParityError: a worker died.
    """
    if workers == 1:
        yield from ((task, run_task(settings, task, folder)) for task in tasks)
        return
    context = multiprocessing.get_context("spawn")  # MindSpore does not survive a fork
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_follow_parent) as pool:
        try:
            running = {pool.submit(run_task, settings, task, folder): task for task in tasks}
            for future in as_completed(running):
                yield running[future], future.result()
        except BrokenProcessPool as error:
            raise ParityError(
                "a worker process died, perhaps for lack of memory; the same command goes on from "
                "here, with `-n 1` in one process"
            ) from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def run_task(settings: Settings, task: Task, folder: Path) -> Trial | Broken:
    """Run one task and keep it, if it can be run."""
    try:
        session, records = session_of(settings), records_of(settings, folder)
        cases = {case.name: case for case in session.cases}
        trial = run_trial(session, task.dtype, task.fault, [cases[name] for name in task.cases])
    except Exception as error:
        told = str(error) if isinstance(error, ParityError) else describe_exception(error)
        return Broken(task, told)
    records.write(task, trial)
    return trial


@cache
def session_of(settings: Settings) -> Session:
    """This process's session: its candidate is loaded once in a dtype."""
    return Session(settings)


@cache
def records_of(settings: Settings, folder: Path) -> Records:
    """The records, under the hash of the sources that this process was started with."""
    return Records(folder, session_of(settings))


def _follow_parent() -> None:
    """Let Ctrl-C be the parent's business, and end with it whatever ends it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: multiprocessing.process.BaseProcess) -> None:
    parent.join()
    os._exit(1)
