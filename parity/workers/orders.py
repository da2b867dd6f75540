"""What a worker is told to do: settings, and which units of the run in progress to finish."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from parity.core.rows import ran_in
from parity.report.plain_io import decode, encode
from parity.settings import Settings

LEDGER = ""
"""In the place of a case: the operator ledger of a dtype."""


@dataclass(frozen=True)
class Unit:
    """The least that a run finishes at once: a case in a dtype and mode, or a dtype's ledger."""

    case: str
    dtype: str
    mode: str

    @property
    def name(self) -> str:
        """As it is shown."""
        return f"{self.case or 'operator ledger'} {ran_in(self.dtype, self.mode)}"


@dataclass(frozen=True)
class Orders:
    """One worker's work."""

    settings: Settings
    units: tuple[Unit, ...]
    """All of the run, in order."""
    todo: tuple[int, ...]
    """The numbers of those to finish, all of one dtype and mode."""
    folder: Path
    """Of the run in progress."""
    run: str
    """The hash of all that the run depends on: its parts bear it."""

    def line(self) -> str:
        """The orders in one line of text."""
        return json.dumps(encode(self)) + "\n"


def read_orders(line: str) -> Orders:
    """The orders that a line of :meth:`Orders.line` holds."""
    found: Orders = decode(Orders, json.loads(line), "orders")
    return found


def units_of(cases: Sequence[str], settings: Settings) -> tuple[Unit, ...]:
    """Every unit of a run, a dtype and mode at a time, since each loads the candidate anew.

    A dtype's ledger does not depend on the mode, and is measured once, in the first.
    """
    return tuple(
        Unit(case, dtype, mode)
        for dtype in settings.dtypes
        for mode in settings.modes
        for case in [*cases, *([LEDGER] if mode == settings.modes[0] else [])]
    )
