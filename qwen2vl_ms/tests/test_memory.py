"""Peak memory of loading: the model and one tensor, not a copy of the checkpoint beside it."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from qwen2vl_ms import Qwen2VLConfig
from qwen2vl_ms.naming import expected_shapes
from qwen2vl_ms.tests.published import CONFIGS

SLACK = 24 << 20  # slices, and what the framework and the allocator take aside


def write_checkpoint(folder: Path, shards: int = 4) -> None:
    """About 350 MB of float32, random, stored in bfloat16 and written shard by shard."""
    values = copy.deepcopy(CONFIGS["7B"]) | {
        "hidden_size": 1024,
        "num_attention_heads": 8,
        "num_key_value_heads": 2,
        "num_hidden_layers": 2,
        "intermediate_size": 3072,
        "vocab_size": 20480,
        "image_token_id": 20000,
        "video_token_id": 20001,
    }
    values["vision_config"] |= {"depth": 2, "embed_dim": 320, "num_heads": 4, "hidden_size": 1024}
    (folder / "config.json").write_text(json.dumps(values), encoding="utf-8")
    shapes = expected_shapes(Qwen2VLConfig.from_dict(values))
    rng = np.random.default_rng(0)
    weight_map = {}
    for shard in range(shards):
        file = f"model-{shard + 1:05}-of-{shards:05}.safetensors"
        names = sorted(shapes)[shard::shards]
        weight_map |= dict.fromkeys(names, file)
        tensors = {n: rng.random(shapes[n], np.float32).astype(ml_dtypes.bfloat16) for n in names}
        save_file(tensors, folder / file)
    index = {"metadata": {}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")


def measured(folder: Path, how: str) -> dict[str, int]:
    command = [sys.executable, "-m", "qwen2vl_ms.tests.memory_of_loading", str(folder), how]
    run = subprocess.run(
        command, capture_output=True, text=True, timeout=300, env={**os.environ}, check=False
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout.splitlines()[-1])


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_peak_memory_is_the_model_and_one_tensor(tmp_path: Path) -> None:
    write_checkpoint(tmp_path)
    loaded = measured(tmp_path, "loaded")
    assert loaded["model"] > 250 << 20
    assert loaded["held"] == 0
    bound = loaded["model"] + loaded["largest"] + SLACK
    assert loaded["model"] < loaded["peak"] <= bound
    hoarded = measured(tmp_path, "hoarded")
    assert hoarded["held"] > 50
    assert hoarded["peak"] > bound
