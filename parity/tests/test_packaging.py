"""What is packed, and what a host with an NPU has to install for it."""

import importlib.util
import subprocess
import sys
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PICTURES, ENVIRONMENTS = ".svg", "requirements.txt"
"""Ends of files of the checkout alone: for the documentation, and to make an environment from."""
HEAVY = {"torch", "torchvision", "transformers", "pytest", "pytest-xdist", "av", "pyarrow"}


def aarch64():
    """The command's own functions."""
    spec = importlib.util.spec_from_file_location("aarch64", ROOT / ".ci" / "aarch64.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built from the tracked files alone."""
    place = tmp_path_factory.mktemp("wheel")
    tracked = subprocess.run(
        ["git", "-C", ROOT, "ls-files", "-z", "pyproject.toml", "README.md", "LICENSE", "parity",
         "qwen2vl_ms"], capture_output=True, text=True, check=True,
    )  # fmt: skip
    for name in filter(None, tracked.stdout.split("\0")):
        target = place / "source" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).exists():
            target.write_bytes((ROOT / name).read_bytes())
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation",
         "--wheel-dir", place, place / "source"], check=True,
    )  # fmt: skip
    return next(place.glob("*.whl"))


@pytest.mark.slow
def test_the_wheel_is_pure_and_holds_what_runs_need(wheel):
    assert wheel.name.endswith("-py3-none-any.whl")
    with zipfile.ZipFile(wheel) as packed:
        names = set(packed.namelist())
        about = message_from_bytes(packed.read(next(n for n in names if n.endswith("METADATA"))))
    source = wheel.parent / "source"
    there = {str(path.relative_to(source)) for path in source.rglob("*") if path.is_file()}
    ours = {name for name in there if name.startswith(("parity/", "qwen2vl_ms/"))}
    needed = {name for name in ours
              if "/tests/" not in name and not name.endswith((PICTURES, ENVIRONMENTS))}  # fmt: skip
    assert needed - names == set()
    assert [name for name in names if "/tests/" in name] == []
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert about["Name"] == "qwen2vl-ms"
    assert about["Requires-Python"] == "<3.13,>=3.10"
    assert about["License-Expression"] == "Apache-2.0"
    assert {"ascend", "dev", "reference"} <= set(about.get_all("Provides-Extra"))


def test_an_npu_host_installs_nothing_heavy_that_it_does_not_need():
    asked = {canonicalize_name(one.name) for one in aarch64().project("ascend")}
    assert asked & HEAVY == set()
    assert {"mindspore", "numpy", "sqlalchemy", "ruptures", "sympy"} <= asked


def test_the_conditions_of_requirements_are_those_of_the_target():
    module = aarch64()
    assert "tomli" in {one.name for one in module.roots("3.10")}
    assert "tomli" not in {one.name for one in module.roots("3.12")}
    assert module.applies(Requirement("x; platform_machine == 'aarch64'"), "3.11")
    assert not module.applies(Requirement("x; sys_platform == 'win32'"), "3.11")
    assert module.applies(Requirement("x; extra == 'y'"), "3.11", ["", "y"])
    assert not module.applies(Requirement("x; extra == 'y'"), "3.11")
    pinned = dict(line.split("==") for line in module.pins("3.10"))
    assert pinned["pillow"] != dict(line.split("==") for line in module.pins("3.12"))["pillow"]


def has_index(place):
    """Whether pip finds anything for that machine: a package that is known to be there."""
    asked = ["install", "--dry-run", "--no-deps", "--only-binary=:all:", f"--target={place}",
             "--platform=manylinux2014_aarch64", "safetensors==0.8.0"]  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "pip", *asked], capture_output=True, text=True, check=False
    )
    return done.returncode == 0


@pytest.mark.slow
def test_everything_has_a_wheel_for_aarch64(tmp_path):
    """For one Python here; `python .ci/aarch64.py` resolves for all three."""
    done = subprocess.run(
        [sys.executable, ROOT / ".ci" / "aarch64.py", "--python", "3.11"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode and not has_index(tmp_path):
        pytest.skip(f"needs a package index: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    wheels = [line.strip() for line in done.stdout.splitlines()[1:]]
    assert len(wheels) > 10
    assert [name for name in wheels if "aarch64" not in name] == []


@pytest.mark.slow
def test_a_package_without_such_a_wheel_is_named(monkeypatch, tmp_path):
    module = aarch64()
    monkeypatch.setattr(module, "roots", lambda python: [Requirement("numpy==1.26.999")])
    monkeypatch.setattr(module, "pins", lambda python: [])
    with pytest.raises(module.ResolutionError, match=r"numpy==1\.26\.999"):
        module.resolved("3.11", tmp_path)
