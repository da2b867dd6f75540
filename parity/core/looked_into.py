"""What a session found out beyond rows: details of some, what they were given, source lines."""

from __future__ import annotations

from dataclasses import dataclass, field

from parity.core.detail import Detail
from parity.core.inputs_shown import InputsShown
from parity.core.rows import RunResult
from parity.core.sources import Source


@dataclass
class LookedInto:
    """As the fields of the same names of `parity.core.rows.RunResult`."""

    details: list[Detail] = field(default_factory=list)
    inputs: dict[str, InputsShown] = field(default_factory=dict)
    sources: dict[str, Source] = field(default_factory=dict)

    def add(self, other: LookedInto) -> None:
        """Take over what another process found out."""
        self.details += other.details
        self.inputs |= other.inputs
        self.sources |= other.sources

    def fill(self, result: RunResult) -> RunResult:
        """Put what is known into ``result``, and return it."""
        result.details, result.inputs, result.sources = self.details, self.inputs, self.sources
        return result
