"""Every module of Qwen2-VL in NumPy float64, from its own inputs and the checkpoint alone.

Nothing of the port or of the reference's code is used: this is what proves the float64 truths,
and what variants of a module are tried with. Inputs are named as in bundles: ``*`` is the first
argument whatever its name; members of a tuple have a number each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import numpy as np

from parity.core.errors import ParityError
from parity.core.store import Bundle
from parity.core.trace import Array
from parity.subjects import modules_text, modules_vision
from parity.subjects.config import Config, read_config
from parity.subjects.ops import EXACT, Float, Ops, wide
from parity.subjects.recipe import RIGHT, Recipe
from parity.subjects.roles import role
from parity.subjects.weights import Weights

__all__ = ["EXACT", "RIGHT", "Config", "Ops", "Recipe", "Run", "Weights", "compute",
           "firing_inputs", "inner_outputs", "read_config"]  # fmt: skip

Inputs: TypeAlias = Mapping[str, Array]


@dataclass(frozen=True)
class Run:
    """One computation: with what, and what became of the modules inside."""

    weights: Weights
    config: Config
    ops: Ops = EXACT
    recipe: Recipe = RIGHT
    recipes: Mapping[str, Recipe] = field(default_factory=dict)
    """Other choices of single modules, with all that is inside them."""
    given: Mapping[str, Float] = field(default_factory=dict)
    """Outputs that modules inside hand on instead of their own, as in the forced run."""
    arrived: dict[str, Float] = field(default_factory=dict)
    """First input of every module inside, as it reached it."""

    def module(self, name: str, inputs: Inputs) -> Float:
        """The output of the module ``name``.

        Raises:
            ParityError: there is no such module, or an input is missing.
        """
        formula = FORMULAS.get(role(name))
        if formula is None:
            known = ", ".join(FORMULAS)
            raise ParityError(f"{name} is not computed in NumPy; modules are: {known}")
        run = replace(self, recipe=self.recipes[name]) if name in self.recipes else self
        try:
            return formula(run, name, inputs)
        except KeyError as error:
            raise ParityError(f"{name} needs the input {error}; it has {sorted(inputs)}") from error

    def inner(self, name: str, x: Float, **more: Array) -> Float:
        """The output of a module inside another one, whose first input is ``x``."""
        self.arrived[name] = x
        if name in self.given:
            return self.given[name]
        return self.module(name, {"*": x, "hidden_states": x, **more})


Formula: TypeAlias = Callable[[Run, str, Inputs], Float]


def compute(
    module: str, inputs: Inputs, weights: Weights, config: Config, ops: Ops = EXACT
) -> Float:
    """The output of one module, float64.

    Args:
        module: canonical name, such as ``visual.blocks.1.attn``.
        inputs: its arguments, as `firing_inputs` gives them. A decoder layer or its attention
            may have more tokens than its mask has rows: then the last ones are new, and the
            output is theirs.
        weights: of the checkpoint.
        config: of the checkpoint.
        ops: the primitives.

    Raises:
        ParityError: there is no such module, or an input is missing.
    """
    return Run(weights, config, ops).module(module, inputs)


def firing_inputs(bundle: Bundle, point: str, index: int) -> dict[str, Array]:
    """The reference's inputs of one firing of a module, named as in the bundle.

    A decoding step attends to the tokens before it, whose keys and values follow from what the
    module was given then: its hidden states and tables are those of all firings so far in this
    call of the model.

    Raises:
        ParityError: the bundle has no such firing.
    """
    recorded = bundle.get(point, index)
    if recorded is None:
        raise ParityError(f"{bundle.folder} has no firing {index} of {point}")
    inputs = {name: bundle.tensor(stored) for name, stored in recorded.inputs.items()}
    if index and role(point) in ("text_attention", "text_block"):
        earlier = bundle.points[point][call_firings(bundle, index).start : index]
        for name in ("hidden_states", "position_embeddings.0", "position_embeddings.1"):
            parts = [bundle.tensor(firing.inputs[name]) for firing in earlier]
            inputs[name] = np.concatenate([*parts, inputs[name]], axis=1)
    return inputs


def call_firings(bundle: Bundle, index: int) -> range:
    """The decoder's firings in the call of the model that its ``index``-th one belongs to."""
    steps = len(bundle.tokens[0][0]) if bundle.tokens else 0
    each = bundle.chunks + steps  # a prompt's parts, then a step a token
    start = index - index % each
    return range(start, start + each)


def inner_outputs(bundle: Bundle, module: str, index: int) -> dict[str, Float]:
    """What the modules inside ``module`` handed on in the reference, for `Run.given`.

    Projections inside a decoder's attention come with the tokens before, as `firing_inputs`.
    """
    outputs = {}
    for name, firings in bundle.points.items():
        if name.startswith(f"{module}.") and index < len(firings):
            past = role(module) == "text_attention" and not name.endswith(".o_proj")
            first = call_firings(bundle, index).start if past else index
            wanted = firings[first : index + 1]
            parts = [wide(bundle.tensor(firing.value)) for firing in wanted]
            outputs[name] = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)
    return outputs


def _linear(run: Run, name: str, inputs: Inputs) -> Float:
    """``[..., in]`` to ``[..., out]``."""
    weight, bias = run.weights(name), run.weights.get(name, "bias")
    return run.recipe.linear(run.ops, wide(inputs["*"]), weight, bias)


def _layer_norm(run: Run, name: str, inputs: Inputs) -> Float:
    """``[..., E]`` to the same."""
    weight, bias = run.weights(name), run.weights(name, "bias")
    return run.recipe.layer_norm(run.ops, wide(inputs["*"]), weight, bias)


def _rms_norm(run: Run, name: str, inputs: Inputs) -> Float:
    """``[..., H]`` to the same."""
    eps = run.config.rms_norm_eps
    return run.recipe.rms_norm(run.ops, wide(inputs["*"]), run.weights(name), eps)


FORMULAS: dict[str, Formula] = {
    "layer_norm": _layer_norm,
    "rms_norm": _rms_norm,
    "linear": _linear,
    "head": _linear,
    **modules_vision.FORMULAS,
    **modules_text.FORMULAS,
}
"""How a module of each role is computed."""
