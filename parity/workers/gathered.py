"""A run put together from its parts, as if one process had made it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from parity.core.death import Death, coverage_of, rows_of
from parity.core.looked_into import LookedInto
from parity.core.rows import RunResult, Verdict
from parity.details import chosen
from parity.provenance import MEMORY
from parity.session import Session
from parity.workers.orders import LEDGER, Unit
from parity.workers.parts import Part


@dataclass
class Gathered:
    """What became of a run's units, in any order."""

    session: Session
    """Nothing has been run in it."""
    units: tuple[Unit, ...]
    parts: dict[int, Part] = field(default_factory=dict)
    deaths: dict[int, Death] = field(default_factory=dict)
    resumed: list[int] = field(default_factory=list)
    """Those that were finished before this process."""
    damaged: list[str] = field(default_factory=list)
    """Why parts that were there were made again."""

    def into_session(self) -> None:
        """Have the session know what the workers' sessions found out, in the order of the units."""
        for number, unit in enumerate(self.units):
            if number in self.parts:
                self._take_over(unit, self.parts[number])
            elif unit.case != LEDGER:
                self._bury(unit, self.deaths[number])

    def complete(self, result: RunResult) -> RunResult:
        """Add to a result, made of the session, what no session knows."""
        for number, unit in enumerate(self.units):
            if number in self.parts:
                result.kernels += self.parts[number].result.kernels
                result.not_compared += self.parts[number].result.not_compared
            elif unit.case == LEDGER:
                told = f"the {unit.name}: the candidate {self.deaths[number].told}"
                result.not_compared.append(told)
        facts = [part.facts for part in self.parts.values()]
        most = max((one.memory for one in facts), default=0)
        result.provenance[MEMORY] = max(most, int(str(result.provenance[MEMORY])))
        if environment := {v.name: v.values[0] for one in facts for v in one.environment}:
            result.provenance["environment"] = environment
        result.provenance.update(self._resumption())
        return result

    @property
    def seconds_before(self) -> float:
        """How long the parts took that were finished before this process."""
        return sum(self.parts[number].facts.seconds for number in self.resumed)

    def _take_over(self, unit: Unit, part: Part) -> None:
        """What a worker found out about one unit."""
        session, facts = self.session, part.facts
        session.references.opened.update({one.name: one.values[0] for one in facts.opened})
        for one in facts.made_with:
            known = session.references.made_with.setdefault(one.name, [])
            known += [value for value in one.values if value not in known]
        session.facts.update({one.name: one.values[0] for one in facts.device})
        if unit.case == LEDGER:
            return
        session.results[(unit.case, unit.dtype, unit.mode)] = part.result.rows
        session.covered += part.covered
        session.invalid += part.result.invalid
        take_over(session.looked, part.result)

    def _bury(self, unit: Unit, death: Death) -> None:
        """Rows for a unit in which the candidate died: none of them passes."""
        session = self.session
        case = next(one for one in session.cases if one.name == unit.case)
        schedule = session.schedule(case, mode=unit.mode)
        bundle = session.references.open(case, unit.dtype)
        place = (unit.case, unit.dtype, unit.mode)
        session.results[place] = rows_of(schedule, bundle, *place, death)
        session.covered.append(coverage_of(schedule, bundle, *place))

    def _resumption(self) -> Mapping[str, object]:
        """For provenance: what was not computed by this process's workers, and what again."""
        facts = [self.parts[number].facts for number in sorted(self.resumed)]
        found: dict[str, object] = {}
        if facts:
            names = [f"{one.unit.name} (finished {one.when})" for one in facts]
            found["resumed"] = [f"{len(facts)} of {len(self.units)} parts", *names]
        return {**found, "damaged parts": self.damaged} if self.damaged else found


def take_over(looked: LookedInto, part: RunResult) -> None:
    """Keep of what a unit was looked into for what one process would have kept.

    A worker begins anew with what is nearest to its gate, so it may have looked at more.
    """
    rows = looked.wanted(chosen(part.rows))
    if not rows:
        return
    wanted = {(row.point, row.firing) for row in rows}
    looked.details += [one for one in part.details if (one.point, one.firing) in wanted]
    failing = {row.point for row in part.rows if row.verdict is not Verdict.PASS}
    told = failing | {row.point for row in rows}
    looked.inputs.update({k: v for k, v in part.inputs.items() if k not in looked.inputs})
    looked.sources.update({k: v for k, v in part.sources.items()
                           if k in told and k not in looked.sources})  # fmt: skip
