"""Norms, activations, projections and residuals that are not the reference's."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from parity.hypotheses.failure import Failure
from parity.hypotheses.hypothesis import Answer, Hypothesis, recipe
from parity.subjects.config import LAYER_NORM_EPS
from parity.subjects.ops import Float, Ops
from parity.subjects.recipe import gelu, layer_norm, linear, quick_gelu, rms_norm, silu

Activation = Callable[[Ops, Float], Float]
LAYER_NORMS = ("layer_norm", "vision_block", "merger")
RMS_NORMS = ("rms_norm", "text_block")
PROJECTIONS = ("linear", "head", "vision_attention", "vision_mlp", "merger", "text_attention",
               "text_mlp", "vision_block", "text_block")  # fmt: skip
EPSILONS = (1e-5, 1e-7, 1e-8, 1e-12, 1e-3, 0.0)


def _outside(ops: Ops, x: Float, weight: Float, bias: Float) -> Float:
    centred: Float = x - ops.mean(x)
    return centred / (np.sqrt(ops.mean(centred**2)) + LAYER_NORM_EPS) * weight + bias


def _unbiased(ops: Ops, x: Float, weight: Float, bias: Float) -> Float:
    variance: Float = np.var(x, axis=-1, keepdims=True, ddof=1)
    normed: Float = (x - ops.mean(x)) / np.sqrt(variance + LAYER_NORM_EPS)
    return normed * weight + bias


def _as_rms(ops: Ops, x: Float, weight: Float, bias: Float) -> Float:
    return rms_norm(ops, x, weight, LAYER_NORM_EPS) + bias


def _layer_norms() -> Iterator[Hypothesis]:
    def one(name: str, sentence: str, norm: Callable[..., Float]) -> Hypothesis:
        return Hypothesis(name, sentence, LAYER_NORMS, recipe(layer_norm=norm))

    for eps in EPSILONS:
        yield one(f"layer-norm-eps-{eps:g}", f"LayerNorm epsilon {eps:g} instead of 1e-06",
                  lambda o, x, w, b, e=eps: o.layer_norm(x, w, b, e))  # fmt: skip
    yield one("layer-norm-eps-outside", "LayerNorm epsilon added outside the root", _outside)
    yield one("layer-norm-unbiased", "LayerNorm with the unbiased variance (n - 1)", _unbiased)
    yield one("layer-norm-mean-kept", "RMSNorm instead of LayerNorm: mean not subtracted", _as_rms)
    yield one("layer-norm-weight-plus-1", "LayerNorm weight with 1 added",
              lambda o, x, w, b: layer_norm(o, x, w + 1, b))  # fmt: skip
    yield one("layer-norm-no-weight", "LayerNorm weight left at 1",
              lambda o, x, w, b: layer_norm(o, x, np.ones_like(w), b))  # fmt: skip
    yield one("layer-norm-no-bias", "LayerNorm bias left at 0",
              lambda o, x, w, b: layer_norm(o, x, w, np.zeros_like(b)))  # fmt: skip
    yield one("layer-norm-not-loaded", "LayerNorm not loaded: weight 1 and bias 0",
              lambda o, x, w, b: layer_norm(o, x, np.ones_like(w), np.zeros_like(b)))  # fmt: skip
    yield one("layer-norm-swapped", "LayerNorm weight and bias (gamma and beta) swapped",
              lambda o, x, w, b: layer_norm(o, x, b, w))  # fmt: skip
    yield one("layer-norm-missing", "LayerNorm left out", lambda o, x, w, b: x)


def _rms_outside(ops: Ops, x: Float, weight: Float, eps: float) -> Float:
    return weight * x / (np.sqrt(ops.mean(x**2)) + eps)


def _rms_norms() -> Iterator[Hypothesis]:
    def one(name: str, sentence: str, norm: Callable[..., Float]) -> Hypothesis:
        return Hypothesis(name, sentence, RMS_NORMS, recipe(rms_norm=norm))

    for eps in EPSILONS:
        yield one(f"rms-norm-eps-{eps:g}", f"RMSNorm epsilon {eps:g} instead of the config's",
                  lambda o, x, w, _, e=eps: rms_norm(o, x, w, e))  # fmt: skip
    yield one("rms-norm-eps-outside", "RMSNorm epsilon added outside the root", _rms_outside)
    yield one("rms-norm-weight-plus-1", "RMSNorm weight with 1 added, as in Gemma",
              lambda o, x, w, e: rms_norm(o, x, w + 1, e))  # fmt: skip
    yield one("rms-norm-no-weight", "RMSNorm weight left at 1",
              lambda o, x, w, e: rms_norm(o, x, np.ones_like(w), e))  # fmt: skip
    yield one("rms-norm-mean-subtracted", "LayerNorm instead of RMSNorm: mean subtracted",
              lambda o, x, w, e: rms_norm(o, x - o.mean(x), w, e))  # fmt: skip
    yield one("rms-norm-sum", "RMSNorm over the sum of squares, not their mean",
              lambda o, x, w, e: w * x * o.rsqrt(np.sum(x**2, -1, keepdims=True) + e))  # fmt: skip
    yield one("rms-norm-missing", "RMSNorm left out", lambda o, x, w, e: x)


def tanh_gelu(ops: Ops, x: Float) -> Float:
    """The tanh approximation."""
    return 0.5 * x * (1.0 + ops.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


ACTIVATIONS: dict[str, Activation] = {
    "erf GELU": gelu,
    "tanh GELU": tanh_gelu,
    "quick GELU": quick_gelu,
    "SiLU": silu,
    "ReLU": lambda ops, x: np.maximum(x, 0),
    "sigmoid": lambda ops, x: ops.sigmoid(x),
    "no activation": lambda ops, x: x,
}


def _activations() -> Iterator[Hypothesis]:
    places = {
        "vision_activation": ("quick GELU", ("vision_mlp", "vision_block")),
        "merger_activation": ("erf GELU", ("merger",)),
        "text_activation": ("SiLU", ("text_mlp", "text_block")),
    }
    for choice, (right, roles) in places.items():
        for wrong, function in ACTIVATIONS.items():
            if wrong != right:
                name = f"activation-{wrong.lower().replace(' ', '-')}"
                sentence = f"{wrong} instead of {right}"
                yield Hypothesis(name, sentence, roles, recipe(**{choice: function}))


def _no_bias(ops: Ops, x: Float, weight: Float, bias: Float | None) -> Float:
    return linear(ops, x, weight, None)


def _bias_twice(ops: Ops, x: Float, weight: Float, bias: Float | None) -> Float:
    return linear(ops, x, weight, None if bias is None else 2 * bias)


def _transposed(ops: Ops, x: Float, weight: Float, bias: Float | None) -> Float:
    rows, columns = weight.shape
    # Where it is not square: its numbers read as a matrix of the other shape.
    other = weight.T if rows == columns else weight.reshape(columns, rows).T
    return linear(ops, x, other, bias)


def _projections() -> Iterator[Hypothesis]:
    def one(name: str, sentence: str, function: Callable[..., Float]) -> Hypothesis:
        return Hypothesis(name, sentence, PROJECTIONS, recipe(linear=function))

    yield one("bias-dropped", "a bias dropped", _no_bias)
    yield one("bias-twice", "a bias added twice", _bias_twice)
    yield one("weight-transposed", "a weight matrix transposed", _transposed)
    yield one("weight-missing", "a weight matrix left at 0 (not loaded)",
              lambda o, x, w, b: linear(o, x, np.zeros_like(w), b))  # fmt: skip


def _gates() -> Iterator[Hypothesis]:
    def one(name: str, sentence: str, gate: Callable[..., Float]) -> Hypothesis:
        return Hypothesis(name, sentence, ("text_mlp", "text_block"), recipe(gate=gate))

    yield one("gate-up-swapped", "gate and up projections swapped: the activation on up",
              lambda o, gate, up, activate: gate * activate(o, up))  # fmt: skip
    yield one("gate-missing", "the gate left out", lambda o, gate, up, activate: up)
    yield one("up-missing", "the up projection left out",
              lambda o, gate, up, activate: activate(o, gate))  # fmt: skip
    yield one("gate-both-activated", "both gate and up activated",
              lambda o, gate, up, activate: activate(o, gate) * activate(o, up))  # fmt: skip
    yield one("gate-product-activated", "the activation after the product of gate and up",
              lambda o, gate, up, activate: activate(o, gate * up))  # fmt: skip


def _residuals() -> Iterator[Hypothesis]:
    blocks = ("vision_block", "text_block")
    for part in ("attention", "mlp"):
        for name, sentence, add in (
            ("residual-missing", "the residual around {} left out", lambda x, n, update: update),
            (
                "residual-normed",
                "the residual around {} taken after the norm, not before",
                lambda x, normed, update: normed + update,
            ),
            ("residual-twice", "the residual around {} added twice", lambda x, n, u: 2 * x + u),
            ("update-missing", "the update of {} left out", lambda x, n, update: x),
            ("update-subtracted", "the update of {} subtracted", lambda x, n, update: x - update),
        ):
            answer = recipe(**{f"add_{part}": add})
            yield Hypothesis(f"{name}-{part}", sentence.format(part), blocks, answer)


def _tied(failure: Failure) -> Answer:
    """The head, had it the embedding's weight."""
    run = failure.run
    weights = type(run.weights)(failure.checkpoint, failure.precision, tied=True)
    return failure.computed(run=replace(run, weights=weights))


HYPOTHESES = (
    *_layer_norms(),
    *_rms_norms(),
    *_activations(),
    *_projections(),
    *_gates(),
    *_residuals(),
    Hypothesis("head-tied", "the head tied to the embedding", ("head",), _tied),
)
