"""`inspect`: what a folder holds and whether it loads, from headers alone."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from qwen2vl_ms import Qwen2VLConfig, Qwen2VLError
from qwen2vl_ms.__main__ import app
from qwen2vl_ms.inspection import BYTES, Inspection, inspect_checkpoint
from qwen2vl_ms.inspection_report import human, report
from qwen2vl_ms.naming import expected_shapes
from qwen2vl_ms.tests.published import CONFIGS

TINY = Path(__file__).parents[2] / "fixtures" / "qwen2vl-tiny"
SHARDS = [f"model-{i:05}-of-00002.safetensors" for i in (1, 2)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy to be changed."""
    return Path(shutil.copytree(TINY, tmp_path / "checkpoint"))


def change_json(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    values = json.loads(path.read_text(encoding="utf-8"))
    change(values)
    path.write_text(json.dumps(values), encoding="utf-8")


def inspected(folder: Path, *options: str) -> Result:
    return CliRunner().invoke(app, ["inspect", str(folder), *options])


def write_headers_only(folder: Path, size: str) -> None:
    """A checkpoint of a published size whose numbers are a hole in the file."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(CONFIGS[size]), encoding="utf-8")
    header, end = {}, 0
    for name, shape in expected_shapes(Qwen2VLConfig.from_dict(CONFIGS[size])).items():
        count = 2
        for length in shape:
            count *= length
        hub = name.replace("model.visual.", "visual.").replace("language_model.", "")
        header[hub] = {"dtype": "BF16", "shape": shape, "data_offsets": [end, end + count]}
        end += count
    text = json.dumps(header).encode()
    with (folder / "model.safetensors").open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + end)


def test_the_fixture_loads() -> None:
    found = inspect_checkpoint(TINY)
    assert found.loads
    assert not found.problems + found.chat_problems + found.notes
    assert found.architecture == "Qwen2VLForConditionalGeneration"
    assert found.parameters == {
        "vision": 1425280,
        "merger": 738752,
        "decoder": 5904896,
        "embedding": 393216,
        "head": 393216,
        "other": 0,
    }
    assert sum(found.parameters.values()) == 8_855_360  # as its manifest says
    assert found.dtypes == {"BF16": 8_855_360}
    assert found.naming == "hub"
    assert found.tied is False
    assert found.sizes["decoder key heads"] == 2
    files = [TINY / name for name in SHARDS]
    assert [(s.file, s.bytes) for s in found.shards] == [(f.name, f.stat().st_size) for f in files]
    assert sum(s.tensors for s in found.shards) == 94
    assert found.memory["fp32"].weights == 4 * 8_855_360
    assert found.memory["bf16"].weights_on_cpu == 4 * 8_855_360
    assert found.memory["fp16"].cache_per_token == 2 * 3 * 2 * 128 * 2
    assert found.memory["fp16"].cache_per_token_on_cpu == 2 * 3 * 2 * 128 * 4
    assert found.companions["chat template"] == "chat_template.json"


def test_every_policy_is_counted() -> None:
    from qwen2vl_ms.precision import POLICIES

    sizes = {"float32": 4, "float16": 2, "bfloat16": 2}
    assert {name: sizes[dtypes[0]] for name, dtypes in POLICIES.items()} == BYTES


@pytest.mark.parametrize("name", ["fp32", "bf16", "ascend-mixed"])
@pytest.mark.parametrize("native", [True, False], ids=["kernels", "emulated"])
def test_memory_is_what_the_cells_hold(name: str, native: bool) -> None:
    import mindspore as ms

    from qwen2vl_ms import Qwen2VLForConditionalGeneration
    from qwen2vl_ms.precision import resolve_policy
    from qwen2vl_ms.tests import tiny

    tiny.start()
    policy = dataclasses.replace(resolve_policy(name), native=native)
    model = Qwen2VLForConditionalGeneration(Qwen2VLConfig.from_pretrained(TINY), policy)
    sizes = {ms.float32: 4, ms.float16: 2, ms.bfloat16: 2}
    held = sum(p.size * sizes[p.dtype] for p in model.get_parameters())
    layers = model.make_cache(1, 10).layers
    cached = sum(t.size * sizes[t.dtype] for one in layers for t in (one.key, one.value)) // 10
    memory = inspect_checkpoint(TINY).memory[name]
    on_cpu = memory.weights_on_cpu, memory.cache_per_token_on_cpu
    assert (held, cached) == ((memory.weights, memory.cache_per_token) if native else on_cpu)


def test_a_published_size_is_read_in_seconds(tmp_path: Path) -> None:
    write_headers_only(tmp_path / "72B", "72B")
    found = inspect_checkpoint(tmp_path / "72B")
    assert found.loads
    assert sum(found.parameters.values()) == 73_405_560_320
    assert 146_811_120_640 < found.memory["bf16"].weights < 146_820_000_000  # norms in float32
    assert found.memory["bf16"].cache_per_token == 2 * 80 * 8 * 128 * 2
    assert len(found.chat_problems) == 1
    text = report(found)
    assert "weights 136.7 GiB, cache 320.0 KiB a token (on CPU 273.5 GiB, 640.0 KiB)" in text
    assert text.endswith("\nloads")


def test_nothing_else_is_imported() -> None:
    code = (
        "import sys; from qwen2vl_ms.inspection import inspect_checkpoint as i; "
        f"i({str(TINY)!r}); import qwen2vl_ms.__main__; "
        "print({'mindspore', 'torch', 'transformers', 'av'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "set()\n"


def drop(key: str) -> Callable[[dict[str, Any]], Any]:
    return lambda values: values.pop(key)


def put(**values: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda content: content.update(values)


CONFIG = "config.json"
DAMAGE: dict[str, Callable[[Path], Any]] = {
    f"{SHARDS[0]} is missing": lambda f: (f / SHARDS[0]).unlink(),
    f"{SHARDS[1]} is not a complete safetensors": lambda f: (f / SHARDS[1]).write_bytes(b"x"),
    "config.json is missing": lambda f: (f / CONFIG).unlink(),
    "config.json is not valid JSON": lambda f: (f / CONFIG).write_text("{"),
    "rms_norm_eps is missing": lambda f: change_json(f / CONFIG, drop("rms_norm_eps")),
    "model_type is 'llama' (Qwen2VLForConditionalGeneration); this port is for Qwen2-VL": (
        lambda f: change_json(f / CONFIG, put(model_type="llama"))
    ),
    "visual.blocks.3.mlp.fc1.bias is unexpected": (
        lambda f: change_json(f / CONFIG, lambda v: v["vision_config"].update(depth=3))
    ),
    "model.language_model.layers.3.mlp.up_proj.weight is missing": (
        lambda f: change_json(f / CONFIG, put(num_hidden_layers=4))
    ),
    "lm_head.weight has shape [768, 512], the model's is [769, 512]": (
        lambda f: change_json(f / CONFIG, put(vocab_size=769))
    ),
    "unknown generation setting 'num_beam'": (
        lambda f: change_json(f / "generation_config.json", put(num_beam=3))
    ),
}


@pytest.mark.parametrize("message", DAMAGE)
def test_why_it_does_not_load(folder: Path, message: str) -> None:
    DAMAGE[message](folder)
    found = inspect_checkpoint(folder)
    assert any(message in problem for problem in found.problems)
    result = inspected(folder)
    assert result.exit_code == 1
    assert "\ndoes not load\n" in result.stdout
    assert message in result.stdout
    assert "\nloads" not in result.stdout


def test_it_agrees_with_loading(folder: Path) -> None:
    from qwen2vl_ms import Qwen2VLForConditionalGeneration
    from qwen2vl_ms.tests import tiny

    tiny.start()
    Qwen2VLForConditionalGeneration.from_pretrained(folder)
    for message in ("lm_head.weight has shape", "unknown generation setting"):
        damaged = next(m for m in DAMAGE if m.startswith(message))
        DAMAGE[damaged](folder)
        assert not inspect_checkpoint(folder).loads
        with pytest.raises(Qwen2VLError, match=re.escape(damaged)):
            Qwen2VLForConditionalGeneration.from_pretrained(folder)
        shutil.rmtree(folder)
        shutil.copytree(TINY, folder)


def test_all_problems_are_listed_together(folder: Path) -> None:
    change_json(folder / CONFIG, drop("rms_norm_eps"))
    change_json(folder / "generation_config.json", put(beams=3))
    (folder / SHARDS[0]).unlink()
    (folder / SHARDS[1]).write_bytes(b"")
    found = inspect_checkpoint(folder)
    assert len(found.problems) == 4
    assert found.sizes == {}
    assert found.memory == {}
    assert found.tied is None
    assert found.shards == []
    assert report(found).count("\n  - ") == 4


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tokenizer.json", "tokenizer.json"),
        ("chat_template.json", "no chat template"),
        ("preprocessor_config.json", "preprocessor_config.json"),
    ],
)
def test_what_a_conversation_lacks(folder: Path, name: str, message: str) -> None:
    (folder / name).unlink()
    change_json(folder / "tokenizer_config.json", drop("chat_template"))
    found = inspect_checkpoint(folder)
    assert found.loads
    assert len(found.chat_problems) == 1
    assert message in found.chat_problems[0]
    text = report(found)
    assert "\ncannot chat\n" in text
    assert text.endswith("\nloads")
    assert inspected(folder).exit_code == 0


def test_missing_companions_are_shown(folder: Path) -> None:
    (folder / "generation_config.json").unlink()
    found = inspect_checkpoint(folder)
    assert found.companions["generation settings"] is None
    assert "no generation_config.json" in found.notes[0]
    assert re.search(r"generation settings +missing\n", report(found))


def test_a_template_inside_the_tokenizers_settings(folder: Path) -> None:
    (folder / "chat_template.json").unlink()
    found = inspect_checkpoint(folder)
    assert found.companions["chat template"] == "tokenizer_config.json"
    assert not found.chat_problems
    change_json(folder / "tokenizer_config.json", drop("chat_template"))
    assert inspect_checkpoint(folder).companions["chat template"] is None


def test_a_tied_head_that_is_stored_is_noted(folder: Path) -> None:
    change_json(folder / CONFIG, put(tie_word_embeddings=True))
    found = inspect_checkpoint(folder)
    assert found.loads
    assert found.tied
    assert "loading checks that it equals the embedding" in found.notes[0]
    assert found.memory["fp32"].weights == 4 * (8_855_360 - 393_216)


def test_json_holds_everything() -> None:
    result = inspected(TINY, "--json")
    assert result.exit_code == 0
    values = json.loads(result.stdout)
    assert values["loads"] is True
    assert set(values) == {"loads", *Inspection.__dataclass_fields__}
    assert values["shards"][0]["file"] == SHARDS[0]


@pytest.mark.parametrize("content", [None, "empty"])
def test_nothing_to_look_at(tmp_path: Path, content: str | None) -> None:
    folder = tmp_path / "nowhere"
    if content:
        folder.mkdir()
    result = inspected(folder)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert re.fullmatch(r"error: \S*nowhere (is not a folder|holds neither).*\n", result.stderr)


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 bytes"), (1023, "1023 bytes"), (1536, "1.5 KiB"), (2**50, "1024.0 TiB")],
)
def test_bytes_for_people(count: int, text: str) -> None:
    assert human(count) == text
