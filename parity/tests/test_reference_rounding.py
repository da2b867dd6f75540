"""What rounding the weights costs: nothing where the dtype holds them, and else what NumPy says."""

import json
import shutil
from functools import cache

import ml_dtypes
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from parity.adapters.torch_inputs import reference_inputs
from parity.adapters.torch_reference import TorchReference, load_stored
from parity.adapters.torch_rounding import relative_change
from parity.adapters.torch_truth import Widen, widen_value, widened_copy
from parity.core.numerics import precision
from parity.core.store import BundleWriter
from parity.session import Session
from parity.settings import FIXTURES, Settings

CHECKPOINT = FIXTURES / "qwen2vl-tiny"
PATCHES, WORDS = "model.visual.patch_embed.proj.weight", "model.language_model.embed_tokens.weight"


@cache
def session():
    return Session(Settings(cases=("marked-mask",)))


@cache
def inputs():
    return reference_inputs(session().cases[0], CHECKPOINT)


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """The checkpoint with float32 weights that no narrower dtype holds."""
    folder = tmp_path_factory.mktemp("wide") / "checkpoint"
    shutil.copytree(CHECKPOINT, folder)
    generator = torch.Generator().manual_seed(0)
    for shard in folder.glob("*.safetensors"):
        tensors = load_file(shard)
        for name, tensor in tensors.items():
            noise = torch.randn(tensor.shape, generator=generator) * 2**-10
            tensors[name] = tensor.float() * (1 + noise)
        save_file(tensors, shard, metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"torch_dtype": "float32"}))
    return folder


@cache
def captured(checkpoint, dtype, steps=0):
    points = [point for point in session().declared if point.level == "block"]
    reference, writer = TorchReference(checkpoint, precision(dtype)), BundleWriter({})
    reference.record([inputs()], points, writer, steps=steps, blocks=False)
    return reference, writer


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_a_dtype_that_holds_every_weight_costs_nothing_and_no_run(dtype):
    reference, writer = captured(CHECKPOINT, dtype)
    assert reference.stored is None
    assert {f.weight_rounding for fs in writer.points.values() for f in fs} == {0.0}


def test_without_rounding_the_stored_weights_are_the_truths():
    """One model serves as both, which saves a copy; it is the copy, bit for bit."""
    reference = TorchReference(CHECKPOINT, precision("bf16"))
    tensors = {n: torch.from_numpy(a).bfloat16() if a.dtype == np.float32 else torch.from_numpy(a)
               for n, a in inputs().items()}  # fmt: skip
    with torch.no_grad(), Widen():
        both = [
            model(**widen_value(tensors)).logits
            for model in (reference.truth, widened_copy(reference.model))
        ]
    assert both[0].dtype == torch.float64
    assert torch.equal(*both)


def test_fp16_rounds_some_weights_of_the_fixture():
    reference, writer = captured(CHECKPOINT, "fp16", steps=1)
    assert reference.stored is not None
    costs = [f.weight_rounding for f in writer.points["lm_head"]]
    assert len(costs) == 2
    assert all(0 < cost < 1e-6 for cost in costs), "only weights under 2^-14 lose bits"


@pytest.mark.parametrize(
    ("dtype", "kind"), [("fp16", np.float16), ("bf16", ml_dtypes.bfloat16)], ids=["fp16", "bf16"]
)
def test_the_cost_is_what_numpy_says(wide, dtype, kind):
    reference, writer = captured(wide, dtype)
    assert reference.stored is not None
    weights = {n: p.detach().numpy() for n, p in load_stored(wide).named_parameters()}
    rounded = {
        n: weights[n].astype(np.float32).astype(kind).astype(float) for n in (PATCHES, WORDS)
    }
    rows = inputs()["input_ids"]
    wanted = norm(rounded[WORDS][rows] - weights[WORDS][rows]) / norm(weights[WORDS][rows])
    found = writer.points["language_model.embed_tokens"][0].weight_rounding
    assert found == pytest.approx(wanted, rel=1e-9)
    pixels = inputs()["pixel_values"].astype(kind).astype(float)
    patches = [w[PATCHES].reshape(len(w[PATCHES]), -1).T for w in (rounded, weights)]
    wanted = norm(pixels @ patches[0] - pixels @ patches[1]) / norm(pixels @ patches[1])
    found = writer.points["visual.patch_embed"][0].weight_rounding
    assert found == pytest.approx(wanted, rel=1e-6)


def norm(array):
    return float(np.linalg.norm(array))


def test_the_cost_grows_with_the_dtypes_rounding(wide):
    heads = {
        dtype: captured(wide, dtype)[1].points["lm_head"][0].weight_rounding
        for dtype in ("fp32", "fp16", "bf16")
    }
    assert heads["fp32"] == 0.0
    assert 0 < heads["fp16"] < heads["bf16"] / 3
    assert heads["bf16"] < 1


@pytest.mark.parametrize(
    ("changed", "base", "wanted"),
    [([3.0, 4.0], [3.0, 4.0], 0.0), ([3.0, 5.0], [3.0, 4.0], 0.2), ([0.0], [0.0], 0.0),
     ([1.0], [0.0], np.inf)],
)  # fmt: skip
def test_a_relative_change(changed, base, wanted):
    assert relative_change(np.array(changed), np.array(base)) == wanted


def test_a_change_that_is_no_number_is_none_of_zero():
    assert np.isnan(relative_change(np.array([np.nan]), np.array([1.0])))
