"""What a capture finds out about the reference: hooks that change it, runs that do not repeat."""

from functools import cache, wraps

import pytest
import torch

from parity.adapters.torch_execution import Called
from parity.adapters.torch_proofs import HOOKS, RUNS, difference, prove
from parity.adapters.torch_recording import hooked
from parity.adapters.torch_reference import TorchReference
from parity.core.numerics import precision
from parity.core.points import Point
from parity.core.rows import Kind
from parity.core.store import BundleWriter
from parity.session import Session
from parity.settings import Settings


class Part(torch.nn.Module):
    """A linear layer that can be made to repeat itself badly, or to feel hooks."""

    def __init__(self, defect):
        super().__init__()
        torch.manual_seed(0)
        self.linear, self.defect = torch.nn.Linear(4, 4), defect

    def forward(self, x):
        out = self.linear(x)
        if self.defect == "random":
            return out + torch.rand(()) * 1e-6
        if self.defect == "feels hooks" and self._forward_hooks:
            return out * (1 + 1e-6)
        return out


class Toy(torch.nn.Module):
    """As the reference, with its modules below ``model``."""

    def __init__(self, defect):
        super().__init__()
        self.model = torch.nn.ModuleDict({"part": Part(defect)})

    def forward(self, x):
        return self.model["part"](x)


class Looking:
    """A visitor that changes nothing."""

    def __init__(self):
        self.groups = {"part": [Point("part", "text", Kind.FLOAT, "part")]}

    def before(self, name, named):
        return named

    def after(self, name, results):
        return results


def proven(defect):
    toy, x = Toy(defect), torch.ones(2, 4)

    def run():
        with torch.no_grad():
            return [Called([[1]], None, [toy(x), toy(2 * x)])]

    with hooked(toy, Looking()):
        seen = run()
    return {proof.claim: proof for proof in prove(seen, run)}


def test_a_sound_model_is_proven():
    found = proven(None)
    assert {claim: proof.holds for claim, proof in found.items()} == {HOOKS: True, RUNS: True}
    assert "2 forwards" in found[HOOKS].detail


def test_a_model_that_feels_hooks_is_told_from_one_that_does_not_repeat():
    hooks = proven("feels hooks")
    assert (hooks[HOOKS].holds, hooks[RUNS].holds) == (False, True)
    assert "call 0, forward 0" in hooks[HOOKS].detail
    assert "logits differ, by up to" in hooks[HOOKS].detail
    random = proven("random")
    assert (random[HOOKS].holds, random[RUNS].holds) == (False, False)
    assert "cannot be told" in random[HOOKS].detail
    assert "without hooks: call 0, forward 0" in random[RUNS].detail


def called(*logits, tokens=((1, 2),)):
    return [Called([list(row) for row in tokens], None, list(logits))]


ONES = torch.ones(2, 3)


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (called(ONES, tokens=((1, 3),)), "call 0 chose the tokens [[1, 2]] and then [[1, 3]]"),
        (called(torch.ones(3, 2)), "shape (2, 3) and then (3, 2)"),
        (called(ONES + torch.eye(2, 3) * 2**-23), "2 of 6 logits differ, by up to 1.19e-07"),
        (called(ONES * float("nan")), "6 of 6 logits differ"),
    ],
    ids=["tokens", "shape", "last bit", "nan"],
)
def test_what_differs_is_told(other, words):
    assert words in difference(called(ONES), other)


def test_bits_are_compared_and_not_values():
    nan, zero = torch.full((2,), float("nan")), torch.zeros(2)
    assert difference(called(nan), called(nan.clone())) is None
    assert difference(called(zero), called(-zero)) is not None
    narrow = torch.ones(2, dtype=torch.bfloat16)
    assert difference(called(narrow), called(narrow.clone())) is None
    with pytest.raises(ValueError, match="zip"):
        difference(called(zero, zero), called(zero))


@cache
def session():
    return Session(Settings(cases=("text-only",)))


def captured(reference):
    points = [p for p in session().declared if p.level == "block"]
    writer = BundleWriter({})
    reference.record(given(), points, writer, steps=1, blocks=False)
    return {proof.claim: proof.holds for proof in writer.proofs}


@cache
def given():
    from parity.adapters.torch_inputs import reference_inputs

    return [reference_inputs(c, session().settings.checkpoint) for c in session().cases[0].calls]


@pytest.mark.parametrize(
    ("defect", "expected"),
    [(None, {HOOKS: True, RUNS: True}), ("random", {HOOKS: False, RUNS: False}),
     ("feels hooks", {HOOKS: False, RUNS: True})],
)  # fmt: skip
def test_a_capture_records_what_it_found_and_goes_on(defect, expected):
    """One layer of the real reference is spoiled; its truth, which is another model, is not."""
    reference = TorchReference(session().settings.checkpoint, precision("fp32"))
    layer = reference.model.model.language_model.layers[1]
    forward = layer.forward

    @wraps(forward)  # hooks look at the signature
    def spoiled(*args, **kwargs):
        out = forward(*args, **kwargs)
        if defect == "random":
            return out * (1 + 1e-4 * torch.rand(()))
        return out * 1.001 if defect == "feels hooks" and layer._forward_hooks else out

    layer.forward = spoiled
    assert captured(reference) == expected
