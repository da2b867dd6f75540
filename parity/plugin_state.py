"""What the pytest plugin knows during one session of pytest, in one process."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from parity.core.coverage import Coverage
from parity.core.errors import ParityError
from parity.core.looked_into import LookedInto
from parity.core.rows import Row, RunResult
from parity.counting import Counting
from parity.session import Session
from parity.settings import Settings


@dataclass
class State:
    """Filled from collection to the end; under ``-n`` every process has its own."""

    settings: Settings
    report: Path | None
    """The folder that was asked for; ``None``: among the runs."""
    started: float = field(default_factory=time.monotonic)
    session: Session | None = None
    stages: dict[tuple[str, str, str], set[str]] = field(default_factory=dict)
    """What the selected tests need, by case, dtype and mode."""
    selected: set[tuple[str, str, str, str]] = field(default_factory=set)
    """(case, dtype, mode, point) of every selected test."""
    asked: bool = False
    """Whether parity tests were selected, here or on a worker."""
    told: set[tuple[str, str, str, str]] = field(default_factory=set)
    """Causes outside the selection that one failing victim has told about."""
    not_compared: list[str] = field(default_factory=list)
    """Cases that could not be run, with the reason."""
    rows: list[Row] = field(default_factory=list)
    """Rows of this process, and of the workers once they are done."""
    invalid: list[str] = field(default_factory=list)
    """Proofs of the run itself that failed, here and on the workers."""
    covered: list[Coverage] = field(default_factory=list)
    """What was compared, here and on the workers."""
    looked: LookedInto = field(default_factory=LookedInto)
    counting: Counting = field(default_factory=Counting)
    provenance: dict[str, object] = field(default_factory=dict)
    result: RunResult | None = None
    report_path: Path | None = None
    problem: str | None = None
    """Why the run is not a comparison at all, or could not be reported."""


COULD_NOT_RUN = 2
STATE = pytest.StashKey[State]()


def session_of(state: State) -> Session:
    """The session, made when the first parity test is collected.

    Raises:
        pytest.UsageError: a setting names something that is not there.
    """
    if state.session is None:
        session = Session(state.settings, prove=True, look_into=True)
        try:
            session.validate()
        except ParityError as error:
            raise pytest.UsageError(str(error)) from error
        state.session = session
    return state.session
