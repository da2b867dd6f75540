"""The process that runs the candidate, started by a run as ``parity.workers.worker REPLIES``.

It gets its orders as a line on standard input, finishes one unit after the other, keeps each as a
part on disk, and says so in a line on the file descriptor REPLIES. Whatever the candidate does to
this process, its parent lives: it sees from the beacon how far the candidate got. And whatever
becomes of the parent, this process ends with it.
"""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import sys
import time
import traceback
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import cached_property
from typing import TextIO

from parity import kernel_ledger
from parity.core.coverage import ledger
from parity.core.death import MEASURING
from parity.core.errors import ParityError, describe_exception
from parity.core.looked_into import LookedInto
from parity.core.rows import RunResult
from parity.core.verdict import Evidence
from parity.device.lost import RECOVER, lost_device
from parity.environment import recorded
from parity.provenance import peak_memory
from parity.session import Session
from parity.workers.beacon import Beacon
from parity.workers.lifeline import end_with_parent
from parity.workers.orders import LEDGER, Orders, Unit, read_orders
from parity.workers.parts import Fact, Facts, Part, write_part

BEACON = "beacon"
"""Name of the beacon's file in the folder of the run."""
TRACEBACK = signal.SIGUSR1
"""Makes the worker write where it is to its log, even if it hangs."""


@dataclass
class Work:
    """The orders, and what they are carried out with."""

    orders: Orders
    beacon: Beacon
    replies: TextIO

    @cached_property
    def session(self) -> Session:
        """Of the whole run's settings, so that every unit is what it would be in one process."""
        return Session(self.orders.settings, say=self._say, prove=True, look_into=True,
                       doing=self.beacon.step, observe=check_device)  # fmt: skip

    def run(self) -> None:
        """Finish every unit.

        Raises:
            ParityError: one cannot be run here.
        """
        self.session.validate()
        with self.beacon.watching():
            for number in self.orders.todo:
                self.beacon.begin(number)
                unit, started = self.orders.units[number], time.monotonic()
                result = self._case(unit) if unit.case != LEDGER else self._ledger(unit.dtype)
                part = Part(self._facts(unit, time.monotonic() - started), result)
                write_part(self.orders.folder, number, part)
                self.reply(done=number)

    def reply(self, **message: object) -> None:
        """Tell the parent."""
        print(json.dumps(message), file=self.replies, flush=True)

    def _say(self, line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    def _case(self, unit: Unit) -> RunResult:
        """A case in a dtype and mode, by itself."""
        session = self.session
        # What passes is looked into only where it is nearer to its gate than all before.
        session.looked = LookedInto(nearest=session.looked.nearest)
        session.covered, session.invalid = [], []
        case = next(case for case in session.cases if case.name == unit.case)
        rows = session.run(case, unit.dtype, mode=unit.mode)
        looked = session.looked
        del session.results[(case.name, unit.dtype, unit.mode)]
        return RunResult(rows=rows, invalid=session.invalid, ledger=ledger(session.covered),
                         details=looked.details, inputs=looked.inputs,
                         sources=looked.sources)  # fmt: skip

    def _ledger(self, dtype: str) -> RunResult:
        """The operator ledger of a dtype."""
        self.beacon.step(MEASURING)
        return measured_kernels(self.session, dtype)

    def _facts(self, unit: Unit, seconds: float) -> Facts:
        references = self.session.references
        return Facts(
            unit=unit,
            run=self.orders.run,
            when=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            seconds=round(seconds, 3),
            memory=peak_memory(),
            opened=tuple(Fact(name, (hash_,)) for name, hash_ in references.opened.items()),
            made_with=tuple(Fact(k, tuple(all_)) for k, all_ in references.made_with.items()),
            device=tuple(Fact(k, (told,)) for k, told in self.session.device_facts().items()),
            environment=tuple(Fact(k, (told,)) for k, told in recorded(os.environ).items()),
        )


def check_device(evidence: Evidence) -> None:
    """See that what stopped the candidate, if anything did, was not its device.

    Raises:
        ParityError: it was; nothing is known of the candidate.
    """
    why = lost_device([evidence.free.stopped, evidence.forced.stopped])
    if why is not None:
        raise ParityError(f"the device was lost in {evidence.case}: {why}. {RECOVER}")


def measured_kernels(session: Session, dtype: str) -> RunResult:
    """The operator ledger of a dtype, or why there is none: that is no reason to lose a run."""
    try:
        return RunResult([], kernels=kernel_ledger.ledger_in(session, dtype))
    except ParityError as error:
        return RunResult([], not_compared=[f"the operator ledger: {error}"])


def main(descriptor: str) -> None:
    """Carry out the orders on standard input; tell what goes wrong on the way."""
    orders = read_orders(sys.stdin.readline())
    end_with_parent()
    faulthandler.enable()
    faulthandler.register(TRACEBACK, all_threads=False)
    with os.fdopen(int(descriptor), "w", encoding="utf-8") as replies:
        work = Work(orders, Beacon(orders.folder / BEACON), replies)
        try:
            work.run()
        except ParityError as error:
            work.reply(error=str(error))
        except BaseException as error:
            traceback.print_exc()
            starved = isinstance(error, MemoryError)
            work.reply(threw=describe_exception(error), starved=starved)
            raise SystemExit(1) from None


if __name__ == "__main__":
    main(*sys.argv[1:])
