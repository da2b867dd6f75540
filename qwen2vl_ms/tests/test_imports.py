"""What the port imports, read from its source and seen in a fresh interpreter."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import qwen2vl_ms

PACKAGE = Path(qwen2vl_ms.__file__).parent
SOURCES = sorted(PACKAGE.glob("*.py"))
FORBIDDEN = {"torch", "transformers", "torchvision", "parity"}
FRAMEWORKS = FORBIDDEN | {"mindspore"}


def imported(source: str) -> set[str]:
    """Top-level packages that a module imports anywhere, also inside functions."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
    return {name.split(".")[0] for name in names}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_the_port_imports_no_reference_and_no_harness(path: Path) -> None:
    assert imported(path.read_text(encoding="utf-8")) & FORBIDDEN == set()


def test_the_check_sees_an_import() -> None:
    assert imported("def f():\n    from torch.nn import functional") == {"torch"}
    assert imported("import parity.core.stats as s, numpy") == {"parity", "numpy"}
    assert len(SOURCES) > 10


def loaded_after(statement: str) -> set[str]:
    """The frameworks in memory after a statement in a fresh interpreter."""
    code = f"import sys\n{statement}\nprint(*sorted({FRAMEWORKS!r} & set(sys.modules)))"
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PACKAGE.parent
    )
    return set(run.stdout.split())


def test_importing_the_package_loads_no_framework() -> None:
    assert loaded_after("import qwen2vl_ms; qwen2vl_ms.Qwen2VLError, dir(qwen2vl_ms)") == set()


def test_the_configuration_loads_no_framework() -> None:
    assert loaded_after("import qwen2vl_ms; qwen2vl_ms.Qwen2VLConfig") == set()


def test_the_model_loads_mindspore_alone() -> None:
    assert loaded_after("import qwen2vl_ms.model, qwen2vl_ms.weights") == {"mindspore"}


def test_public_names() -> None:
    for name in qwen2vl_ms.__all__:
        assert name in dir(qwen2vl_ms)
        assert getattr(qwen2vl_ms, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = qwen2vl_ms.Nothing
