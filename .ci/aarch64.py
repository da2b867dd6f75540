"""Resolves what a host with an NPU installs, for aarch64, and names what has no wheel for it.

    python .ci/aarch64.py                          for Python 3.10, 3.11 and 3.12
    python .ci/aarch64.py --python 3.11            for one of them
    python .ci/aarch64.py --python 3.11 --download FOLDER

pip resolves for another machine, but evaluates the conditions of requirements ("only for Python
3.10") for the Python that it runs on. So what the target needs beside that is read from pip's own
report and added, until nothing is missing.

MindSpore is left to its vendor: the wheel on the package index is tagged for any machine, and
holds libraries for x86-64. Its own requirements are resolved here.

Exit status: 0 if there is a wheel of everything, 1 if not.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
OURS, VENDORS = "qwen2vl-ms", "mindspore"
PYTHONS = ("3.10", "3.11", "3.12")
GLIBC = (17, 24, 27, 28)
"""Versions of manylinux that a host with glibc 2.28 or newer can use; Ubuntu 22.04 has 2.35."""


class ResolutionError(Exception):
    """pip's own words on what cannot be had."""


def environment(python: str) -> dict[str, str]:
    """What the conditions of requirements are evaluated in."""
    return {
        "implementation_name": "cpython",
        "os_name": "posix",
        "platform_machine": "aarch64",
        "platform_python_implementation": "CPython",
        "platform_system": "Linux",
        "python_full_version": f"{python}.0",
        "python_version": python,
        "sys_platform": "linux",
    }


def applies(requirement: Requirement, python: str, extras: Iterable[str] = ("",)) -> bool:
    """Whether ``requirement`` holds on the target, with any of ``extras``."""
    marker, target = requirement.marker, environment(python)
    return marker is None or any(marker.evaluate({**target, "extra": one}) for one in extras)


def project(extra: str) -> Iterator[Requirement]:
    """What the project requires with ``extra``, its own extras followed."""
    data = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    waiting = [*data["dependencies"], *data["optional-dependencies"][extra]]
    while waiting:
        one = Requirement(waiting.pop(0))
        if canonicalize_name(one.name) == OURS:
            waiting += [r for name in one.extras for r in data["optional-dependencies"][name]]
        else:
            yield one


def roots(python: str) -> list[Requirement]:
    """What is asked for: the project's own, with MindSpore's in place of MindSpore."""
    asked = [one for one in project("ascend") if canonicalize_name(one.name) != VENDORS]
    asked += [Requirement(text) for text in importlib.metadata.requires(VENDORS) or ()]
    return [one for one in asked if applies(one, python)]


def pins(python: str) -> list[str]:
    """The lock's lines that hold on the target."""
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    locked = (Requirement(line) for line in lines if line and not line.startswith("#"))
    return [f"{one.name}{one.specifier}" for one in locked if applies(one, python)]


def without_condition(requirement: Requirement) -> str:
    """The requirement for pip, which would evaluate its condition for itself."""
    extras = f"[{','.join(sorted(requirement.extras))}]" if requirement.extras else ""
    return f"{requirement.name}{extras}{requirement.specifier}"


def pip(verb: list[str], asked: Iterable[str], python: str, folder: Path) -> None:
    """Run pip for the target.

    Raises:
        ResolutionError: it fails.
    """
    locked = folder / "constraints.txt"
    locked.write_text("\n".join(pins(python)), encoding="utf-8")
    platforms = [f"--platform=manylinux_2_{minor}_aarch64" for minor in GLIBC]
    command = [sys.executable, "-m", "pip", *verb, "--quiet", "--disable-pip-version-check",
               "--only-binary=:all:", "--platform=manylinux2014_aarch64", *platforms,
               f"--python-version={python}", "--implementation=cp", f"--constraint={locked}",
               *asked]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        told = [line for line in done.stderr.splitlines() if line.startswith("ERROR:")]
        raise ResolutionError("\n".join(told or done.stderr.splitlines()[-5:]))


def resolved(python: str, folder: Path) -> dict[str, dict[str, object]]:
    """Pip's report of every package that is needed, by name.

    Raises:
        ResolutionError: pip finds no wheel of something.
    """
    report = folder / "report.json"
    verb = ["install", "--dry-run", "--ignore-installed", f"--target={folder / 'nowhere'}",
            f"--report={report}"]  # fmt: skip
    asked = roots(python)
    while True:
        pip(verb, [without_condition(one) for one in asked], python, folder)
        entries = json.loads(report.read_text(encoding="utf-8"))["install"]
        found = {canonicalize_name(one["metadata"]["name"]): one for one in entries}
        missing = [one for one in needed(found, python) if canonicalize_name(one.name) not in found]
        if not missing:
            return found
        asked += missing


def needed(found: dict[str, dict[str, object]], python: str) -> Iterator[Requirement]:
    """What the packages found require on the target."""
    for entry in found.values():
        extras = ["", *entry.get("requested_extras", [])]
        for text in entry["metadata"].get("requires_dist", []):
            if applies(one := Requirement(text), python, extras):
                yield one


def show(found: dict[str, dict[str, object]], python: str) -> None:
    """Print what was found."""
    wheels = sorted(entry["download_info"]["url"].rpartition("/")[2] for entry in found.values())
    binary = [name for name in wheels if not name.endswith("-none-any.whl")]
    print(f"Python {python} on aarch64: {len(wheels)} packages, {len(binary)} of them binary:")
    print("".join(f"  {name}\n" for name in binary), end="", flush=True)


def main() -> int:
    """Resolve for every Python that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--python", action="append", choices=PYTHONS, help="default: all")
    parser.add_argument("--download", type=Path, help="also put the wheels into this folder")
    chosen = parser.parse_args()
    for python in chosen.python or PYTHONS:
        with tempfile.TemporaryDirectory() as scratch:
            try:
                found = resolved(python, Path(scratch))
                show(found, python)
                if chosen.download is not None:
                    exact = [f"{name}=={one['metadata']['version']}" for name, one in found.items()]
                    verb = ["download", "--no-deps", f"--dest={chosen.download}"]
                    pip(verb, exact, python, Path(scratch))
            except ResolutionError as error:
                print(f"error: Python {python} on aarch64: {error}", file=sys.stderr)
                return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
