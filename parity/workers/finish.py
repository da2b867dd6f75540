"""Finishing a run's units in worker processes, whatever the candidate does to them.

A worker runs the units of one dtype and mode. One that hangs is killed, one that died is replaced:
the unit that it was at has its death for a result, and the units after that run in the next worker.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import replace
from itertools import groupby

from parity.core.death import COMPARING, LOADING, MEASURING, Death
from parity.core.errors import ParityError
from parity.device.lost import RECOVER
from parity.workers.beacon import STARTING
from parity.workers.orders import Orders
from parity.workers.process import Ended, Look, Worker


def finish(
    orders: Orders, limit: float | None, log: Callable[[str], None]
) -> Generator[Look | tuple[int, Death], None, None]:
    """Finish what there is to do; yield what workers are seen at, and every death with its unit.

    Args:
        orders: of the whole run.
        limit: seconds that a unit may take; ``None``: for ever.
        log: called with every line that workers print.

    Raises:
        ParityError: a worker cannot run here: it says so, or ends before the candidate is loaded.
            It would end so for every unit.
    """
    for _, group in groupby(orders.todo, lambda number: _loaded_for(orders, number)):
        todo = tuple(group)
        while todo:
            with Worker(replace(orders, todo=todo), log) as worker:
                for look in worker.watch(limit):
                    todo = tuple(one for one in todo if one != look.done)
                    yield look
            if worker.ended is None:
                break
            yield todo[0], _death(orders, todo[0], worker.ended)
            todo = todo[1:]


def _loaded_for(orders: Orders, number: int) -> tuple[str, str]:
    """What a unit needs the candidate to be loaded in."""
    unit = orders.units[number]
    return unit.dtype, unit.mode


def _death(orders: Orders, number: int, ended: Ended) -> Death:
    """The end of a worker as that of the candidate in a unit.

    Raises:
        ParityError: it was not the candidate's: there was none yet, or the device was lost.
    """
    unit, where = orders.units[number], ended.where
    if ended.device is not None:
        raise ParityError(f"the device was lost in {unit.name}: {ended.device}. {RECOVER}")
    if where.step in (STARTING, LOADING):
        raise ParityError(
            f"the candidate cannot be loaded ({unit.dtype}, {unit.mode}): its process {ended.how}"
        )
    if ended.threw and where.step in (COMPARING, MEASURING):
        raise ParityError(
            f"the harness failed in the {where.step} of {unit.name}, which is a bug of its own: it "
            f"{ended.how}"
        )
    return Death(ended.how, where.step, where.point, where.firing)
