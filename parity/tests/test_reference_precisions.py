"""The reference in low precision: its truth against NumPy, what is shared, what is refused."""

from dataclasses import replace
from functools import cache, partial

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file

from parity.core.errors import ParityError
from parity.core.numerics import precision
from parity.core.points import Point
from parity.core.rows import Kind
from parity.core.store import BundleWriter
from parity.session import Session
from parity.settings import Settings

DTYPES = {"bf16": ml_dtypes.bfloat16, "fp16": np.float16}
approx = partial(pytest.approx, rel=1e-9)
LOW = pytest.mark.parametrize("dtype", DTYPES)


@cache
def session():
    return Session(Settings(cases=("single-image", "decoding")))


@cache
def bundle(dtype, case=0):
    return session().references.open(session().cases[case], dtype)


@cache
def weights():
    folder = session().settings.checkpoint
    return {
        k: v for shard in sorted(folder.glob("*.safetensors")) for k, v in load_file(shard).items()
    }


def weight(name, dtype):
    """A parameter by its canonical name, rounded by NumPy and not by PyTorch, as float64."""
    hub = name.replace("language_model.", "model.")
    found = next(array for key, array in weights().items() if key in (name, hub))
    return found.astype(DTYPES[dtype]).astype(np.float64)


def recorded(point, dtype, argument="*"):
    """A point's value and its first input as R had them, as float64."""
    firing = bundle(dtype).points[point][0]
    value = bundle(dtype).tensor(firing.value).astype(np.float64)
    given = firing.inputs.get(argument, firing.value)
    return firing, value, bundle(dtype).tensor(given).astype(np.float64)


def agrees(dtype, truth, own, wanted):
    """The stored truth is NumPy's, as far as a float32 residual holds it, and R's value is not."""
    noise, size = precision(dtype).format.noise, np.abs(wanted).max()
    assert np.abs(truth - wanted).max() < 2 * noise * 2.0**-22 * size
    assert np.abs(own - wanted).max() > noise / 8 * size, "the check cannot see what it looks for"


def linear(x, name, dtype, bias=True):
    wide = x @ weight(f"{name}.weight", dtype).T
    return wide + weight(f"{name}.bias", dtype) if bias else wide


@LOW
@pytest.mark.parametrize(
    ("name", "bias"),
    [("visual.blocks.1.mlp.fc1", True), ("language_model.layers.1.self_attn.k_proj", True),
     ("language_model.layers.1.mlp.down_proj", False)],
)  # fmt: skip
def test_the_local_truth_of_a_linear_layer(dtype, name, bias):
    firing, value, given = recorded(name, dtype)
    truth = value + bundle(dtype).tensor(firing.local)
    agrees(dtype, truth, value, linear(given, name, dtype, bias))


@LOW
def test_the_local_truth_of_the_norms(dtype):
    name = "language_model.layers.1.input_layernorm"
    firing, value, x = recorded(name, dtype)
    rms = np.sqrt((x * x).mean(-1, keepdims=True) + 1e-6)
    truth = value + bundle(dtype).tensor(firing.local)
    agrees(dtype, truth, value, weight(f"{name}.weight", dtype) * x / rms)
    name = "visual.blocks.1.norm1"
    firing, value, x = recorded(name, dtype)
    centred = x - x.mean(-1, keepdims=True)
    scaled = centred / np.sqrt((centred * centred).mean(-1, keepdims=True) + 1e-6)
    wanted = scaled * weight(f"{name}.weight", dtype) + weight(f"{name}.bias", dtype)
    agrees(dtype, value + bundle(dtype).tensor(firing.local), value, wanted)


def rotated(x, cos, sin):
    half = x.shape[-1] // 2
    return x * cos + np.concatenate([-x[..., half:], x[..., :half]], -1) * sin


def attended(query, key, value, mask):
    """[heads, S, hs] each."""
    scores = query @ key.swapaxes(-1, -2) / np.sqrt(query.shape[-1]) + mask
    power = np.exp(scores - scores.max(-1, keepdims=True))
    return power / power.sum(-1, keepdims=True) @ value


@LOW
def test_the_local_truth_of_the_decoders_attention(dtype):
    """What arrives at the output projection, on R's own queries, keys, values and tables."""
    name = "language_model.layers.1.self_attn"
    cos, sin = (recorded(f"language_model.rotary_emb.{t}", dtype)[1][0] for t in ("cos", "sin"))
    width = cos.shape[-1]
    heads = [recorded(f"{name}.{p}_proj", dtype)[1][0].reshape(len(cos), -1, width).swapaxes(0, 1)
             for p in "qkv"]  # fmt: skip
    query, key = (rotated(x, cos, sin) for x in heads[:2])
    each = len(query) // len(key)
    key, value = (np.repeat(x, each, 0) for x in (key, heads[2]))
    mask = np.where(np.tri(len(cos), dtype=bool), 0, -np.inf)
    wanted = attended(query, key, value, mask).swapaxes(0, 1).reshape(len(cos), -1)
    firing, _, arrived = recorded(f"{name}.o_proj", dtype)
    truth = arrived + bundle(dtype).tensor(firing.arrival)
    agrees(dtype, truth[0], arrived[0], wanted)


@LOW
def test_the_local_truth_of_the_vision_towers_attention(dtype):
    """Its tables stay float32, and so they do in the truth."""
    name = "visual.blocks.1.attn"
    tables = [recorded(f"visual.rotary_pos_emb.{t}", dtype)[1][:, None] for t in ("cos", "sin")]
    assert any((t != t.astype(DTYPES[dtype]).astype(float)).any() for t in tables)
    _, qkv, _ = recorded(f"{name}.qkv", dtype)
    width = tables[0].shape[-1]
    query, key, value = qkv.reshape(len(qkv), 3, -1, width).swapaxes(0, 1)
    query, key = (rotated(x, *tables) for x in (query, key))
    mixed = attended(*(x.swapaxes(0, 1) for x in (query, key, value)), 0.0)
    firing, _, arrived = recorded(f"{name}.proj", dtype)
    truth = arrived + bundle(dtype).tensor(firing.arrival)
    agrees(dtype, truth, arrived, mixed.swapaxes(0, 1).reshape(len(qkv), -1))


@LOW
def test_pixel_values_are_rounded_once_for_reference_and_truth(dtype):
    firing, value, given = recorded("visual.patch_embed", dtype)
    pixels = bundle(dtype).tensor(bundle(dtype).points["processor.pixel_values"][0].value)
    rounded = pixels.astype(DTYPES[dtype]).astype(np.float64)
    assert np.array_equal(given, rounded)
    assert not np.array_equal(pixels, rounded)
    kernel = weight("visual.patch_embed.proj.weight", dtype).reshape(value.shape[1], -1)
    truth = value + bundle(dtype).tensor(firing.end_to_end)
    agrees(dtype, truth, value, rounded @ kernel.T)


def test_text_tables_are_rounded_and_vision_tables_are_not():
    kinds = {
        name: firings[0].dtype
        for name, firings in bundle("bf16").points.items()
        if "rotary" in name
    }
    assert {kinds[n] for n in kinds if n.startswith("visual")} == {"float32"}
    assert {kinds[n] for n in kinds if n.startswith("language")} == {"bfloat16"}


def test_the_truth_hands_on_the_references_own_tables():
    """A rounded table is a constant of the run, as a rounded weight is."""
    import torch

    from parity.adapters.torch_recording import EndToEnd
    from parity.core.store import ReferenceFiring

    writer, rounded = BundleWriter({}), np.full((1, 2), 0.5, np.float32)
    names = {"rotary.cos": Kind.TABLE, "rotary.out": Kind.FLOAT}
    points = [Point(name, "text", kind, "rotary", f"output.{n}")
              for n, (name, kind) in enumerate(names.items())]  # fmt: skip
    for name in names:
        writer.points[name] = [ReferenceFiring(writer.add(rounded, "bfloat16"), "bfloat16")]
    exact = torch.full((1, 2), 0.501, dtype=torch.float64)
    table, value = EndToEnd(points, writer).after("rotary", [exact, exact])
    assert table.dtype == torch.float64
    assert table.eq(0.5).all()
    assert value is exact


@LOW
def test_what_is_recorded_is_of_the_dtype(dtype):
    kinds = {(f.dtype, p.split(".")[0]) for p, fs in bundle(dtype).points.items() for f in fs}
    own = precision(dtype).torch
    assert ("float32", "language_model") not in kinds
    assert {(own, "visual"), (own, "language_model"), (own, "lm_head")} <= kinds
    stored = {f.value for fs in bundle(dtype).points.values() for f in fs if f.dtype == own}
    wide = {name for name in stored if not name.endswith(own)}
    # "May attend" is a bool, made of a mask in the dtype.
    assert wide == {bundle(dtype).points["language_model.attention_mask"][0].value}


@LOW
def test_decoding_records_every_step(dtype):
    found = bundle(dtype, 1)
    ((tokens,),) = found.tokens
    assert len(tokens) == session().cases[1].decode_steps
    assert len(found.points["lm_head"]) == len(tokens) + 1


def test_the_mixed_policy_uses_the_bundle_of_bf16():
    case = session().cases[0]
    assert session().references.folder(case, "ascend-mixed") == session().references.folder(
        case, "bf16"
    )
    others = {session().references.folder(case, d) for d in ("fp32", "fp16", "bf16")}
    assert len(others) == 3


@LOW
def test_capturing_repeats(dtype):
    from parity.adapters.torch_reference import TorchReference

    writer, case = BundleWriter({}), session().cases[0]
    reference = TorchReference(session().settings.checkpoint, precision(dtype))
    reference.capture(case, session().declared, writer)
    kept = bundle(dtype).points
    assert _without_costs(writer.points) == _without_costs(kept)
    # A quotient of float64 norms, whose last bits depend on how threads share a sum.
    for name, firings in kept.items():
        costs = [firing.weight_rounding for firing in writer.points[name]]
        assert costs == [c if (c := f.weight_rounding) is None else approx(c) for f in firings]


def _without_costs(points):
    """Everything recorded of each firing but what rounding the weights costs."""
    return {name: [replace(firing, weight_rounding=None) for firing in firings]
            for name, firings in points.items()}  # fmt: skip


def test_a_reference_with_rounded_frequencies_is_refused(monkeypatch):
    """``model.to(bfloat16)`` rounds them, loading in bfloat16 does not."""
    import torch

    from parity.adapters import torch_reference

    original = torch_reference.Qwen2VLForConditionalGeneration.from_pretrained

    def converted(*args, dtype, **options):
        model, report = original(*args, dtype=torch.float32, **options)
        return model.to(dtype), report

    owner = torch_reference.Qwen2VLForConditionalGeneration
    monkeypatch.setattr(owner, "from_pretrained", converted)
    with pytest.raises(ParityError, match=r"inv_freq is torch.bfloat16; it has to stay float32"):
        torch_reference.load(session().settings.checkpoint, precision("bf16"))
