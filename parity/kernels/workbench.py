"""One firing of a module, computed again in float64, with kernels in the place of primitives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from parity.core.numerics import FORMATS, Format, Precision
from parity.core.points import Point
from parity.core.store import Bundle
from parity.core.trace import Array
from parity.kernels.device import Device
from parity.kernels.measure import Probe
from parity.subjects.modules import (
    FORMULAS,
    RIGHT,
    Config,
    Ops,
    Recipe,
    Run,
    Weights,
    firing_inputs,
    inner_outputs,
)
from parity.subjects.ops import Float

COMPUTED = frozenset(FORMULAS) - {"embedding"}
"""Roles of modules that are computed again; looking up a table takes no primitive."""
ATTENTION = frozenset({"vision_attention", "text_attention"})
BLOCKS = frozenset({"vision_block", "text_block"})
PRODUCTS = frozenset({"linear", "head", "patch_embed"})
NARROW_ATTENTION = {"ascend-mixed": FORMATS["float16"]}
"""Policies whose attention computes in another dtype than the rest."""
LARGEST = 2**25
"""Numbers in the largest value or matrix of what is computed again, 256 MiB; no module of more is,
nor are more modules of one run than have so many together."""


@dataclass(frozen=True)
class Workbench:
    """What modules are computed again with, in one precision."""

    device: Device
    precision: Precision
    weights: Weights
    config: Config
    points: Sequence[Point]
    """Those at which the forced run handed on the reference's values."""

    def compute(
        self, bundle: Bundle, point: Point, index: int, ops: Ops, recipe: Recipe = RIGHT
    ) -> dict[str, Float]:
        """One firing of a module as in the forced run: on the reference's inputs, outside and in.

        Args:
            bundle: the reference's record.
            point: of the module.
            index: which firing.
            ops: the primitives.
            recipe: what the module makes of them.

        Returns:
            Its output by its own name, and by the name of each module inside what reached it.
        """
        handed_on = {inner.name for inner in self.points}
        outputs = inner_outputs(bundle, point.name, index)
        given = {name: value for name, value in outputs.items() if name in handed_on}
        run = Run(self.weights, self.config, ops, recipe, given=given)
        output = run.module(point.name, firing_inputs(bundle, point.name, index))
        return {point.name: output, **run.arrived}

    @property
    def handed_on(self) -> str:
        """Full name of the dtype that modules hand on."""
        return self.precision.format.name

    def size(self, bundle: Bundle, point: Point, index: int) -> int:
        """Numbers in the largest value or matrix that computing a firing again takes."""
        inputs = firing_inputs(bundle, point.name, index)
        output = bundle.tensor(bundle.points[point.name][index].value)
        if point.role in PRODUCTS:
            return int(next(iter(inputs.values())).shape[-1] * output.shape[-1])
        inside = any(one.name.startswith(f"{point.name}.") for one in self.points)
        if point.role in ATTENTION or (point.role in BLOCKS and not inside):
            return self._scores(point.stage == "vision", inputs, output)
        return output.size

    def probe(self, name: str, point: Point) -> Probe:
        """The device's kernel of the primitive ``name``, as called inside ``point``."""
        return Probe(self.device, name, self.format_in(point).name)

    def format_in(self, point: Point) -> Format:
        """What values are rounded to inside ``point``."""
        narrow = NARROW_ATTENTION.get(self.precision.name) if point.role in ATTENTION else None
        return narrow or self.precision.format

    def _scores(self, vision: bool, inputs: Mapping[str, Array], output: Array) -> int:
        """How many scores attention has, of all segments as if they saw each other."""
        queries, keys = output.shape[-2], inputs["hidden_states"].shape[-2]
        heads = self.config.vision_heads if vision else self.config.heads
        return heads * queries * keys * (output.size // (queries * output.shape[-1]))
