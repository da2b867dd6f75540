"""A point that fails on clean inputs, and the value in which it shows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from parity.core.cases import Case
from parity.core.compared import both
from parity.core.numerics import FORMATS, Format, Precision
from parity.core.points import Point
from parity.core.rows import Comparison, Kind
from parity.core.sampling import Masks, kept_of
from parity.core.stats import Truth, compare
from parity.core.store import Bundle
from parity.core.tolerance import Gates
from parity.core.trace import Array, Trace
from parity.subjects.modules import (
    RIGHT,
    Recipe,
    Run,
    call_firings,
    firing_inputs,
    inner_outputs,
    read_config,
)
from parity.subjects.ops import Float, wide
from parity.subjects.weights import Weights


@dataclass(frozen=True)
class Wrong:
    """One value that the candidate got wrong."""

    where: str
    """The point itself, or the module inside it that the value reached."""
    candidate: Array
    reference: Array
    residual: Array | None = None
    """Truth minus reference; ``None`` where the reference is the truth."""
    base: Array | None = None
    """What a residual block adds its update to."""
    keep: NDArray[np.bool_] | None = None
    """Tokens that count; ``None`` for all."""

    @cached_property
    def truth(self) -> Float:
        """What is right, float64."""
        right = wide(self.reference)
        return right if self.residual is None else right + wide(self.residual)

    def against(self, value: Float, dtype: Format, failure: Failure) -> Comparison:
        """The candidate judged as if ``value`` were the truth, the reference's error as it is."""
        own_error = wide(self.reference) - self.truth
        truth = Truth(value + own_error, -own_error, base=self.base)
        gate = failure.gates.at("local", failure.point)
        return compare(self.candidate, truth, dtype, gate, candidate_base=self.base, keep=self.keep)


@dataclass(frozen=True)
class Failure:
    """Everything there is to find out why a firing of a point is wrong on clean inputs."""

    point: Point
    index: int
    case: Case
    bundle: Bundle
    forced: Trace
    free: Trace
    """For what the processor hands on, which has no clean inputs."""
    precision: Precision
    gates: Gates
    checkpoint: Path
    level: str = "module"
    padding: NDArray[np.bool_] | None = None
    sampled: Masks = field(default_factory=dict)
    """Of which rows there are truths; see `Evidence`."""

    @cached_property
    def dtype(self) -> Format:
        """What the value is rounded to."""
        recorded = self.bundle.points[self.point.name][self.index]
        return FORMATS.get(recorded.dtype, self.precision.format)

    @cached_property
    def wrong(self) -> Wrong | None:
        """The first value that is wrong: what reached a module inside, or the point's own."""
        seen = [*self._arrivals(), *self._own()]
        return next((value for value in seen if self.fails(value)), None)

    def fails(self, value: Wrong) -> bool:
        """Whether a value is wrong as such."""
        if self.point.kind in (Kind.DISCRETE, Kind.EXACT):
            return not np.array_equal(value.candidate, value.reference)
        if value.candidate.shape != value.reference.shape or not value.candidate.size:
            return False
        return not value.against(value.truth, self.dtype, self).ok

    def _own(self) -> Iterator[Wrong]:
        """The point's own value."""
        trace = self.free if self.point.module is None else self.forced
        tap = trace.get(self.point.name, self.index)
        recorded = self.bundle.get(self.point.name, self.index)
        if tap is None or recorded is None:
            return
        residual = recorded.local if self.level == "module" else recorded.local_block
        base = recorded.inputs.get(self.point.forced[0]) if self.point.base else None
        base_value = None if base is None else self.bundle.tensor(base)
        yield self._wrong(self.point.name, tap.value, recorded.value, residual, base_value)

    def _arrivals(self) -> Iterator[Wrong]:
        """What reached the modules inside the point."""
        for (name, index), tap in self.forced.arrivals.items():
            recorded = self.bundle.get(name, index)
            if index != self.index or not name.startswith(f"{self.point.name}.") or not recorded:
                continue
            first = next(iter(recorded.inputs.values()))
            yield self._wrong(name, tap.value, first, recorded.arrival)

    def _wrong(
        self,
        where: str,
        candidate: Array,
        stored: str,
        truth: str | None,
        base: Array | None = None,
    ) -> Wrong:
        """A value with what the bundle has of it; where it has no truth, the reference is it."""
        reference = self.bundle.tensor(stored)
        residual = None if truth is None else self.bundle.tensor(truth)
        padding = self.padding if self.point.tokens and self.index == 0 else None
        judged = self.point.kind is Kind.FLOAT
        kept = kept_of(reference.shape, self.sampled) if judged else None
        if kept is not None and residual is not None:
            residual = np.where(kept[..., None], residual, residual.dtype.type(0))
        return Wrong(where, candidate, reference, residual, base, both(kept, padding))

    @cached_property
    def call(self) -> int:
        """The call of the model that it happened in, from 0."""
        if self.point.stage == "preprocessing":
            return self.index
        if self.point.stage == "vision":
            return self.index // len(self.case.modalities)
        every = call_firings(self.bundle, self.index)
        return every.start // len(every)

    @cached_property
    def step(self) -> int:
        """The decoding step that it happened in; 0 is the prompt."""
        return max(
            0, self.index - call_firings(self.bundle, self.index).start - self.bundle.chunks + 1
        )

    def value(self, name: str, index: int = 0) -> Array | None:
        """The reference's value of any point, if it has that firing."""
        recorded = self.bundle.get(name, index)
        return None if recorded is None else self.bundle.tensor(recorded.value)

    @cached_property
    def run(self) -> Run:
        """The module as the reference has it, on the reference's inputs."""
        config = read_config(self.checkpoint)
        weights = Kept(self.checkpoint, self.precision, tied=config.tied)
        module = self.level == "module"
        given = inner_outputs(self.bundle, self.point.name, self.index) if module else {}
        return Run(weights, config, given=given)

    @cached_property
    def parts(self) -> tuple[str, ...]:
        """Modules inside that compute for themselves: none where the reference's stand in."""
        if self.run.given:
            return ()
        run = replace(self.run, arrived={})
        run.module(self.point.name, self._inputs)
        return tuple(run.arrived)

    def computed(
        self, recipe: Recipe = RIGHT, run: Run | None = None, part: str | None = None
    ) -> Float | None:
        """What the wrong value would be, were ``recipe`` what the module does.

        Args:
            recipe: the choices to try.
            run: with other weights; ``None`` for the right ones.
            part: the module inside that alone makes them; ``None`` for all.
        """
        run = replace(run or self.run, arrived={})
        changed = {"recipe": recipe} if part is None else {"recipes": {part: recipe}}
        run = replace(run, **changed)
        output = run.module(self.point.name, self._inputs)
        if self.wrong is None or self.wrong.where == self.point.name:
            return output
        return run.arrived.get(self.wrong.where)

    @cached_property
    def _inputs(self) -> dict[str, Array]:
        return firing_inputs(self.bundle, self.point.name, self.index)


class Kept(Weights):
    """Weights that are read once, since many hypotheses need the same."""

    def get(self, module: str, name: str) -> Float | None:
        """As `Weights.get`."""
        found: dict[tuple[str, str], Float | None] = self.__dict__.setdefault("found", {})
        if (module, name) not in found:
            found[module, name] = super().get(module, name)
        return found[module, name]
