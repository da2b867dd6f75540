"""Weights load strictly: names of both generations, tied heads, one error for all that is wrong."""

from __future__ import annotations

import io
import re
import shutil
import sys
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from qwen2vl_ms import Qwen2VLError
from qwen2vl_ms.naming import parameter_name
from qwen2vl_ms.tests import tiny
from qwen2vl_ms.tests.stored_checkpoints import (
    EMBEDDING,
    HEAD,
    Tensors,
    assert_equal,
    load,
    parameters,
    rewrite,
    shard,
    tie,
    write,
)
from qwen2vl_ms.weights import load_weights


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("original"))


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    """A copy to be changed."""
    return Path(shutil.copytree(original, tmp_path / "checkpoint"))


def newer(name: str) -> str:
    """The name that the modules have in transformers 5."""
    if name.startswith("visual."):
        return f"model.{name}"
    return re.sub(r"^model\.", "model.language_model.", name)


def test_every_value_arrives(original: Path) -> None:
    stored = load_file(original / "model.safetensors")
    ours = parameters(original)
    assert len(stored) == len(ours)
    for name, tensor in stored.items():
        own = ours[parameter_name(name) or ""]
        np.testing.assert_array_equal(own, tensor.numpy().reshape(own.shape), err_msg=name)


def test_both_generations_and_shards_load_the_same(original: Path, folder: Path) -> None:
    expected = parameters(original)
    rewrite(folder, lambda tensors: {newer(name): t for name, t in tensors.items()})
    assert "model.language_model.norm.weight" in load_file(folder / "model.safetensors")
    assert_equal(parameters(folder), expected)
    shard(folder)
    assert_equal(parameters(folder), expected)


def test_names_are_those_of_the_references_modules() -> None:
    reference = tiny.reference_model()
    for name, _ in reference.named_parameters():
        assert parameter_name(name) == name
    with pytest.raises(KeyError):
        parameter_name("model.layers.0.self_attn.q_norm.weight")


def test_an_empty_tensor_has_another_shape(folder: Path) -> None:
    rewrite(folder, lambda t: {**t, "model.norm.weight": torch.zeros(0)})
    with pytest.raises(Qwen2VLError, match=r"model\.norm\.weight has shape \[0\], the model's"):
        load(folder)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_bar_shows_only_when_asked_and_only_on_a_terminal(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    model = load(folder)
    for asked, stream, seen in (
        (True, Terminal(), True),
        (False, Terminal(), False),
        (True, io.StringIO(), False),
    ):
        monkeypatch.setattr("sys.stderr", stream)
        load_weights(model, folder, progress=asked)
        assert ("loading weights" in stream.getvalue()) == seen
        assert seen or not stream.getvalue()
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setattr("sys.stderr", io.StringIO())
    load_weights(model, folder, progress=True)
    assert "loading weights" in sys.stderr.getvalue()


def test_computed_tables_are_left_out(folder: Path) -> None:
    expected = parameters(folder)
    extra = {"model.layers.1.self_attn.rotary_emb.inv_freq", "visual.rotary_pos_emb.inv_freq"}
    rewrite(folder, lambda t: {**t, **{name: torch.ones(4) for name in extra}})
    assert_equal(parameters(folder), expected)


@pytest.mark.parametrize("stored", [True, False], ids=["head stored", "head absent"])
def test_a_tied_head_is_the_embedding(folder: Path, stored: bool) -> None:
    tie(folder)
    rewrite(
        folder,
        lambda t: {
            **{name: v for name, v in t.items() if name != HEAD},
            **({HEAD: t[EMBEDDING]} if stored else {}),
        },
    )
    model = load(folder)
    assert model.lm_head.weight is model.model.language_model.embed_tokens.weight
    embedding = load_file(folder / "model.safetensors")[EMBEDDING]
    np.testing.assert_array_equal(model.lm_head.weight.asnumpy(), embedding.numpy())


def test_a_tied_head_that_differs(folder: Path) -> None:
    tie(folder)
    with pytest.raises(Qwen2VLError, match=f"{HEAD} differs from {EMBEDDING}"):
        load(folder)


def test_everything_that_does_not_fit_is_one_error(folder: Path) -> None:
    def damage(tensors: Tensors) -> Tensors:
        del tensors["visual.blocks.1.attn.qkv.bias"], tensors[HEAD]
        tensors["model.layers.0.mlp.up_proj.weight"] = torch.zeros(3, 5)
        tensors["model.layers.2.input_layernorm.weight"] = torch.zeros(64)
        tensors["visual.blocks.0.norm1.gamma"] = torch.zeros(80)
        tensors["model.norm.weight"] = tensors["model.norm.weight"].double()
        tensors["model.language_model.embed_tokens.weight"] = tensors[EMBEDDING]
        return tensors

    rewrite(folder, damage)
    with pytest.raises(Qwen2VLError) as caught:
        load(folder)
    for line in (
        "model.visual.blocks.1.attn.qkv.bias is missing",
        "lm_head.weight is missing",
        "model.layers.0.mlp.up_proj.weight has shape [3, 5], the model's is [112, 64]",
        "model.layers.2.input_layernorm.weight is unexpected",
        "visual.blocks.0.norm1.gamma is unexpected",
        "model.norm.weight is F64: F32, F16, BF16 are supported",
        "model.language_model.embed_tokens.weight is there twice, the other is " + EMBEDDING,
    ):
        assert f"\n  - {line}" in str(caught.value)
    assert str(caught.value).count("\n") == 7
    assert str(folder) in str(caught.value)


def test_a_transposed_patch_kernel_has_another_shape(folder: Path) -> None:
    name = "visual.patch_embed.proj.weight"
    rewrite(folder, lambda t: {**t, name: t[name][:, :, :1]})
    with pytest.raises(Qwen2VLError, match=re.escape(f"{name} has shape [80, 3, 1, 14, 14]")):
        load(folder)


def test_a_failed_load_leaves_the_model_alone(folder: Path) -> None:
    model = load(folder)
    before = model.lm_head.weight.asnumpy().copy()
    rewrite(folder, lambda t: {name: v + 1 for name, v in t.items() if name != EMBEDDING})
    with pytest.raises(Qwen2VLError):
        load_weights(model, folder)
    np.testing.assert_array_equal(model.lm_head.weight.asnumpy(), before)
    assert model.lm_head.weight.dtype == ms.float32
