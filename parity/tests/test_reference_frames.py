"""Loading the reference's video processor: it works, or says what to do and leaves no trace."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from parity.adapters.torchvision_shim import (
    FOLDER_VARIABLE,
    REGISTRATIONS,
    import_torchvision,
    torchvision_folder,
)
from parity.core.errors import ParityError

ROOT = Path(__file__).resolve().parents[2]

LOAD = """
import sys
from parity.adapters.torchvision_shim import reference_video_processor
first, second = (reference_video_processor(sys.argv[1]) for _ in range(2))
import torch, transformers
from transformers import Qwen2VLForConditionalGeneration
print(type(first).__name__, second.size["longest_edge"], torch.ones(2).sum().item())
"""


def test_the_processor_loads_and_the_process_goes_on(tmp_path):
    (tmp_path / "video_preprocessor_config.json").write_text(json.dumps({"max_pixels": 9408}))
    done = subprocess.run(
        [sys.executable, "-c", LOAD, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split() == ["Qwen2VLVideoProcessor", "9408", "2.0"], done.stderr


@pytest.fixture
def no_transformers(monkeypatch):
    for name in ("transformers", "torchvision"):
        monkeypatch.delitem(sys.modules, name, raising=False)


def refused(*words: str) -> None:
    path, modules = list(sys.path), set(sys.modules)
    with pytest.raises(ParityError) as caught:
        import_torchvision()
    for word in words:
        assert word in str(caught.value), str(caught.value)
    assert sys.path == path
    assert REGISTRATIONS not in sys.modules
    assert not [name for name in set(sys.modules) - modules if name.startswith("torchvision")]


def test_a_missing_torchvision_is_named(no_transformers, monkeypatch, tmp_path):
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    refused(str(tmp_path), f"pip install --no-deps --target {tmp_path}", FOLDER_VARIABLE)


def test_a_broken_torchvision_leaves_no_trace(no_transformers, monkeypatch, tmp_path):
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision" / "__init__.py").write_text("raise RuntimeError('no operator')")
    refused(str(tmp_path), "no operator", "fit the torch", "pip install")


def test_transformers_must_not_come_first(no_transformers, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", sys)
    refused("transformers was imported before torchvision", "process of its own")


def test_the_folder_is_beside_the_packages_unless_named(monkeypatch):
    monkeypatch.delenv(FOLDER_VARIABLE, raising=False)
    assert torchvision_folder() == Path(sys.prefix) / "torchvision-only"
    monkeypatch.setenv(FOLDER_VARIABLE, "/elsewhere")
    assert torchvision_folder() == Path("/elsewhere")
