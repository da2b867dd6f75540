"""Reading generation_config.json: what is taken, what is harmless, and what is refused."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import transformers

from qwen2vl_ms import Qwen2VLError
from qwen2vl_ms.generation_config import IGNORED_KEYS, NEUTRAL_VALUES, GenerationConfig

# As published with Qwen2-VL-2B-Instruct.
PUBLISHED = {
    "bos_token_id": 151643,
    "pad_token_id": 151643,
    "do_sample": True,
    "eos_token_id": [151645, 151643],
    "repetition_penalty": 1.0,
    "temperature": 0.01,
    "top_p": 0.001,
    "top_k": 1,
    "transformers_version": "4.41.2",
}


def written(folder: Path, values: Any, name: str = "generation_config.json") -> Path:
    (folder / name).write_text(values if isinstance(values, str) else json.dumps(values))
    return folder


def test_a_published_file(tmp_path: Path) -> None:
    config = GenerationConfig.from_pretrained(written(tmp_path, PUBLISHED))
    assert config == GenerationConfig(
        do_sample=True,
        eos_token_id=(151645, 151643),
        pad_token_id=151643,
        bos_token_id=151643,
        temperature=0.01,
        top_p=0.001,
        top_k=1,
    )


def test_the_fixture_checkpoint() -> None:
    folder = Path(__file__).parents[2] / "fixtures" / "qwen2vl-tiny"
    config = GenerationConfig.from_pretrained(folder)
    assert (config.do_sample, config.eos_token_id, config.fill_token_id) == (False, (756, 754), 754)


def test_without_a_file_the_model_says_the_tokens(tmp_path: Path) -> None:
    written(tmp_path, {"eos_token_id": 7, "text_config": {"bos_token_id": 3}}, "config.json")
    config = GenerationConfig.from_pretrained(tmp_path)
    assert (config.eos_token_id, config.bos_token_id, config.fill_token_id) == ((7,), 3, 7)


def test_defaults_are_the_references() -> None:
    theirs = transformers.GenerationConfig._get_default_generation_params()
    ours = GenerationConfig()
    for name in ("do_sample", "temperature", "top_k", "top_p", "repetition_penalty"):
        assert getattr(ours, name) == theirs[name]
    assert ours.new_tokens(7) == theirs["max_length"]


def test_every_key_of_the_reference_is_known() -> None:
    theirs = {key for key in vars(transformers.GenerationConfig()) if not key.startswith("_")}
    ours = {*GenerationConfig.__dataclass_fields__, *IGNORED_KEYS, *NEUTRAL_VALUES}
    assert len(theirs) > 60
    assert theirs - ours == set()


def test_the_references_defaults_are_neutral() -> None:
    """What transformers fills in where nothing is said has to pass."""
    theirs = transformers.GenerationConfig._get_default_generation_params()
    GenerationConfig.from_mapping(theirs, "defaults")
    GenerationConfig.from_mapping(dict.fromkeys(NEUTRAL_VALUES), "nulls")
    for key, values in NEUTRAL_VALUES.items():
        for value in values:
            GenerationConfig().overridden(**{key: value})


REFUSED = {
    "num_beams is 4, which is not implemented: remove it or set it to 1": {"num_beams": 4},
    "num_beams is True": {"num_beams": True},
    "min_p is 0.1, which is not implemented": {"min_p": 0.1},
    "stop_strings is ['x']": {"stop_strings": ["x"]},
    "suppress_tokens is [3]": {"suppress_tokens": [3]},
    "unknown generation setting 'max_new_token' (5): correct its name": {"max_new_token": 5},
    "temperature is 0: it has to be a number over 0 (for greedy, set do_sample to false)": {
        "temperature": 0
    },
    "temperature is inf": {"temperature": float("inf")},
    "temperature is 'hot'": {"temperature": "hot"},
    "top_k is -1: it has to be a whole number of at least 0": {"top_k": -1},
    "top_k is True": {"top_k": True},
    "top_p is 1.5: it has to be a number from 0 to 1": {"top_p": 1.5},
    "repetition_penalty is 0.0": {"repetition_penalty": 0.0},
    "max_new_tokens is 0: it has to be a whole number of at least 1": {"max_new_tokens": 0},
    "max_length is 2.5": {"max_length": 2.5},
    "do_sample is 'yes'": {"do_sample": "yes"},
    "eos_token_id is (3, -1): it has to be a token id or a list of ids": {"eos_token_id": [3, -1]},
    "pad_token_id is -1": {"pad_token_id": -1},
}


@pytest.mark.parametrize("message", REFUSED)
def test_refused(tmp_path: Path, message: str) -> None:
    with pytest.raises(Qwen2VLError, match=re.escape(message)):
        GenerationConfig().overridden(**REFUSED[message])
    path = written(tmp_path, PUBLISHED | REFUSED[message]) / "generation_config.json"
    with pytest.raises(Qwen2VLError, match="^" + re.escape(f"{path}: {message}")):
        GenerationConfig.from_pretrained(tmp_path)


def test_damaged_files(tmp_path: Path) -> None:
    with pytest.raises(Qwen2VLError, match="not valid JSON"):
        GenerationConfig.from_pretrained(written(tmp_path, "{"))
    with pytest.raises(Qwen2VLError, match="no checkpoint folder"):
        GenerationConfig.from_pretrained(tmp_path / "nothing")


def test_lengths() -> None:
    config = GenerationConfig(max_new_tokens=5)
    assert config.new_tokens(100) == 5
    assert config.overridden(max_new_tokens=None).new_tokens(100) == 5
    assert config.overridden(max_length=104).new_tokens(100) == 4
    assert GenerationConfig(max_new_tokens=5, max_length=2).new_tokens(100) == 5
    with pytest.raises(Qwen2VLError, match="max_length is 100 and the prompt has 100 tokens"):
        config.overridden(max_length=100).new_tokens(100)
    with pytest.raises(Qwen2VLError, match="both given"):
        config.overridden(max_length=100, max_new_tokens=3)


def test_one_end_token_several_or_none() -> None:
    config = GenerationConfig(eos_token_id=(4, 5))
    assert config.overridden(eos_token_id=6).eos_token_id == (6,)
    assert config.overridden(eos_token_id=[]).eos_token_id == ()
    assert config.overridden().eos_token_id == (4, 5)
