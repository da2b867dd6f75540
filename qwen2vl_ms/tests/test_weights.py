"""Checkpoints load strictly: names of both generations, shards, dtypes, damage."""

from __future__ import annotations

import dataclasses
import io
import json
import math
import os
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mindspore as ms
import ml_dtypes
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from qwen2vl_ms import Qwen2VLError, Qwen2VLForConditionalGeneration
from qwen2vl_ms.checkpoint import SafetensorsFile
from qwen2vl_ms.naming import parameter_name
from qwen2vl_ms.tests import tiny
from qwen2vl_ms.weights import load_weights, round_values

Tensors = dict[str, torch.Tensor]
EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint in one file, names of the published generation."""
    tiny.start()
    return tiny.saved(tiny.reference_model(), tmp_path_factory.mktemp("original"))


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    """A copy to be changed."""
    return Path(shutil.copytree(original, tmp_path / "checkpoint"))


def rewrite(folder: Path, change: Callable[[Tensors], Tensors]) -> None:
    path = folder / "model.safetensors"
    tensors = {name: t.contiguous().clone() for name, t in change(load_file(path)).items()}
    save_file(tensors, path, metadata={"format": "pt"})


def shard(folder: Path, parts: int = 3) -> dict[str, str]:
    """Split the single file into shards with an index, whose map is returned."""
    single = folder / "model.safetensors"
    tensors = load_file(single)
    single.unlink()
    files = [f"model-{i + 1:05}-of-{parts:05}.safetensors" for i in range(parts)]
    weight_map = {name: files[i % parts] for i, name in enumerate(sorted(tensors))}
    for file in files:
        own = {name: tensors[name] for name in tensors if weight_map[name] == file}
        save_file(own, folder / file, metadata={"format": "pt"})
    write_index(folder, weight_map)
    return weight_map


def write_index(folder: Path, weight_map: Any) -> None:
    index = {"metadata": {}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")


def load(folder: Path) -> Any:
    return Qwen2VLForConditionalGeneration.from_pretrained(folder)


def parameters(folder: Path) -> dict[str, np.ndarray]:
    return {name: p.asnumpy() for name, p in load(folder).parameters_and_names()}


def assert_equal(left: dict[str, np.ndarray], right: dict[str, np.ndarray]) -> None:
    assert set(left) == set(right)
    for name, values in left.items():
        assert values.dtype == np.float32
        np.testing.assert_array_equal(values, right[name], err_msg=name)


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


def test_a_file_that_shrinks_while_it_is_read(folder: Path) -> None:
    file = SafetensorsFile(folder / "model.safetensors")
    last = max(file.names, key=lambda name: file._entries[name]["data_offsets"])
    os.truncate(file.path, file.path.stat().st_size - 4 * math.prod(file.shape(last)))
    with pytest.raises(Qwen2VLError, match=f"ended inside {last}: the file changed"):
        list(file.slices(last))


def rewrite_header(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change a file's header and leave its numbers."""
    content = path.read_bytes()
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    change(header)
    written = json.dumps(header).encode()
    path.write_bytes(len(written).to_bytes(8, "little") + written + content[8 + size :])


def lying(**fields: Any) -> Callable[[dict[str, Any]], None]:
    return lambda header: header["model.norm.weight"].update(fields)


@pytest.mark.parametrize(
    "change",
    [lying(shape=[63]), lying(dtype="F16"), lying(data_offsets=[0, 8]), lying(shape=[2**60, 64])],
    ids=["shape", "dtype", "offsets", "huge"],
)
def test_a_header_that_lies(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    rewrite_header(folder / "model.safetensors", change)
    with pytest.raises(Qwen2VLError, match="is not a complete safetensors file"):
        load(folder)


def test_an_empty_file(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"")
    with pytest.raises(Qwen2VLError, match="is not a complete safetensors file"):
        load(folder)


def test_an_empty_tensor_has_another_shape(folder: Path) -> None:
    rewrite(folder, lambda t: {**t, "model.norm.weight": torch.zeros(0)})
    with pytest.raises(Qwen2VLError, match=r"model\.norm\.weight has shape \[0\], the model's"):
        load(folder)


def test_every_damaged_shard_is_named(folder: Path) -> None:
    files = sorted(set(shard(folder).values()))
    (folder / files[0]).unlink()
    (folder / files[2]).write_bytes(b"12345678")
    with pytest.raises(Qwen2VLError) as caught:
        load(folder)
    message = str(caught.value)
    assert message.startswith(f"the weights in {folder} cannot be read:\n  - ")
    assert f"{files[0]} is missing" in message
    assert f"{files[2]} is not a complete safetensors file" in message
    assert files[1] not in message


def test_a_tensor_in_two_shards(folder: Path) -> None:
    weight_map = shard(folder)
    other = next(file for file in sorted(set(weight_map.values())) if file != weight_map[HEAD])
    tensors = load_file(folder / other)
    save_file({**tensors, HEAD: torch.zeros(3)}, folder / other)
    with pytest.raises(Qwen2VLError, match=f"{HEAD} is in {other} and is not listed so"):
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


def tie(folder: Path) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**config, "tie_word_embeddings": True}), encoding="utf-8")


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


@pytest.mark.parametrize("cut", [4, 60, -7], ids=["length", "header", "data"])
def test_a_cut_file(folder: Path, cut: int) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(
        Qwen2VLError, match=rf"{re.escape(str(path))} is not a complete safetensors"
    ):
        load(folder)


def test_a_cut_shard_is_named(folder: Path) -> None:
    name = sorted(set(shard(folder).values()))[1]
    path = folder / name
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(Qwen2VLError, match=rf"{name} is not a complete safetensors"):
        load(folder)


@pytest.mark.parametrize(
    "name", ["../model.safetensors", "/etc/passwd", "a\\b.safetensors", "pickle.bin", 3]
)
def test_an_index_that_leads_out_of_the_folder(folder: Path, name: Any) -> None:
    write_index(folder, {**shard(folder), EMBEDDING: name})
    with pytest.raises(Qwen2VLError, match=re.escape(f"puts {EMBEDDING} into {name!r}")):
        load(folder)


def test_an_index_that_does_not_match(folder: Path) -> None:
    weight_map = shard(folder)
    files = sorted(set(weight_map.values()))
    other = next(file for file in files if file != weight_map[HEAD])
    write_index(folder, {**weight_map, HEAD: other})
    with pytest.raises(Qwen2VLError) as caught:
        load(folder)
    assert f"{HEAD} is listed in {other} and is not there" in str(caught.value)
    assert f"{HEAD} is in {weight_map[HEAD]} and is not listed so" in str(caught.value)
    write_index(folder, weight_map)
    (folder / files[0]).unlink()
    with pytest.raises(Qwen2VLError, match=f"{files[0]} is missing"):
        load(folder)


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"weight_map": {}}'])
def test_a_broken_index(folder: Path, content: str) -> None:
    shard(folder)
    (folder / "model.safetensors.index.json").write_text(content, encoding="utf-8")
    with pytest.raises(Qwen2VLError, match=r"index\.json (is not valid JSON|has no weight_map)"):
        load(folder)


def test_no_folder(original: Path, tmp_path: Path) -> None:
    with pytest.raises(Qwen2VLError, match="nowhere is not a folder"):
        load_weights(load(original), tmp_path / "nowhere")


def test_no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    with pytest.raises(Qwen2VLError, match=r"holds neither model\.safetensors nor"):
        load(folder)
    (folder / "pytorch_model-00001-of-00002.bin").write_bytes(b"")
    with pytest.raises(Qwen2VLError, match="a pickle can run any code"):
        load(folder)


def test_a_failed_load_leaves_the_model_alone(folder: Path) -> None:
    model = load(folder)
    before = model.lm_head.weight.asnumpy().copy()
    rewrite(folder, lambda t: {name: v + 1 for name, v in t.items() if name != EMBEDDING})
    with pytest.raises(Qwen2VLError):
        load_weights(model, folder)
    np.testing.assert_array_equal(model.lm_head.weight.asnumpy(), before)
    assert model.lm_head.weight.dtype == ms.float32
