"""Each module of a dump computed again, in float64, from what the dump says it was given.

A dump cannot be run again on the reference's inputs. But at level L0 it holds every module's own
inputs, and what a right module makes of those follows from the checkpoint. So a module is judged
on its own inputs: its error is its own, whatever came before it. How large an error is normal is
known from the reference's error at this very point, taken relative to the value's size.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import astuple, dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from parity.core.compared import padding_of
from parity.core.examine import Finding, examine
from parity.core.points import Firing
from parity.core.rows import Kind, Verdict
from parity.core.stats import Gate, Truth
from parity.core.trace import Array, Tap
from parity.core.verdict import Evidence
from parity.msprobe.imported import PATCHES, PIXELS, Imported
from parity.subjects.modules import FORMULAS, Run, call_firings, read_config
from parity.subjects.ops import Float, wide
from parity.subjects.roles import role
from parity.subjects.weights import Weights

SLACK = 2.0
"""How much larger a local ratio may be than in a forced run. There the candidate computes on the
very numbers that the reference's error was measured on; here on its own, where another token may be
the one that rounds badly. The faithful port's dumps use up to 1.16 of the gates of ``run``."""
SEQUENCE = ("hidden_states", "position_embeddings.0", "position_embeddings.1")
"""What an attention needs of the tokens before, too."""
PROJECTIONS = ("q_proj", "k_proj", "v_proj")


@dataclass
class OwnInputs:
    """The formulas of a checkpoint's modules, on one dump's inputs."""

    evidence: Evidence
    imported: Imported
    checkpoint: Path
    arrived: dict[tuple[str, int], dict[str, Float]] = field(default_factory=dict)
    """By module and firing, what has to reach the modules inside it."""

    def computed(self, firing: Firing) -> Finding | None:
        """What is wrong with a module's own work.

        ``None`` where it cannot be told: for tables and integers, and where an input is missing.
        """
        truth = self._computed(firing)
        tap = self.evidence.free.get(firing.point.name, firing.index)
        recorded = self.evidence.bundle.get(firing.point.name, firing.index)
        if truth is None or tap is None or recorded is None:
            return None
        residual = recorded.local if self._inside else recorded.local_block
        finding = self._examined(firing, tap, truth, residual)
        return replace(finding, message=f"on its own inputs, {finding.message}")

    def inside(self, firing: Firing) -> Iterator[Finding]:
        """What reached the modules inside ``firing``'s: the work of its own code.

        Known when the module was just `computed`, and given once: they are whole tensors.
        """
        for module, truth in self.arrived.pop((firing.point.name, firing.index), {}).items():
            own = self.imported.first_argument(module, firing.index)
            recorded = self.evidence.bundle.get(module, firing.index)
            if own is None or recorded is None:
                continue
            new = truth[:, -own.shape[1] :] if truth.ndim == own.ndim == 3 else truth
            residual = recorded.arrival if self._inside else None
            finding = self._examined(firing, Tap(own, ""), new, residual)
            yield replace(finding, message=f"at the input of {module}: {finding.message}")

    def before(self, firing: Firing) -> Finding | None:
        """Whether a module was given just what it has to be: another one's result.

        Which one, the reference's record shows: there the two are one tensor.
        """
        recorded = self.evidence.bundle.get(firing.point.name, firing.index)
        first = None if recorded is None else next(iter(recorded.inputs.values()), None)
        own = self.imported.first_argument(firing.point.module or "", firing.index)
        if firing.point.is_input or own is None or first is None:
            return None
        if own.dtype.kind != "f":
            return given_alike(own, self.evidence.bundle.tensor(first))
        for name, firings in self.evidence.bundle.points.items():
            tap = self.evidence.free.get(name, firing.index)
            same = firing.index < len(firings) and firings[firing.index].value == first
            if same and tap is not None and name != firing.point.name:
                finding = self._examined(firing, Tap(own, ""), wide(tap.value), None)
                message = f"its input is not the result of {name}: {finding.message}"
                return replace(finding, message=message)
        if firing.point.name == PATCHES and not any(map(self.evidence.free.fired, PIXELS.values())):
            # Pixels that are rounded by then are no point of their own.
            pixels = wide(self.evidence.bundle.tensor(first))
            finding = self._examined(firing, Tap(own, ""), pixels, None)
            return replace(
                finding, message=f"its pixels are not the reference's: {finding.message}"
            )
        return None

    @cached_property
    def _inside(self) -> bool:
        """Whether what is inside blocks is judged by itself."""
        return self.evidence.level == "module"

    @cached_property
    def _run(self) -> Run:
        config = read_config(self.checkpoint)
        return Run(Weights(self.checkpoint, self.evidence.precision, tied=config.tied), config)

    def _computed(self, firing: Firing) -> Float | None:
        """What a right module makes of its own inputs, the modules inside handing on their own."""
        point, index = firing.point, firing.index
        inputs = self._inputs(firing)
        formula = point.kind is Kind.FLOAT and not point.is_input and role(point.name) in FORMULAS
        if not formula or inputs is None:
            return None
        run = replace(self._run, given=self._given(firing) if self._inside else {}, arrived={})
        try:
            output = run.module(point.name, inputs)
        except (ValueError, IndexError):  # shapes that do not go together: seen end to end
            return None
        self.arrived[point.name, index] = run.arrived
        return output

    def _inputs(self, firing: Firing) -> dict[str, Array] | None:
        """A firing's own arguments; the reference's mask where the dump's is none to add."""
        point, index = firing.point, firing.index
        recorded = self.evidence.bundle.get(point.name, index)
        own = self.imported.arguments(point, index)
        if recorded is None:
            return None
        mask = own.get("attention_mask")
        if "attention_mask" in recorded.inputs and (mask is None or mask.dtype.kind != "f"):
            own["attention_mask"] = self.evidence.bundle.tensor(recorded.inputs["attention_mask"])
        if set(recorded.inputs) - set(own):
            return None
        if index and role(point.name) in ("text_attention", "text_block"):
            for earlier in range(
                index - 1, call_firings(self.evidence.bundle, index).start - 1, -1
            ):
                before = self.imported.arguments(point, earlier)
                if not set(SEQUENCE) <= set(before):
                    return None
                for name in SEQUENCE:
                    own[name] = np.concatenate([before[name], own[name]], axis=1)
        return own

    def _given(self, firing: Firing) -> dict[str, Float]:
        """What the modules inside handed on, as far as it is dumped."""
        given, index = {}, firing.index
        start = call_firings(self.evidence.bundle, index).start
        for name in self.evidence.free.taps:
            if not name.startswith(f"{firing.point.name}."):
                continue
            past = role(firing.point.name) == "text_attention" and name.endswith(PROJECTIONS)
            wanted = range(start if past else index, index + 1)
            taps = [self.evidence.free.get(name, one) for one in wanted]
            parts = [wide(tap.value) for tap in taps if tap is not None]
            if len(parts) == len(wanted):
                given[name] = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)
        return given

    def _examined(self, firing: Firing, tap: Tap, truth: Float, residual: str | None) -> Finding:
        """A value against its truth, under the local gate."""
        evidence = self.evidence
        recorded = evidence.bundle.points[firing.point.name][firing.index]
        stored = None if residual is None else evidence.bundle.tensor(residual)
        return examine(
            firing.point,
            recorded,
            as_truth(truth, stored, evidence.bundle.tensor(recorded.value)),
            replace(tap, dtype=recorded.dtype),
            evidence.precision,
            loosened(evidence.gates.at("local", firing.point)),
            keep=padding_of(firing, evidence),
        )


def loosened(gate: Gate) -> Gate:
    """A local gate, for errors on the candidate's own inputs."""
    return Gate(*(SLACK * figure for figure in astuple(gate)))


def given_alike(own: Array, reference: Array) -> Finding | None:
    """Whether a module was given the reference's integers, as the embedding has to be."""
    if np.array_equal(own, reference):
        return None
    told = (
        "it was given other token ids than the reference: dump the model on the case's prompt "
        "and on the tokens that the reference generates"
    )
    return Finding(Verdict.GUILTY, told)


def as_truth(truth: Float, residual: Array | None, reference: Array) -> Truth:
    """``truth`` with a reference beside it whose relative error is the recorded one's."""
    if residual is None or residual.shape != truth.shape:
        return Truth(truth)
    sizes = np.linalg.norm(truth), np.linalg.norm(wide(reference))
    scaled = wide(residual) * (sizes[0] / sizes[1] if sizes[1] else 1.0)
    return Truth(truth - scaled, scaled)
