"""The methods that the self-test compares the harness with say what their originals say."""

from dataclasses import replace
from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from parity.baselines import BASELINES, closeness, cosine, mindone, msprobe
from parity.baselines.seen import Hidden, Module, Pair, Seen
from parity.selftest.hidden_states import HiddenStates
from parity.selftest.trial import WATCHED
from parity.session import Session
from parity.settings import Settings
from parity.tests import toy_model as toy

RNG = np.random.default_rng(0)
SHAPE = (6, 32)
SOUND = Hidden(np.ones((1, 7, 4), np.float32), np.ones((1, 7, 4), np.float32))


def pair(change=lambda x: x, reference=None, name="a", dtype="float32"):
    """A value and what a candidate made of it."""
    reference = RNG.standard_normal(SHAPE).astype(np.float32) if reference is None else reference
    return Pair(name, reference, dtype, np.asarray(change(reference.copy())), dtype)


def lost(name="a"):
    return Pair(name, np.ones(SHAPE, np.float32), "float32", None)


class Values:
    """Pairs in execution order, in place of a whole run."""

    def __init__(self, *pairs, modules=()):
        self._pairs, self._modules = pairs, modules

    def pairs(self):
        return iter(self._pairs)

    def modules(self):
        return iter(self._modules)


def spoiled(x, value=np.nan):
    x[0, 0] = value
    return x


WRONG = {
    "sign": lambda x: -x,
    "rows": lambda x: x[::-1],
    "nan": spoiled,
    "infinite": lambda x: spoiled(x, np.inf),
    "zero": np.zeros_like,
    "shape": lambda x: x[:-1],
}


@pytest.mark.parametrize("change", WRONG)
def test_cosine_blames_what_is_wrong_and_nothing_else(change):
    good, bad = pair(lambda x: x * (1 + 1e-3), name="good"), pair(WRONG[change], name="bad")
    assert cosine.blamed(Values(good, bad, lost("lost"))) == ["bad", "lost"]


def test_cosine_is_blind_to_a_factor_and_to_everything_beside_one_massive_channel():
    massive = RNG.standard_normal((256, 128)).astype(np.float32)
    massive[:, 5] = 6500
    noise = RNG.standard_normal(massive.shape).astype(np.float32)
    noise[:, 5] = 6500
    scaled = pair(lambda x: 3 * x)
    assert cosine.blamed(Values(scaled, pair(lambda x: noise, reference=massive))) == []
    assert cosine.cosine(np.zeros(3), np.zeros(3)) == 1
    assert cosine.cosine(np.ones(3), np.zeros(3)) == 0


@pytest.mark.parametrize("dtype", closeness.TOLERANCES)
@pytest.mark.parametrize("relative", [0.3, 0.9, 0.99, 1.01, 1.1, 3.0])
def test_closeness_is_what_pytorch_asserts(dtype, relative):
    """Off by a multiple of the tolerance, at large, small and zero numbers."""
    kind = getattr(torch, dtype)
    rtol, atol = closeness.TOLERANCES[dtype]
    for size in (0.0, 1e-6, 1.0, 1e4):
        expected = torch.full((5,), size, dtype=kind)
        off = relative * (atol + rtol * size)
        actual = (expected.double() + torch.tensor([0, off, -off, 0, 0])).to(kind)
        try:
            torch.testing.assert_close(actual, expected)
            close = True
        except AssertionError:
            close = False
        arrays = (tensor.float().numpy() for tensor in (actual, expected))
        assert closeness.all_close(*arrays, dtype) is close, (size, off)


def test_closeness_blames_the_first_that_fails_alone():
    good = pair(lambda x: x * np.float32(1 + 1e-7), name="good")
    for change in WRONG.values():
        bad = pair(change, name="bad")
        assert closeness.blamed(Values(good, bad, pair(WRONG["sign"], name="later"))) == ["bad"]
    assert closeness.blamed(Values(good)) == []
    assert closeness.blamed(Values(lost())) == ["a"]
    other = replace(good, candidate_dtype="float16")
    assert closeness.blamed(Values(other)) == ["good"]
    ids = pair(reference=np.arange(6), dtype="int64")
    assert closeness.blamed(Values(replace(ids, candidate_dtype="int32"))) == []
    assert closeness.blamed(Values(pair(lambda x: x + 1, reference=np.arange(6)))) == ["a"]


@pytest.mark.parametrize(
    ("candidate", "found"),
    [(1.049, []), (1.051, [mindone.POINT]), (np.nan, [mindone.POINT]), (None, [mindone.POINT])],
)
def test_mindones_norm(candidate, found):
    reference = np.full((1, 7, 4), 3, np.float32)
    other = None if candidate is None else reference * np.float32(candidate)
    seen = SimpleNamespace(hidden=Hidden(reference, other))
    assert mindone.blamed(seen) == found


def module(inputs, outputs, name="m"):
    return Values(modules=[Module(name, inputs, [replace(o, name=name) for o in outputs])])


def test_msprobe_blames_a_module_whose_inputs_are_close_and_output_is_not():
    close, off = lambda x: x * (1 + 1e-4), lambda x: x * (1 + 3e-3)
    assert msprobe.blamed(module([pair(close)], [pair(close)])) == []
    assert msprobe.blamed(module([pair(close)], [pair(off)])) == ["m"]
    assert msprobe.blamed(module([pair(off)], [pair(off)])) == [], "the fault came in with it"
    few = RNG.random(SHAPE) < 0.2
    assert msprobe.blamed(module([pair()], [pair(lambda x: np.where(few, x, 2 * x))])) == []


def test_msprobe_warns_where_the_cosine_falls():
    turned = pair(lambda x: np.where(RNG.random(SHAPE) < 0.2, x, -x * 0.4))
    assert cosine.cosine(*turned.both()) < 0.8
    assert msprobe.blamed(module([pair()], [turned])) == ["m"]
    assert msprobe.blamed(module([turned], [turned])) == []


def test_msprobe_blames_shapes_dtypes_and_what_is_no_number():
    for change in ("shape", "nan", "infinite"):
        assert msprobe.blamed(module([pair()], [pair(WRONG[change])])) == ["m"]
    assert msprobe.blamed(module([pair(WRONG["shape"])], [pair()])) == ["m"]
    assert msprobe.blamed(module([pair()], [replace(pair(), candidate_dtype="float16")])) == ["m"]
    both = RNG.standard_normal(SHAPE).astype(np.float32)
    both[0] = np.inf
    assert msprobe.blamed(module([], [pair(reference=both)])) == [], "the reference has it too"


def test_msprobes_first_difference_is_a_statistic_off_by_half():
    assert msprobe.first_difference(module([], [pair(lambda x: x * 1.49)])) == []
    assert msprobe.first_difference(module([], [pair(lambda x: x * 1.51)])) == ["m"]
    assert msprobe.first_difference(module([], [pair(lambda x: x[::-1])])) == []
    two = [Module(n, [], [pair(lambda x: 3 * x, name=n)]) for n in ("first", "second")]
    assert msprobe.first_difference(Values(modules=two)) == ["first"]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return toy.write(tmp_path_factory.mktemp("toy") / "bundle")


def seen_of(run):
    for firing in toy.SCHEDULE:
        if firing.point.module:
            recorded = run.bundle.points[firing.point.name][firing.index]
            given = {name: run.bundle.tensor(stored) for name, stored in recorded.inputs.items()}
            run.free.arguments[(firing.point.module, firing.index)] = given
    evidence = toy.Evidence("toy", toy.precision("fp32"), toy.GATES, run.bundle, run.free,
                            run.forced, padding=toy.PADDING)  # fmt: skip
    return Seen(evidence, toy.SCHEDULE, SOUND)


def test_every_value_is_seen_in_execution_order(bundle):
    seen = seen_of(toy.Run(bundle))
    assert [one.name for one in seen.pairs()] == [name for name, _ in toy.KEYS]
    # One firing of "blocks.0" is the module's, its parts are modules of their own.
    assert [m.name for m in seen.modules()][:3] == ["rotary", "embed", "blocks.0.norm"]


def test_what_is_padding_is_nobodys_fault(bundle):
    run = toy.Run(bundle)
    for name, _ in toy.FLOATS:
        toy.spoil(run.free, name, change=lambda x: np.where(toy.PADDING[..., None], x, 99))
    seen = seen_of(run)
    assert cosine.blamed(seen) == msprobe.first_difference(seen) == []
    toy.spoil(run.free, "head", change=lambda x: -x)
    assert cosine.blamed(seen_of(run)) == ["head"]


def test_no_method_blames_the_reference_itself(bundle):
    run = toy.Run(bundle)
    for firing in toy.SCHEDULE:
        toy.spoil(run.free, firing.point.name, firing.index,
                  lambda _, f=firing: toy.value(bundle, f.point.name, f.index))  # fmt: skip
    assert [baseline.blamed(seen_of(run)) for baseline in BASELINES] == [[] for _ in BASELINES]
    toy.stop(run.free, ("blocks.0.mlp", 0))
    blamed = [baseline.blamed(seen_of(run)) for baseline in BASELINES]
    assert all("blocks.0.mlp" in names for names in blamed if names)
    assert sum(bool(names) for names in blamed) == 4, "seven tokens of text see nothing of it"


@cache
def watched():
    session = Session(Settings(candidate=WATCHED, cases=("single-image",)), observe=EVIDENCE.append)
    session.run(session.cases[0], "fp32")
    return session


EVIDENCE = []


def test_the_ports_modules_are_given_what_the_references_are():
    session = watched()
    seen = Seen(EVIDENCE[0], session.schedule(session.cases[0]), SOUND)
    modules = {one.name: one for one in seen.modules()}
    assert {"visual.blocks.0.attn", "language_model.layers.1.mlp", "lm_head"} <= modules.keys()
    for name, one in modules.items():
        assert one.inputs, name
        assert all(p.both() is not None for p in one.inputs), name
        assert all(cosine.cosine(*p.both()) > 0.9999 for p in one.inputs), name
    assert msprobe.blamed(seen) == cosine.blamed(seen) == []


def test_the_seven_tokens_give_the_same_hidden_state_on_both_sides():
    hidden = HiddenStates(watched()).compare("fp32")
    assert hidden.reference.shape == (1, 7, 512)
    assert mindone.relative_norm(hidden.reference, hidden.candidate) < 1e-5
    assert np.ptp(hidden.reference) > 1, "not all zeros"


def test_a_port_that_stops_fails_mindones_test():
    class Stops:
        def last_hidden_state(self, *_):
            raise RuntimeError("no such operator")

    session = SimpleNamespace(candidate=lambda _: Stops(), settings=watched().settings,
                              references=watched().references)  # fmt: skip
    seen = SimpleNamespace(hidden=HiddenStates(session).compare("fp32"))
    assert mindone.blamed(seen) == [mindone.POINT]
