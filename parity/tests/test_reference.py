"""The reference side: a truth that is one, hooks that change nothing, a capture that repeats."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from parity.core.numerics import precision
from parity.core.store import BundleWriter
from parity.session import Session
from parity.settings import Settings

CASES = ("single-image", "left-padded-batch", "text-only", "decoding", "second-prompt",
         "chunked-prefill")  # fmt: skip


@cache
def session():
    return Session(Settings(cases=CASES))


def case(name):
    return next(case for case in session().cases if case.name == name)


@cache
def model():
    from parity.adapters.torch_reference import load

    return load(session().settings.checkpoint, precision("fp32"))


def inputs(name):
    from parity.adapters.torch_inputs import reference_inputs

    return reference_inputs(case(name), session().settings.checkpoint)


def logits(network, name, double=False):
    import torch

    from parity.adapters.torch_truth import widen_value

    tensors = {key: torch.from_numpy(value) for key, value in inputs(name).items()}
    with torch.no_grad():
        return network(**(widen_value(tensors) if double else tensors)).logits.numpy()


def test_nothing_but_the_rotary_tables_is_narrower_than_float64_in_the_truth():
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    from parity.adapters.torch_truth import Widen, widened_copy

    class Narrow(TorchDispatchMode):
        def __init__(self):
            super().__init__()
            self.found = set()

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            result = func(*args, **(kwargs or {}))
            if isinstance(result, torch.Tensor) and result.dtype == torch.float32:
                self.found.add(func.overloadpacket.__name__)
            return result

    truth = widened_copy(model())
    with Narrow() as narrow, Widen():
        logits(truth, "single-image", double=True)
    # What the tables are made of: positions times frequencies, cosine, sine, rearranged. The
    # vision tables are float32 until they meet the float64 queries.
    tables = {"_to_copy", "mul", "cos", "sin", "split_with_sizes", "cat", "select", "unsqueeze",
              "expand", "view", "slice", "arange", "unbind", "lift_fresh"}  # fmt: skip
    assert narrow.found <= tables, narrow.found - tables
    with Narrow() as naive:
        logits(truth, "single-image", double=True)
    assert naive.found & {"rsqrt", "_softmax"}, "the check cannot see what it is there to see"


def test_the_naive_double_is_not_a_truth():
    from parity.adapters.torch_truth import Widen, widened_copy

    truth = widened_copy(model())
    naive = logits(truth, "single-image", double=True)
    with Widen():
        wide = logits(truth, "single-image", double=True)
    again = np.linalg.norm(naive - wide) / np.linalg.norm(wide)
    assert again > 1e-9
    own = np.linalg.norm(logits(model(), "single-image") - wide) / np.linalg.norm(wide)
    assert own > again / 100


def test_rms_norm_softmax_and_layer_norm_agree_with_numpy_in_longdouble():
    import torch

    from parity.adapters.torch_truth import Widen

    rng = np.random.default_rng(0)
    values = rng.standard_normal((7, 512))
    wide = np.asarray(values, np.longdouble)
    norm = model().model.language_model.norm
    weight = norm.weight.detach().double()
    twin = type(norm)(512, eps=norm.variance_epsilon).double()
    twin.weight.data = weight
    scale = np.sqrt(np.mean(wide**2, -1, keepdims=True) + np.longdouble(norm.variance_epsilon))
    with torch.no_grad(), Widen():
        got = twin(torch.from_numpy(values)).numpy()
        soft = torch.nn.functional.softmax(torch.from_numpy(values), -1, dtype=torch.float32)
    assert np.abs(got - wide / scale * weight.numpy()).max() < 1e-13 * np.abs(got).max()
    power = np.exp(wide - wide.max(-1, keepdims=True))
    assert np.abs(soft.numpy() - power / power.sum(-1, keepdims=True)).max() < 1e-15
    with torch.no_grad():
        naive = twin(torch.from_numpy(values)).numpy()
    assert np.abs(naive - got).max() > 1e-9


def test_rotary_frequencies_stay_float32():
    import torch

    buffers = dict(model().named_buffers())
    rotary = [buffer for name, buffer in buffers.items() if name.endswith("inv_freq")]
    assert rotary
    assert all(buffer.dtype == torch.float32 for buffer in rotary)


@cache
def reference():
    from parity.adapters.torch_reference import TorchReference

    return TorchReference(session().settings.checkpoint, precision("fp32"))


def captured(name):
    writer = BundleWriter({})
    reference().capture(case(name), session().declared, writer)
    return writer


@pytest.mark.parametrize("name", ["single-image", "decoding"])
def test_capturing_twice_gives_the_same_bundle(name):
    first, second = captured(name), captured(name)
    assert first.points == second.points
    assert first.tokens == second.tokens


def test_nothing_is_left_of_the_case_before():
    """The reference keeps its rope deltas, and a text has none of its own."""
    from parity.adapters.torch_reference import TorchReference

    fresh = BundleWriter({})
    TorchReference(session().settings.checkpoint, precision("fp32")).capture(
        case("text-only"), session().declared, fresh
    )
    captured("decoding")
    assert reference().model.model.rope_deltas is not None, "there is nothing that could be left"
    assert captured("text-only").points == fresh.points


def test_the_truth_of_blocks_is_left_out_where_it_is_not_asked_for():
    inputs_, whole, short = inputs("text-only"), BundleWriter({}), BundleWriter({})
    reference().record([inputs_], session().declared, whole)
    reference().record([inputs_], session().declared, short, blocks=False)
    found = [f for firings in whole.points.values() for f in firings]
    assert any(f.local_block for f in found)
    for name, firings in short.points.items():
        assert [replace(f, local_block=None) for f in whole.points[name]] == firings


def test_a_checkpoint_is_loaded_once_for_all_cases_of_a_dtype(tmp_path, monkeypatch):
    from parity.adapters import torch_reference
    from parity.job import capture_job

    loaded, original = [], torch_reference.TorchReference.__init__

    def init(self, checkpoint, precision_):
        loaded.append(precision_.name)
        original(self, checkpoint, precision_)

    monkeypatch.setattr(torch_reference.TorchReference, "__init__", init)
    settings = Settings(cases=("text-only", "marked-mask"), bundles=tmp_path)
    capture_job(settings)
    assert loaded == ["fp32"]
    made = Session(settings)
    assert all(made.references.folder(case, "fp32").exists() for case in made.cases)
    capture_job(settings)
    assert loaded == ["fp32"], "nothing was missing"


def test_capturing_changes_nothing():
    before = logits(model(), "left-padded-batch")
    writer = captured("left-padded-batch")
    recorded = writer.tensor(writer.points["lm_head"][0].value)
    assert np.array_equal(before, recorded)
    assert not any(module._forward_hooks for module in reference().model.modules())


def test_every_point_of_the_schedule_is_captured_as_often_as_declared():
    from parity.subjects import qwen2vl

    for name in ("decoding", "text-only", "second-prompt", "chunked-prefill"):
        writer = captured(name)
        expected = {}
        for firing in qwen2vl.schedule(session().declared, case(name)):
            expected[firing.point.name] = expected.get(firing.point.name, 0) + 1
        assert {point: len(f) for point, f in writer.points.items()} == expected


def test_local_truth_is_the_module_in_float64_on_the_recorded_input():
    import torch

    writer = captured("single-image")
    for name in ("visual.blocks.1.mlp.fc1", "language_model.layers.1.mlp.gate_proj", "lm_head"):
        firing = writer.points[name][0]
        module = model().get_submodule(name if name == "lm_head" else f"model.{name}")
        given = torch.from_numpy(writer.tensor(next(iter(firing.inputs.values())))).double()
        bias = None if module.bias is None else module.bias.double()
        with torch.no_grad():
            wanted = torch.nn.functional.linear(given, module.weight.double(), bias).numpy()
        value = writer.tensor(firing.value).astype(np.float64)
        truth = value + writer.tensor(firing.local)
        assert np.abs(truth - wanted).max() < 1e-13 * np.abs(wanted).max()
        assert np.abs(value - wanted).max() > 1e-10


def test_a_hook_that_fails_leaves_no_hook_behind():
    from parity.adapters import torch_recording

    class Broken(torch_recording.Recorder):
        def after(self, name, results):
            raise RuntimeError("planted")

    network = model()
    visitor = Broken(session().declared, BundleWriter({}))
    with pytest.raises(RuntimeError, match="planted"), torch_recording.hooked(network, visitor):
        logits(network, "text-only")
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in network.modules())
