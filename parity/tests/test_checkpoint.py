"""Weights as NumPy reads them: both generations of names, every dtype, rounded as frameworks do."""

import json
from dataclasses import replace

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from parity.core.checkpoint import Checkpoint
from parity.core.errors import ParityError
from parity.core.numerics import precision
from parity.core.rounding import rounded
from parity.settings import FIXTURES
from parity.subjects.config import read_config
from parity.subjects.weights import Weights

TINY = FIXTURES / "qwen2vl-tiny"
RNG = np.random.default_rng(0)
VALUES = np.concatenate([
    RNG.standard_normal(500) * 10.0 ** RNG.integers(-12, 12, 500),
    [0, -0.0, np.inf, -np.inf, np.nan, 65504, 65520, 1e-8, 6e-8, 1 + 2**-8, 1 + 3 * 2**-8],
]).astype(np.float32)  # fmt: skip


@pytest.mark.parametrize(
    ("dtype", "kind"),
    [("float32", np.float32), ("float16", np.float16), ("bfloat16", ml_dtypes.bfloat16)],
)
def test_rounding_is_that_of_the_dtype(dtype, kind):
    with np.errstate(over="ignore"):
        wanted = VALUES.astype(kind).astype(np.float64)
    np.testing.assert_array_equal(rounded(VALUES, dtype), wanted)
    cut = (VALUES.view(np.uint32) & 0xFFFF0000).view(np.float32)
    assert dtype != "bfloat16" or not np.array_equal(cut, wanted, equal_nan=True)


def test_there_is_no_rounding_to_an_unknown_dtype():
    with pytest.raises(ValueError, match="no rounding to 'int8'"):
        rounded(VALUES, "int8")


def saved(folder, tensors, config=None):
    folder.mkdir()
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config or {}))
    return folder


def test_both_generations_of_names_give_the_same_weights(tmp_path):
    tensors = {
        "visual.merger.ln_q.weight": VALUES[:8],
        "model.layers.2.self_attn.q_proj.bias": VALUES[8:16],
        "model.embed_tokens.weight": VALUES[:16].reshape(4, 4),
    }
    starts = {"visual.": "model.visual.", "model.": "model.language_model."}
    new = {
        name.replace(old, five, 1): array
        for name, array in tensors.items()
        for old, five in starts.items()
        if name.startswith(old)
    }
    read = [
        Weights(saved(tmp_path / folder, found), precision("fp32"), tied=True)
        for folder, found in (("hub", tensors), ("five", new))
    ]
    for weights in read:
        assert np.array_equal(weights("visual.merger.ln_q"), VALUES[:8])
        bias = weights("language_model.layers.2.self_attn.q_proj", "bias")
        assert np.array_equal(bias, VALUES[8:16])
        assert np.array_equal(weights("lm_head"), weights("language_model.embed_tokens"))
        assert weights.get("visual.merger.ln_q", "bias") is None


def test_weights_are_rounded_to_the_references_dtype(tmp_path):
    folder = saved(tmp_path / "one", {"lm_head.weight": VALUES[:500]})
    for name in ("fp32", "fp16", "bf16", "ascend-mixed"):
        found = precision(name)
        assert np.array_equal(
            Weights(folder, found)("lm_head"), rounded(VALUES[:500], found.format.name)
        )


def test_every_stored_dtype_is_widened_exactly(tmp_path):
    for kind in (np.float32, np.float16, ml_dtypes.bfloat16):
        with np.errstate(over="ignore"):
            narrow = VALUES[:500].astype(kind)
        folder = saved(tmp_path / np.dtype(kind).name, {"a": narrow.reshape(50, 10)})
        assert np.array_equal(
            Checkpoint(folder).read("a"), narrow.astype(np.float32).reshape(50, 10)
        )


def test_shards_are_read_and_integers_are_not(tmp_path):
    assert Checkpoint(TINY).read("lm_head.weight").shape == (768, 512)
    folder = saved(tmp_path / "ints", {"a": np.arange(3)})
    with pytest.raises(ParityError, match="a is I64, not one of F32, F16, BF16"):
        Checkpoint(folder).read("a")
    with pytest.raises(ParityError, match="has no tensor b"):
        Checkpoint(folder).read("b")


def test_a_damaged_file_is_one_clear_error(tmp_path):
    folder = saved(tmp_path / "cut", {"a": VALUES})
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ParityError, match="is not a complete safetensors file"):
        Checkpoint(folder)
    path.unlink()
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "../outside.safetensors"}}))
    with pytest.raises(ParityError, match="does not name files beside it"):
        Checkpoint(folder)


def test_a_configuration_is_read_in_both_styles(tmp_path):
    config = json.loads((TINY / "config.json").read_text())
    flat = read_config(TINY)
    assert (flat.head_dim, flat.vision_head_dim, flat.kv_heads) == (128, 80, 2)
    inner = {key: config[key] for key in config if key not in ("vision_config", "model_type")}
    nested = {"model_type": "qwen2_vl", "vision_config": config["vision_config"],
              "text_config": inner}  # fmt: skip
    folder = saved(tmp_path / "nested", {"a": VALUES}, nested)
    assert replace(read_config(folder), ids=flat.ids) == flat


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden_act": "gelu"}, "hidden_act is 'gelu'"),
        ({"num_attention_heads": None}, "lacks a key"),
    ],
)
def test_a_configuration_that_is_not_qwen2_vl_is_refused(tmp_path, change, message):
    config = json.loads((TINY / "config.json").read_text()) | change
    with pytest.raises(ParityError, match=message):
        read_config(saved(tmp_path / "bad", {"a": VALUES}, config))
