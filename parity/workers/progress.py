"""What a run shows while it runs: which unit, the last point reached, how long it has taken."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from parity.core.death import Death
from parity.workers.beacon import Whereabouts
from parity.workers.orders import Unit

FIXED = 42
"""Characters of the columns before the text."""


class RunProgress:
    """A bar on a terminal; anywhere else a line for every unit that is finished."""

    def __init__(self, console: Console, progress: Progress) -> None:
        self._console, self._progress = console, progress
        self._bar = progress.add_task("reference", total=None)
        self._units: tuple[Unit, ...] = ()
        self._finished, self._since = 0, time.monotonic()

    def begin(self, units: tuple[Unit, ...], finished: int) -> None:
        """The reference is there: show how many units there are, and are finished already."""
        self._units, self._finished, self._since = units, finished, time.monotonic()
        self._progress.reset(self._bar, total=len(units), completed=finished)

    def see(self, where: Whereabouts) -> None:
        """Show what a worker is at."""
        if where.unit >= 0:
            text = f"{self._units[where.unit].name}: {where.step} "
            room = self._console.width - FIXED - len(text)
            self._progress.update(self._bar, description=text + ending(where.point, room))

    def done(self, number: int, death: Death | None = None) -> None:
        """A unit is finished, or the candidate died in it."""
        self._finished += 1
        self._progress.update(self._bar, completed=self._finished)
        seconds, self._since = time.monotonic() - self._since, time.monotonic()
        told = f": the candidate {death.told}" if death else ""
        if death or not self._console.is_terminal:
            line = f"{self._finished}/{len(self._units)} {self._units[number].name} {seconds:.1f} s"
            self.log(line + told)

    def log(self, line: str) -> None:
        """Print a line above the bar as it is."""
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)


def ending(name: str, room: int) -> str:
    """A name, or as much of its end as there is room for: the beginning is the same for many."""
    return name if len(name) <= room else "..." + name[len(name) - max(room - 3, 0) :]


@contextmanager
def run_progress(console: Console) -> Iterator[RunProgress]:
    """Show a run's progress for the time of the block."""
    columns = (SpinnerColumn(), BarColumn(10), MofNCompleteColumn(), TimeElapsedColumn(),
               TimeRemainingColumn(), TextColumn("{task.description}", markup=False))  # fmt: skip
    with Progress(*columns, console=console, transient=True) as progress:
        yield RunProgress(console, progress)
