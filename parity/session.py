"""One run: which cases and dtypes, where the reference's bundle is, what became of every point."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any

import numpy as np

from parity.check_settings import check_settings
from parity.core.cases import Case, load_cases, select_cases
from parity.core.coverage import Coverage, cover
from parity.core.death import COMPARING
from parity.core.errors import ParityError
from parity.core.holes import matching
from parity.core.looked_into import LookedInto
from parity.core.modes import with_bits
from parity.core.numerics import precision
from parity.core.overrides import Override, check_overrides, load_overrides
from parity.core.points import STAGES, Firing, Point
from parity.core.rows import Row, ran_in
from parity.core.store import Bundle
from parity.core.tolerance import Gates, load_gates
from parity.core.unsupported import unsupported
from parity.core.verdict import Evidence, judge
from parity.device.choice import check_device, judged_as
from parity.execution import Execution
from parity.explained import explained
from parity.portable.references import PortableReferences
from parity.proofs import (
    everything_tapped,
    inputs_agree,
    looking_changes_nothing,
    proven_at_capture,
    record_unchanged,
    reference_against_itself,
)
from parity.references import References
from parity.settings import Settings


@dataclass
class Session:
    """Runs each case in each dtype and mode once, when first asked for, and keeps its rows.

    Where a mode can be named and is not, the first of the settings' modes is meant.
    """

    settings: Settings
    say: Callable[[str], None] = lambda line: None
    """Called with a line for the user when something takes long."""
    doing: Callable[[str], None] = lambda step: None
    """Called with what is about to be done."""
    gates: Gates | None = None
    """Instead of each dtype's own."""
    observe: Callable[[Evidence], None] = lambda evidence: None
    """Called with what a run recorded, before it is let go: for other ways of judging it."""
    results: dict[tuple[str, str, str], list[Row]] = field(default_factory=dict)
    """The rows by case, dtype and mode."""
    failures: dict[tuple[str, str, str], ParityError] = field(default_factory=dict)
    """Runs that could not be made."""
    prove: bool = False
    """Whether every run proves itself first; measuring gates and planting faults do without."""
    look_into: bool = False
    """Whether to keep, for the report, where the errors of the rows that matter most are."""
    selected: Collection[tuple[str, str, str]] | None = None
    """(case, dtype, mode) of everything that will be run; ``None``: all that the settings name."""
    invalid: list[str] = field(default_factory=list)
    """Proofs that failed."""
    covered: list[Coverage] = field(default_factory=list)
    """What was compared, one entry a case, dtype and mode."""
    looked: LookedInto = field(default_factory=LookedInto)
    facts: dict[str, str] = field(default_factory=dict)
    """What the candidate said of its device, where it ran in another process."""

    @cached_property
    def cases(self) -> list[Case]:
        """The selected cases."""
        return select_cases(load_cases(self.settings.cases_file), self.settings.cases)

    @cached_property
    def references(self) -> References:
        """The reference's records."""
        kind = References if self.settings.bundle is None else PortableReferences
        return kind(self.settings, lambda line: self.say(line))

    @property
    def declared(self) -> list[Point]:
        """Every point at module level."""
        return self.references.declared

    def execution(self, mode: str | None = None) -> Execution:
        """The candidate in ``mode``."""
        mode = mode or self.settings.mode
        if mode not in self._executions:
            self._executions[mode] = Execution(
                self.settings, mode, self.declared, self._loaded, self.doing
            )
        return self._executions[mode]

    @property
    def points(self) -> list[Point]:
        """The points that are seen in the first mode."""
        return self.execution().points

    def schedule(
        self, case: Case, stages: Collection[str] = STAGES, mode: str | None = None
    ) -> list[Firing]:
        """The firings of ``case`` in ``stages``, in execution order."""
        return self.execution(mode).schedule(case, stages)

    def candidate(self, dtype: str) -> Any:
        """The candidate in ``dtype``, in the first mode."""
        return self.execution().candidate(dtype)

    def validate(self, judging: bool = True) -> None:
        """Check every setting that can be checked without running anything.

        Args:
            judging: whether gates are needed; capturing and measuring gates do without.

        Raises:
            ParityError: one names something that is not there.
        """
        _ = self.cases, self.declared
        check_settings(self.settings)
        if judging:
            for dtype in self.settings.dtypes:
                self.gates_for(dtype, "")
            check_overrides(self.overrides, self.declared, load_cases(self.settings.cases_file))
        check_device(self.settings)
        for mode in self.settings.modes:
            matching(self.settings.without, self.execution(mode).replaceable)

    def run(
        self, case: Case, dtype: str, stages: Collection[str] = STAGES, mode: str | None = None
    ) -> list[Row]:
        """The rows of one case in one dtype and mode: both executions of the candidate, judged.

        Raises:
            ParityError: the reference or the candidate cannot be run at all.
        """
        mode = mode or self.settings.mode
        key = (case.name, dtype, mode)
        if key in self.failures:
            raise self.failures[key]  # what failed is not tried again for every test
        if key not in self.results:
            try:
                self.results[key] = self._run(case, dtype, stages, mode)
            except ParityError as error:
                self.failures[key] = error
                raise
        return self.results[key]

    @cached_property
    def overrides(self) -> tuple[Override, ...]:
        """Those of the overrides file, if the settings name one."""
        path = self.settings.overrides
        return () if path is None else load_overrides(path)

    def gates_for(self, dtype: str, case: str) -> Gates:
        """The gates of ``dtype`` on the run's device, with what overrides them in ``case``."""
        settings = self.settings
        gates = self.gates or self._gates.get(dtype)
        if gates is None:
            gates = load_gates(dtype, judged_as(settings), settings.gates)
            self._gates[dtype] = gates
        fitting = [one for one in self.overrides if one.applies(dtype, settings.device, case)]
        return replace(gates, overrides=tuple(fitting))

    def evidence(
        self, case: Case, dtype: str, stages: Collection[str] = STAGES, mode: str | None = None
    ) -> Evidence:
        """Both executions of the candidate, not judged yet, beside the reference's record.

        Raises:
            ParityError: the reference or the candidate cannot be run at all.
        """
        from parity.faults import planted

        with planted(self.settings.plant):
            return self._execute(case, dtype, stages, mode or self.settings.mode)

    def _run(self, case: Case, dtype: str, stages: Collection[str], mode: str) -> list[Row]:
        from parity.faults import planted
        from parity.kernel_ledger import with_arithmetic, with_kernels

        reason = self.execution(mode).lacks(dtype)
        if reason is not None:
            return unsupported(self.schedule(case, stages, mode), case.name, dtype, mode, reason)
        thorough = self.prove and self.proven_on(dtype, mode) == case.name
        # The candidate is loaded under the fault too: some faults are in the loading of weights.
        with planted(self.settings.plant):
            evidence = self._execute(case, dtype, stages, mode)
            free = self.execution(mode).free
            again = partial(free, case, dtype, evidence.bundle, stages, [])
            failed = [*looking_changes_nothing(evidence.free, again)] if thorough else []
            several = len(self.settings.modes) > 1
            as_blocks = self.execution(mode).as_blocks(evidence, stages) if several else evidence
        self.doing(COMPARING)
        self.observe(evidence)
        schedule = self.schedule(case, stages, mode)
        rows = judge(schedule, evidence)
        covered = cover(schedule, self.schedule(case, mode=mode), evidence, rows)
        self.covered.append(replace(covered, repeated=thorough))
        if self.prove:
            failed += everything_tapped(schedule, evidence)
            failed += proven_at_capture(evidence.bundle)
            failed += inputs_agree(evidence, rows)
            failed += reference_against_itself(schedule, evidence) if thorough else []
            failed += record_unchanged(schedule, evidence)  # last, so that it covers all of them
            self.invalid += [f"{case.name} {ran_in(dtype, mode)}: {reason}" for reason in failed]
        rows = with_arithmetic(self, with_kernels(self, rows, evidence), evidence)
        if several:
            rows = with_bits(rows, schedule, evidence, as_blocks, self.in_all_modes)
        return explained(self, rows, evidence, case, schedule)

    @cached_property
    def in_all_modes(self) -> set[str]:
        """The points that every mode of the settings has."""
        names = ({p.name for p in self.execution(mode).points} for mode in self.settings.modes)
        return set.intersection(*names)

    def _execute(self, case: Case, dtype: str, stages: Collection[str], mode: str) -> Evidence:
        """Both executions of the candidate, beside the reference's record."""
        gates, execution = self.gates_for(dtype, case.name), self.execution(mode)
        bundle = self.references.open(case, dtype)
        return Evidence(
            case=case.name,
            precision=precision(dtype),
            gates=gates,
            bundle=bundle,
            free=execution.free(case, dtype, bundle, stages, execution.points),
            forced=execution.forced(dtype, bundle, stages, execution.points),
            holes=execution.holes(dtype),
            level=self.settings.level_in(mode),
            mode=mode,
            padding=padding(bundle),
            sampled=self.references.sampled(bundle),
        )

    def proven_on(self, dtype: str, mode: str) -> str | None:
        """The case whose run is repeated without hooks: the one with the smallest bundle."""
        sizes = [
            (size, case.name)
            for case in self.cases
            if (self.selected is None or (case.name, dtype, mode) in self.selected)
            and (size := self.references.size(case, dtype)) is not None
        ]
        return min(sizes)[1] if sizes else None

    def device_facts(self) -> dict[str, str]:
        """What the candidate that ran says of its device; nothing if none ran, or it is silent."""
        if self.facts:
            return self.facts
        loaded = next(iter(self._loaded.values()), None)
        asked = getattr(loaded, "device_facts", None)
        try:
            return dict(asked(self.settings.device)) if asked is not None else {}
        except Exception:  # of a candidate of somebody's own: no reason to lose a finished run
            return {}

    def planting(self, fault: str) -> Session:
        """The same session with a fault planted, on the candidate that is loaded here."""
        settings = replace(self.settings, plant=fault)
        return replace(self, settings=settings, results={}, failures={}, invalid=[],
                       covered=[], looked=LookedInto(), _loaded=dict(self._loaded))  # fmt: skip

    _loaded: dict[tuple[str, str], Any] = field(default_factory=dict, repr=False)
    """The candidate that is loaded, shared by all modes."""
    _executions: dict[str, Execution] = field(default_factory=dict, init=False, repr=False)
    _gates: dict[str, Gates] = field(default_factory=dict, repr=False)
    """Those read so far."""


def padding(bundle: Bundle) -> Any:
    """True where a token of the prompt is real; ``None`` where all are."""
    firing = bundle.get("processor.attention_mask", 0)
    mask = bundle.tensor(firing.value) if firing else np.ones(1)
    return None if mask.all() else mask.astype(bool)
