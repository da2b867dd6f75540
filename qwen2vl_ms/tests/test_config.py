"""Both layouts of config.json load to the same; everything unclear is refused, with the key."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest

from qwen2vl_ms import Qwen2VLConfig, Qwen2VLError
from qwen2vl_ms.config_reader import VISION_DEFAULTS
from qwen2vl_ms.tests.published import CONFIGS
from qwen2vl_ms.tests.tiny import reference_config

HUB = CONFIGS["2B"]
MISSING = object()


def changed(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """A copy with values at dotted keys set, or removed."""
    values = copy.deepcopy(base)
    for dotted, value in changes.items():
        *path, key = dotted.split(".")
        section = values
        for name in path:
            section = section[name]
        if value is MISSING:
            del section[key]
        else:
            section[key] = value
    return values


def test_the_published_layout() -> None:
    config = Qwen2VLConfig.from_dict(HUB)
    assert config.text_config.mrope_section == (16, 24, 24)
    assert config.text_config.rope_theta == 1e6
    assert config.text_config.rms_norm_eps == 1e-6
    assert config.text_config.head_dim == 128
    assert config.vision_config.hidden_act == "quick_gelu"
    assert config.vision_config.rope_theta == 1e4
    assert config.vision_config.head_dim == 80
    assert config.vision_config.intermediate_size == 5120
    assert config.vision_config.patch_dim == 1176
    assert config.tie_word_embeddings


def test_what_the_reference_saves_and_dumps(tmp_path: Path) -> None:
    import transformers

    reference = transformers.Qwen2VLConfig(**copy.deepcopy(HUB))
    reference.save_pretrained(tmp_path)
    ours = Qwen2VLConfig.from_dict(HUB)
    assert Qwen2VLConfig.from_pretrained(tmp_path) == ours
    assert Qwen2VLConfig.from_dict(reference.to_dict()) == ours
    (tmp_path / "config.json").write_text(json.dumps(HUB), encoding="utf-8")
    assert Qwen2VLConfig.from_pretrained(str(tmp_path)) == ours


SIZES = {
    # hidden, layers, heads, key and value heads, intermediate, vocabulary, tied
    "2B": (1536, 28, 12, 2, 8960, 151936, True),
    "7B": (3584, 28, 28, 4, 18944, 152064, False),
    "72B": (8192, 80, 64, 8, 29568, 152064, False),
}


@pytest.mark.parametrize("size", SIZES)
def test_the_published_sizes_in_both_layouts(size: str) -> None:
    import transformers

    config = Qwen2VLConfig.from_dict(CONFIGS[size])
    text, vision = config.text_config, config.vision_config
    assert SIZES[size] == (
        *(text.hidden_size, text.num_hidden_layers, text.num_attention_heads),
        *(text.num_key_value_heads, text.intermediate_size, text.vocab_size),
        config.tie_word_embeddings,
    )
    assert (vision.depth, vision.embed_dim, vision.num_heads, vision.mlp_ratio) == (32, 1280, 16, 4)
    assert vision.hidden_size == text.hidden_size
    assert text.head_dim == 128
    newer = transformers.Qwen2VLConfig(**copy.deepcopy(CONFIGS[size])).to_dict()
    assert "hidden_size" in newer["text_config"]
    assert "hidden_size" not in newer
    assert Qwen2VLConfig.from_dict(newer) == config


@pytest.mark.parametrize(
    ("model_type", "architecture"),
    [
        ("qwen2_5_vl", "Qwen2_5_VLForConditionalGeneration"),
        ("llama", "LlamaForCausalLM"),
        ("qwen2", "Qwen2ForCausalLM"),
    ],
)
def test_another_architecture_is_named_and_nothing_else(model_type: str, architecture: str) -> None:
    values = {**HUB, "model_type": model_type, "architectures": [architecture], "attention_bias": 1}
    with pytest.raises(Qwen2VLError) as caught:
        Qwen2VLConfig.from_dict(values, source="there/config.json")
    message = str(caught.value)
    assert message.startswith("there/config.json is of another architecture: its model_type is ")
    assert f"{model_type!r} ({architecture}); this port is for Qwen2-VL" in message
    assert "\n" not in message


@pytest.mark.parametrize("architectures", [None, "llama", [], [None]])
def test_another_architecture_without_a_class(architectures: Any) -> None:
    with pytest.raises(Qwen2VLError, match="its model_type is 'llama'; this port"):
        Qwen2VLConfig.from_dict({"model_type": "llama", "architectures": architectures})


def nested() -> dict[str, Any]:
    return json.loads(reference_config().to_json_string())


RESAVED = {
    "mrope resaved as default": {
        "rope_scaling": {"type": "default", "rope_type": "default", "mrope_section": [16, 24, 24]}
    },
    "newer name of the rope dict": {
        "rope_scaling": MISSING,
        "rope_theta": MISSING,
        "rope_parameters": {
            "rope_type": "default",
            "mrope_section": [16, 24, 24],
            "rope_theta": 1e6,
        },
    },
    "vision keys equal to the class's left out": {
        "vision_config": {"hidden_size": 1536, "in_chans": 3, "model_type": "qwen2_vl"}
    },
    "both names of the channels": {"vision_config.in_channels": 3},
    "vision rope written out": {
        "vision_config.rope_parameters": {"rope_type": "axial", "rope_theta": 1e4}
    },
    "text keys on both levels": {"text_config": {k: HUB[k] for k in HUB if k != "vision_config"}},
    "switch in text_config": {
        "tie_word_embeddings": False,
        "text_config": {"tie_word_embeddings": True},
    },
}


@pytest.mark.parametrize("name", RESAVED)
def test_files_seen_in_the_wild(name: str) -> None:
    assert Qwen2VLConfig.from_dict(changed(HUB, RESAVED[name])) == Qwen2VLConfig.from_dict(HUB)


def test_the_vision_defaults_are_the_references() -> None:
    import transformers

    reference = transformers.models.qwen2_vl.configuration_qwen2_vl.Qwen2VLVisionConfig()
    ours = {**VISION_DEFAULTS}
    assert ours.pop("rope_theta") == reference.rope_parameters["rope_theta"]
    assert ours == {key: getattr(reference, key) for key in ours}


REFUSED: dict[str, dict[str, Any]] = {
    "rms_norm_eps is missing": {"rms_norm_eps": MISSING},
    "num_key_value_heads is missing": {"num_key_value_heads": None},
    "rope_theta is missing": {"rope_theta": MISSING},
    "rope_parameters is missing": {"rope_scaling": MISSING},
    "vision_config is missing": {"vision_config": MISSING},
    "tie_word_embeddings is missing": {"tie_word_embeddings": MISSING},
    "rope_scaling.mrope_section is missing": {"rope_scaling": {"type": "mrope"}},
    "rope_scaling.type is 'yarn'": {"rope_scaling.type": "yarn"},
    "rope_scaling.factor (= 4.0) is unknown": {"rope_scaling.factor": 4.0},
    "rope_scaling.mrope_section is [16, 24]": {"rope_scaling.mrope_section": [16, 24]},
    "mrope_section [16, 16, 16] sums to 48": {"rope_scaling.mrope_section": [16, 16, 16]},
    "model_type is missing": {"model_type": MISSING},
    "model_type is 5": {"model_type": 5},
    "attention_bias (= False) is unknown": {"attention_bias": False},
    "vision_config.window_size (= 112) is unknown": {"vision_config.window_size": 112},
    "quantization_config (= {}) is unknown": {"quantization_config": {}},
    "use_sliding_window is on": {"use_sliding_window": True},
    "layer_types is ['sliding_attention']": {"layer_types": ["sliding_attention"]},
    "hidden_size is '1536'": {"hidden_size": "1536"},
    "hidden_size is True": {"hidden_size": True},
    "num_hidden_layers is 0": {"num_hidden_layers": 0},
    "rms_norm_eps is -1e-06": {"rms_norm_eps": -1e-6},
    "tie_word_embeddings is 1": {"tie_word_embeddings": 1},
    "hidden_act is 'gelu'": {"hidden_act": "gelu"},
    "vision_config.hidden_act is 'gelu_pytorch_tanh'": {
        "vision_config.hidden_act": "gelu_pytorch_tanh"
    },
    "vision_config is []": {"vision_config": []},
    "hidden_size 1536 is not a multiple of num_attention_heads 13": {"num_attention_heads": 13},
    "num_attention_heads 12 is not a multiple of num_key_value_heads 5": {"num_key_value_heads": 5},
    "vision_config.embed_dim 1280 is not a multiple of 4 x num_heads 3": {
        "vision_config.num_heads": 3
    },
    "vision_config.hidden_size 3584 is not the text's hidden_size 1536": {
        "vision_config.hidden_size": MISSING
    },
    "vision_config.in_chans is 1, unlike in_channels": {
        "vision_config.in_chans": 1,
        "vision_config.in_channels": 3,
    },
    "are [151656, 151656]: they have to be two different ids": {"image_token_id": 151656},
    "they have to be two different ids below vocab_size 151656": {"vocab_size": 151656},
    "rope_scaling.mrope_section is 5": {"rope_scaling.mrope_section": 5},
    "rope_scaling.type is ['mrope']": {"rope_scaling.type": ["mrope"]},
    "rope_parameters and rope_scaling differ": {
        "rope_parameters": {"rope_type": "default", "mrope_section": [24, 24, 16]}
    },
    "rope_scaling is 'mrope'": {"rope_scaling": "mrope"},
    "layer_types is 5": {"layer_types": 5},
    "text_config is 5": {"text_config": 5},
    "vision_config.rope_parameters.rope_type is 'default'": {
        "vision_config.rope_parameters": {"rope_type": "default", "rope_theta": 1e4}
    },
    "text_config.rms_norm_eps is 1e-05, on the top level it is 1e-06": {
        "text_config": {"rms_norm_eps": 1e-5}
    },
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_is_unclear_is_refused(message: str) -> None:
    with pytest.raises(Qwen2VLError, match=f"(?s)model.json cannot be used:.*{re.escape(message)}"):
        Qwen2VLConfig.from_dict(changed(HUB, REFUSED[message]), source="model.json")


def test_nested_keys_are_named_in_full() -> None:
    values = changed(nested(), {"text_config.rms_norm_eps": MISSING, "text_config.extra": 1})
    with pytest.raises(Qwen2VLError) as caught:
        Qwen2VLConfig.from_dict(values)
    assert "text_config.rms_norm_eps is missing" in str(caught.value)
    assert "text_config.extra (= 1) is unknown" in str(caught.value)


def test_all_problems_are_listed_together() -> None:
    with pytest.raises(Qwen2VLError) as caught:
        Qwen2VLConfig.from_dict({})
    lines = str(caught.value).splitlines()[1:]
    assert len(lines) == len(set(lines)) > 10


def test_a_folder_without_a_usable_file(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    with pytest.raises(Qwen2VLError, match="nowhere is not a folder"):
        Qwen2VLConfig.from_pretrained(tmp_path / "nowhere")
    with pytest.raises(Qwen2VLError, match=f"{re.escape(str(file))} is missing"):
        Qwen2VLConfig.from_pretrained(tmp_path)
    for content, message in (
        (b'{"a": ', "is not valid JSON"),
        (b"\xff\xfe", "is not valid JSON"),
        (b"[]", "holds a list"),
    ):
        file.write_bytes(content)
        with pytest.raises(Qwen2VLError, match=message):
            Qwen2VLConfig.from_pretrained(tmp_path)


def dotted_keys(values: dict[str, Any], prefix: str = "") -> list[str]:
    """Every key, also of the objects inside."""
    keys = [prefix + key for key in values]
    inner = [(key, value) for key, value in values.items() if isinstance(value, dict)]
    return keys + [k for key, value in inner for k in dotted_keys(value, f"{prefix}{key}.")]


STRANGE = [None, True, 0, -1, 5, 3.5, "x", [], [1], {}, {"a": 1}, [[1]], float("nan"), 10**30]


@pytest.mark.parametrize("base", [HUB, nested()], ids=["published", "nested"])
def test_no_value_of_any_key_crashes_the_reader(base: dict[str, Any]) -> None:
    refused = 0
    for key in dotted_keys(base):
        for value in STRANGE:
            try:
                Qwen2VLConfig.from_dict(changed(base, {key: value}))
            except Qwen2VLError:
                refused += 1
    assert refused > 10 * len(STRANGE)
