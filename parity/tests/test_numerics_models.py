"""Models of a device's numbers: what each computes, and that nothing of it stays."""

from types import SimpleNamespace

import mindspore as ms
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mindspore import Tensor
from typer.testing import CliRunner

from parity.__main__ import app
from parity.core.errors import ParityError
from parity.core.hf32 import NOISE, hf32
from parity.core.numerics import PRECISIONS
from parity.core.rounding import rounded
from parity.device.choice import check_device, chip_in_use
from parity.numerics_models import catalogue, find, imitated
from parity.numerics_models.accumulation import accumulated
from parity.numerics_models.flash import BLOCK, flash_attention_score, online
from parity.settings import Settings
from qwen2vl_ms import attention, vision
from qwen2vl_ms import model as port
from qwen2vl_ms import ops as F
from qwen2vl_ms.tests.flash_model import flash_attention_score as documented

RNG = np.random.default_rng(7)
FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False, allow_subnormal=False)


def normal(*shape, dtype="float32"):
    return rounded(RNG.standard_normal(shape), dtype).astype(np.float32)


@given(st.lists(FLOATS.filter(lambda x: abs(x) < 1e38), min_size=1))
def test_hf32_is_the_nearest_number_of_twelve_bits(values):
    given_, found = np.array(values, np.float32), hf32(np.array(values))
    assert not (found.view(np.uint32) & 0xFFF).any(), "eleven stored bits of mantissa are left"
    assert (np.abs(found.astype(float) - given_) <= NOISE * np.abs(given_)).all()
    assert (hf32(found) == found).all()


def test_hf32_ties_go_to_even_and_what_is_no_number_stays():
    one, step = np.float32(1), np.float32(2.0**-11)
    assert hf32(np.array([one + step / 2]))[0] == one
    assert hf32(np.array([one + 3 * step / 2]))[0] == one + 2 * step
    odd = np.array([np.inf, -np.inf, np.nan], np.float32)
    assert np.array_equal(hf32(odd), odd, equal_nan=True)
    narrow = normal(1000, dtype="bfloat16")
    assert (hf32(narrow) == narrow).all(), "it holds every bfloat16"


def seam():
    """Everything that a model may take the place of."""
    owners = (F, attention, vision.PatchEmbed, port, ms.ops)
    return [dict(vars(owner)) for owner in owners]


@pytest.mark.parametrize("name", catalogue())
@pytest.mark.parametrize("dtype", PRECISIONS)
def test_a_model_acts_in_its_dtypes_alone_and_is_taken_back(name, dtype):
    before, inside = seam(), []

    def interrupted():
        with imitated(name, dtype):
            inside.append(seam())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert (inside[0] != before) == (dtype in find(name).dtypes)
    assert seam() == before
    with imitated(None, dtype):
        assert seam() == before


@pytest.mark.parametrize("name", ["hf32-matmul", "fp16-operands", "ascend-910a"])
def test_operands_are_rounded_and_sums_are_not(name):
    x, weight = normal(5, 64), normal(7, 64)
    change = hf32 if name == "hf32-matmul" else lambda a: rounded(a, "float16")
    with imitated(name, "fp32"):
        found = F.linear(Tensor(x), Tensor(weight)).asnumpy()
    expected = np.float64(change(x)) @ np.float64(change(weight)).T
    assert np.allclose(found, expected, rtol=0, atol=1e-5)
    assert not np.allclose(found, np.float64(x) @ np.float64(weight).T, rtol=0, atol=1e-5)


def test_the_convolution_s_model_leaves_other_products_alone():
    x, weight = normal(5, 64), normal(7, 64)
    plain = F.linear(Tensor(x), Tensor(weight)).asnumpy()
    with imitated("hf32-conv", "fp32"):
        assert np.array_equal(F.linear(Tensor(x), Tensor(weight)).asnumpy(), plain)
        patches = SimpleNamespace(
            dtypes=(ms.float32, ms.float32), proj=lambda x: F.linear(x, Tensor(weight))
        )
        found = vision.PatchEmbed.construct(patches, Tensor(x)).asnumpy()
    expected = np.float64(hf32(x)) @ np.float64(hf32(weight)).T
    assert np.allclose(found, expected, rtol=0, atol=1e-5)
    assert not np.array_equal(found, plain)


def test_sums_in_float16_are_rounded_on_the_way():
    ones = np.ones((1, 5000), np.float32)
    assert accumulated(ones, ones)[0, 0] == 4992 + 8 != 2048, "16 at a time reach further than 2048"
    tiny = np.full((1, 160), 2.0**-6, np.float32)
    large = np.concatenate((np.full((1, 16), 64.0, np.float32), tiny), axis=1)
    assert accumulated(large, np.ones_like(large))[0, 0] == 1024, (
        "what is under half a step is lost"
    )
    with imitated("fp16-accumulation", "fp16"):
        found = F.linear(Tensor(large), Tensor(np.ones_like(large))).asnumpy()
    assert found[0, 0] == 1024
    assert F.linear(Tensor(large), Tensor(np.ones_like(large))).asnumpy()[0, 0] == 1026.5


def test_saturated_float16_has_no_infinity_and_no_nan():
    x = Tensor(np.array([1e9, -1e9, np.nan, 65504, 1], np.float32))
    ends = [65504, -65504, 0, 65504, 1]
    half = F.cast(Tensor(np.array([60000, -60000], np.float32)), ms.float16)
    with imitated("fp16-saturation", "fp16"):
        for found in (
            F.cast(x, ms.float16),
            F.rounded(x, ms.float16),
            F.settled(x, ms.float32, ms.float16),
        ):
            assert found.asnumpy().tolist() == ends
        assert F.residual(half, half).asnumpy().tolist() == [65504, -65504]
        assert attention.rounded(x, ms.float16).asnumpy().tolist() == ends
        assert F.cast(x, ms.float32) is x
    assert np.isinf(F.cast(x, ms.float16).asnumpy()[0])
    assert np.isinf(F.residual(half, half).asnumpy()).all()


def heads(*shape, dtype):
    return [normal(*shape, dtype=dtype) for _ in range(3)]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("length", [5, BLOCK, 3 * BLOCK + 1])
def test_the_fused_attention_is_attention_rounded_a_few_times(dtype, length):
    query, key, value = heads(2, length, 16, dtype=dtype)
    hidden = np.triu(np.ones((length, length), bool), 1)
    found = online(query, key, value, hidden, 0.25, dtype)
    assert np.array_equal(rounded(found, dtype), found)
    scores = np.where(hidden, -np.inf, 0.25 * (np.float64(query) @ np.float64(key).swapaxes(1, 2)))
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    truth = weights / weights.sum(-1, keepdims=True) @ np.float64(value)
    noise = 2.0**-11 if dtype == "float16" else 2.0**-8
    error = np.linalg.norm(found - truth) / np.linalg.norm(truth)
    assert 0.1 * noise < error < 1.5 * noise
    wrong = online(query, key, value, ~hidden, 0.25, dtype)
    assert np.linalg.norm(wrong - truth) / np.linalg.norm(truth) > 100 * noise


def test_the_stand_in_takes_what_the_documented_kernel_takes():
    fused = flash_attention_score("float16")
    query = normal(2, 4, 6, 16, dtype="float16")
    key, value = (normal(2, 2, 9, 16, dtype="float16") for _ in range(2))
    mask = np.zeros((2, 1, 6, 9), np.uint8)
    mask[0, 0, :, :4] = 1
    more = {"scalar_value": 0.25, "input_layout": "BNSD", "sparse_mode": 1}
    found = fused(Tensor(query), Tensor(key), Tensor(value), 4, Tensor(mask), **more).asnumpy()
    assert np.allclose(found, documented(query, key, value, 4, mask, **more), atol=2e-3)
    x = [normal(11, 2, 16, dtype="float16") for _ in range(3)]
    ends = {"input_layout": "TND", "scalar_value": 0.25,
            "actual_seq_qlen": (4, 11), "actual_seq_kvlen": (4, 11)}  # fmt: skip
    found = fused(*map(Tensor, x), 2, **ends).asnumpy()
    assert np.allclose(found, documented(*x, 2, **ends), atol=2e-3)
    across = documented(*x, 2, **{**ends, "actual_seq_qlen": (11,), "actual_seq_kvlen": (11,)})
    assert not np.allclose(found, across, atol=2e-2)


def test_a_model_is_refused_where_it_cannot_act():
    with pytest.raises(ParityError, match="hf32-matmul"):
        check_device(Settings(numerics="hf33"))
    for wrong in ({"device": "Ascend:0"}, {"modes": ("graph",)}):
        with pytest.raises(ParityError, match="in PyNative mode"):
            check_device(Settings(numerics="hf32-matmul", **wrong))
    check_device(Settings(numerics="hf32-matmul"))


def test_a_chip_s_model_has_what_the_chip_lacks():
    chips = [chip_in_use(Settings(numerics=f"ascend-{name}")) for name in ("910a", "910b")]
    assert [chip and chip.name for chip in chips] == ["910A", "910B"]
    assert chip_in_use(Settings(numerics="hf32-conv")) is None
    assert chip_in_use(Settings()) is None


def test_the_command_names_every_model_and_its_dtypes():
    done = CliRunner().invoke(app, ["numerics"])
    assert done.exit_code == 0
    for model in catalogue().values():
        assert model.about in done.output
        assert f"changes {', '.join(model.dtypes)}" in done.output
