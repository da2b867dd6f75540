"""Values are widened exactly and rounded as PyTorch rounds, a slice at a time."""

from __future__ import annotations

import dataclasses
import re
import shutil
from pathlib import Path
from typing import Any

import mindspore as ms
import ml_dtypes
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from qwen2vl_ms import Qwen2VLError, Qwen2VLForConditionalGeneration
from qwen2vl_ms.checkpoint import SafetensorsFile
from qwen2vl_ms.naming import parameter_name
from qwen2vl_ms.tests.stored_checkpoints import (
    EMBEDDING,
    HEAD,
    Tensors,
    assert_equal,
    load,
    parameters,
    rewrite,
    tie,
    write,
)
from qwen2vl_ms.weights import load_weights, round_values


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("original"))


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    """A copy to be changed."""
    return Path(shutil.copytree(original, tmp_path / "checkpoint"))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_widened_exactly(folder: Path, dtype: torch.dtype) -> None:
    rewrite(folder, lambda tensors: {name: t.to(dtype) for name, t in tensors.items()})
    ours = parameters(folder)
    for name, tensor in load_file(folder / "model.safetensors").items():
        own = ours[parameter_name(name) or ""]
        np.testing.assert_array_equal(own, tensor.float().numpy().reshape(own.shape))


def torch_rounded(folder: Path, dtype: torch.dtype) -> dict[str, np.ndarray]:
    """Every parameter as the reference's ``from_pretrained(dtype=...)`` rounds it."""
    stored = load_file(folder / "model.safetensors")
    values = {parameter_name(name) or "": t.to(dtype).float().numpy() for name, t in stored.items()}
    name = "model.visual.patch_embed.proj.weight"
    return {**values, name: values[name].reshape(len(values[name]), -1)}


ROUNDED = {"fp16": torch.float16, "bf16": torch.bfloat16}


@pytest.mark.parametrize("stored", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("policy", ROUNDED)
def test_values_are_rounded_as_pytorch_rounds(
    folder: Path, policy: str, stored: torch.dtype
) -> None:
    rewrite(folder, lambda tensors: {name: t.to(stored) for name, t in tensors.items()})
    model = Qwen2VLForConditionalGeneration.from_pretrained(folder, mindspore_dtype=policy)
    ours = {name: p.asnumpy() for name, p in model.parameters_and_names()}
    assert_equal(ours, torch_rounded(folder, ROUNDED[policy]))
    if stored == torch.float32:
        exact = parameters(folder)
        changed = [name for name, v in ours.items() if not np.array_equal(v, exact[name])]
        assert len(changed) > len(ours) // 2


def test_a_mixed_policy_rounds_each_part_to_its_own(folder: Path) -> None:
    model = load(folder)
    half, other = "model.visual.patch_embed.proj.weight", "model.visual.blocks.0.norm1.weight"
    model.policy = dataclasses.replace(model.policy, patch_embed=ms.float16, hidden=ms.bfloat16)
    load_weights(model, folder)
    ours = {name: p.asnumpy() for name, p in model.parameters_and_names()}
    np.testing.assert_array_equal(ours[half], torch_rounded(folder, torch.float16)[half])
    np.testing.assert_array_equal(ours[other], torch_rounded(folder, torch.bfloat16)[other])


@pytest.mark.parametrize("kept", [ms.float16, ms.bfloat16])
def test_a_device_with_kernels_keeps_narrow_parameters(folder: Path, kept: Any) -> None:
    model = load(folder)
    name, policy = "fp16" if kept == ms.float16 else "bf16", model.policy
    model.policy = dataclasses.replace(policy, name=name, hidden=kept, patch_embed=kept)
    for parameter in model.get_parameters():
        parameter.set_dtype(kept)
    load_weights(model, folder)
    expected = torch_rounded(folder, ROUNDED[name])
    for key, parameter in model.parameters_and_names():
        assert parameter.dtype == kept
        values = parameter.astype(ms.float32).asnumpy()
        np.testing.assert_array_equal(values, expected[key], err_msg=key)


def bit_patterns() -> np.ndarray:
    """Float32 of every sign, exponent and rounding situation: ties, subnormals, infinities."""
    rng = np.random.default_rng(0)
    drawn = rng.integers(0, 2**32, 1 << 18, dtype=np.uint64).astype(np.uint32)
    ties = (drawn & 0xFFFF0000) | 0x8000
    half = (drawn & 0xFFFFE000) | 0x1000
    values = np.concatenate([drawn, ties, half]).view(np.float32)
    return values[~np.isnan(values)]


@pytest.mark.parametrize("policy", ROUNDED)
def test_every_kind_of_rounding_is_pytorchs(policy: str) -> None:
    dtype, values = {"fp16": np.float16, "bf16": ml_dtypes.bfloat16}[policy], bit_patterns()
    if policy == "fp16":
        values = values[np.isinf(values) | (np.abs(values) < 65520)]
    rounded = round_values(values, dtype, "x")
    reference = torch.from_numpy(values).to(ROUNDED[policy]).float().numpy()
    np.testing.assert_array_equal(rounded.astype(np.float32), reference)
    truncated = (values.view(np.uint32) & 0xFFFF0000).view(np.float32)
    assert not np.array_equal(truncated, reference)
    assert np.isnan(round_values(np.full(3, np.nan, np.float32), dtype, "x")).all()


@pytest.mark.parametrize("value", [65520.0, -1e30])
def test_what_does_not_fit_float16_is_named(folder: Path, value: float) -> None:
    name = "model.layers.1.mlp.down_proj.weight"

    def overflow(tensors: Tensors) -> Tensors:
        tensors[name][3, 4] = value
        return tensors

    rewrite(folder, overflow)
    Qwen2VLForConditionalGeneration.from_pretrained(folder, mindspore_dtype="bf16")
    message = re.escape(f"{name} of {folder / 'model.safetensors'} holds {value:.6g}, and float16")
    with pytest.raises(Qwen2VLError, match=f"{message} ends at 65504: .* does not fit float16"):
        Qwen2VLForConditionalGeneration.from_pretrained(folder, mindspore_dtype="fp16")


def test_infinity_and_nan_load_as_they_are(folder: Path) -> None:
    name = "model.norm.weight"
    special = torch.tensor([float("inf"), float("-inf"), float("nan")])
    rewrite(folder, lambda t: {**t, name: torch.cat([special, t[name][3:]])})
    model = Qwen2VLForConditionalGeneration.from_pretrained(folder, mindspore_dtype="fp16")
    values = model.model.language_model.norm.weight.asnumpy()
    np.testing.assert_array_equal(values[:3], special.numpy())


def test_small_slices_give_the_same(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rewrite(folder, lambda tensors: {name: t.bfloat16() for name, t in tensors.items()})
    expected = parameters(folder)
    monkeypatch.setattr("qwen2vl_ms.checkpoint.SLICE", 7)
    assert_equal(parameters(folder), expected)
    file = SafetensorsFile(folder / "model.safetensors")
    assert [len(piece) for piece in file.slices("model.norm.weight")] == [7] * 9 + [1]
    tie(folder)
    with pytest.raises(Qwen2VLError, match=f"{HEAD} differs from {EMBEDDING}"):
        load(folder)
