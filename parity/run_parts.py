"""What ``RUN``, ``RUN:bf16`` and ``RUN:bf16:graph`` name on the command line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from parity.core.errors import ParityError
from parity.core.rows import RunResult


@dataclass(frozen=True)
class RunPart:
    """A run, and what of it is meant."""

    name: str
    """As it was given."""
    result: RunResult
    """With all its rows."""
    dtype: str = ""
    """The one that is meant; empty for all."""
    mode: str = ""

    def with_part(self, part: str) -> RunPart:
        """Narrow it to a dtype or a mode, whichever has this name.

        Raises:
            ParityError: no row has it.
        """
        dtypes = dict.fromkeys(row.dtype for row in self.result.rows)
        modes = dict.fromkeys(row.mode for row in self.result.rows)
        if part in dtypes and not self.dtype:
            return replace(self, dtype=part)
        if part in modes and not self.mode:
            return replace(self, mode=part)
        known = ", ".join([*dtypes, *modes]) or "no rows"
        raise ParityError(f"{self.name}: the run has no {part!r}; it has {known}")

    def rows_of(self, other: RunPart, cases: Sequence[str] = ()) -> RunResult:
        """The run with the rows to hold against ``other``'s.

        A dtype or mode that only ``other`` names holds here too. Without ``cases`` all are meant.
        """
        dtype, mode = self.dtype or other.dtype, self.mode or other.mode
        rows = [
            row
            for row in self.result.rows
            if dtype in ("", row.dtype)
            and mode in ("", row.mode)
            and row.case in (cases or row.case)
        ]
        return replace(self.result, rows=rows)


def open_part(name: str) -> RunPart:
    """Read the run that a name stands for; one that is itself a file or folder is taken whole.

    Raises:
        ParityError: there is no such run, it is damaged, or has nothing of that dtype or mode.
    """
    from parity.report.rows_io import read_json

    path, parts = _find(name)
    found = RunPart(name, read_json(path))
    for part in parts:
        found = found.with_part(part)
    return found


def _find(name: str) -> tuple[Path, list[str]]:
    """The ``rows.json`` of the longest beginning that is a run, and the parts after it."""
    from parity.runs import find_run

    try:
        return find_run(name), []
    except ParityError:
        whole, colon, part = name.rpartition(":")
        if not colon:
            raise
        path, parts = _find(whole)
        return path, [*parts, part]
