"""What the self-test runs: every fault in every dtype, and the faithful port on every case."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from parity.core.errors import ParityError
from parity.core.numerics import precision
from parity.faults import catalogue, find
from parity.faults.fault import Fault
from parity.session import Session


@dataclass(frozen=True)
class Task:
    """One trial to run."""

    fault: str | None
    """``None`` for the faithful port."""
    dtype: str
    cases: tuple[str, ...]
    """Tried in order until the harness sees the fault."""

    @property
    def name(self) -> str:
        """What it is called, in a file's name too."""
        return f"{self.fault or 'faithful-' + self.cases[0]}-{self.dtype}"


def select_faults(names: Sequence[str]) -> list[Fault]:
    """The faults named, or all of them.

    Raises:
        ParityError: a name is none of them.
    """
    return [find(name) for name in dict.fromkeys(names)] if names else [*catalogue().values()]


def fault_tasks(session: Session, faults: Sequence[Fault]) -> list[Task]:
    """One task for each fault and dtype, a dtype at a time, neighbours on the same case.

    Where nobody can see a fault one case is enough to show so.

    Raises:
        ParityError: a fault names a case that is not selected or does not exist.
    """
    known = {case.name for case in session.cases}
    tasks = []
    for dtype in session.settings.dtypes:
        precision(dtype)
        for fault in sorted(faults, key=lambda one: one.cases[0]):
            cases = tuple(name for name in fault.cases if name in known)
            if not cases:
                raise ParityError(
                    f"the fault {fault.name!r} shows in {', '.join(fault.cases)}, and none of "
                    "them is a case here"
                )
            tasks.append(Task(fault.name, dtype, cases[: None if dtype in fault.dtypes else 1]))
    return tasks


def faithful_tasks(session: Session, cases: Sequence[str]) -> list[Task]:
    """The port as it is on ``cases`` in every dtype."""
    return [Task(None, dtype, (case,)) for dtype in session.settings.dtypes for case in cases]
