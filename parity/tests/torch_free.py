"""An environment that has the built wheel and the packages that it names, and no other.

Packages are linked from the environment that runs the tests, one by one, as far as the wheel's own
list of requirements leads: nothing is downloaded, and what is not required is not there. On top of
that, whoever asks for PyTorch or for the network in it is refused, and noted.
"""

import json
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from email.parser import HeaderParser
from functools import cached_property
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent.parent
FORBIDDEN = ("torch", "torchvision", "transformers")
GUARD = '''
"""Refuses PyTorch and the network, and notes who asks for them."""
import json, socket, sys, traceback

def refused(what):
    with open({log!r}, "a") as log:
        print(json.dumps([what, "".join(traceback.format_stack()[-8:])]), file=log)
    return what + " is refused here"

class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] in {forbidden!r}:
            raise ImportError(refused(name))

class Socket(socket.socket):
    def __init__(self, family=-1, *rest, **more):
        if family != socket.AF_UNIX:
            raise OSError(refused("a socket"))
        super().__init__(family, *rest, **more)

def no_address(*asked, **more):
    raise OSError(refused("an address"))

sys.meta_path.insert(0, Finder)
socket.socket, socket.getaddrinfo, socket.create_connection = Socket, no_address, no_address
'''


def built_wheel(place):
    """The project's wheel, built from a copy of its sources, in the folder ``place``."""
    sources = place / "sources"
    nothing = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for package in ("parity", "qwen2vl_ms"):
        shutil.copytree(ROOT / package, sources / package, ignore=nothing)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, sources)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps",
               "--no-build-isolation", "--wheel-dir", place, sources]  # fmt: skip
    subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True)
    (wheel,) = place.glob("*.whl")
    return wheel


def required(wheel):
    """The distributions that a wheel needs, of those that are installed here."""
    with zipfile.ZipFile(wheel) as archive:
        name = next(one for one in archive.namelist() if one.endswith(".dist-info/METADATA"))
        text = HeaderParser().parsestr(archive.read(name).decode())
    found, wanted = {}, _needed(text.get_all("Requires-Dist"), {""})
    while wanted:
        one = wanted.pop()
        key = re.sub(r"[-_.]+", "-", one.name).lower()
        if key not in found:
            found[key] = metadata.distribution(one.name)
            wanted += _needed(found[key].requires, one.extras or {""})
    return found


def _needed(texts, extras):
    every = [Requirement(text) for text in texts or ()]
    return [one for one in every if any(_applies(one, extra) for extra in extras)]


def _applies(one, extra):
    return one.marker is None or one.marker.evaluate({"extra": extra})


class TorchFree:
    """A virtual environment with a wheel and what it requires; commands in it are watched."""

    def __init__(self, place, wheel):
        self.place, self.log = place, place / "refused"
        venv.create(place / "env", symlinks=True)
        for distribution in required(wheel).values():
            self._link(distribution)
        command = [sys.executable, "-m", "pip", f"--python={self.python}", "install", "--quiet",
                   "--no-deps", "--no-index", wheel]  # fmt: skip
        subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True)
        guard = GUARD.format(log=str(self.log), forbidden=set(FORBIDDEN))
        # Not sitecustomize.py: some systems' Python brings one of its own, which is found first.
        (self.packages / "torch_free_guard.py").write_text(guard, encoding="utf-8")
        (self.packages / "torch_free_guard.pth").write_text("import torch_free_guard\n")

    @property
    def python(self):
        return self.place / "env" / "bin" / "python"

    @cached_property
    def packages(self):
        paths = {"base": str(self.place / "env"), "platbase": str(self.place / "env")}
        return Path(sysconfig.get_path("purelib", "venv", paths))

    def _link(self, distribution):
        """Link every package and file that a distribution has installed."""
        for top in {file.parts[0] for file in distribution.files}:
            source, link = distribution.locate_file(top), self.packages / top
            if top not in ("..", "__pycache__", "bin") and not link.exists():
                link.symlink_to(source)

    @cached_property
    def unshared(self):
        """What puts a command into a namespace without a network, where that is allowed."""
        prefix = ["unshare", "--user", "--map-root-user", "--net"]
        try:
            allowed = subprocess.run([*prefix, "true"], capture_output=True, check=False)
        except FileNotFoundError:
            return []
        return prefix if allowed.returncode == 0 else []

    def run(self, *command, folder):
        """Run a command of the environment in ``folder``, with a cache and home of its own."""
        home = self.place / "home"
        home.mkdir(exist_ok=True)
        variables = {"PATH": f"{self.python.parent}:/usr/bin:/bin", "HOME": str(home),
                     "PARITY_HISTORY": "none"}  # fmt: skip
        return subprocess.run(
            [*self.unshared, *map(str, command)], cwd=folder, env=variables, text=True,
            capture_output=True, check=False,
        )  # fmt: skip

    @property
    def refused(self):
        """What was asked for and refused, with who did."""
        if not self.log.exists():
            return []
        return [json.loads(line) for line in self.log.read_text(encoding="utf-8").splitlines()]
