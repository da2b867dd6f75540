"""A damaged bundle in the cache is captured again where PyTorch is, and refused where it is not."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from parity.core.errors import BundleError, ParityError
from parity.core.store import MANIFEST, TENSORS, Bundle, json_hash
from parity.prune import stale_bundles
from parity.references import References
from parity.session import Session
from parity.settings import Settings

ROOT = Path(__file__).parent.parent.parent
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def captured(tmp_path_factory):
    """A cache with the bundle of the smallest case."""
    bundles = tmp_path_factory.mktemp("captured")
    session = Session(settings(bundles))
    session.references.capture([(session.cases[0], "fp32")])
    return bundles


def settings(bundles):
    return Settings(bundles=bundles, cases=("text-only",))


@pytest.fixture
def bundles(captured, tmp_path):
    return shutil.copytree(captured, tmp_path / "bundles")


def references(bundles, said=None):
    return References(settings(bundles), (said if said is not None else []).append)


def opened(bundles, said=None):
    case = Session(settings(bundles)).cases[0]
    return references(bundles, said).open(case, "fp32")


def only(bundles):
    """The one bundle's folder."""
    (found,) = [path for path in bundles.iterdir() if path.is_dir() and path.suffix != ".damaged"]
    return found


def flip(path, place):
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(bytes(data))


def run(bundles, *options, **environment):
    command = [sys.executable, "-m", "parity", "run", "--case", "text-only", "--no-history",
               "--bundles", bundles, "--report", bundles.parent / "report"]  # fmt: skip
    return subprocess.run([*map(str, command), *options], cwd=ROOT, capture_output=True, text=True,
                          check=False, env={**os.environ, **environment})  # fmt: skip


def test_a_run_captures_a_damaged_bundle_again(bundles):
    sound = Bundle.open(only(bundles)).points
    flip(only(bundles) / TENSORS, -5)
    done = run(bundles)
    assert done.returncode == 0, done.stderr
    said = " ".join(done.stderr.split())
    assert "does not match its hash" in said
    assert "captured again now" in said
    assert Bundle.open(only(bundles)).points == sound
    with pytest.raises(BundleError, match="does not match its hash"):
        Bundle.open(bundles / f"{only(bundles).name}.damaged").check()
    assert [one.folder.name for one in stale_bundles(settings(bundles), -1)] == [
        f"{only(bundles).name}.damaged"
    ]
    assert "captured again" not in run(bundles).stderr


def test_it_is_refused_by_name_where_it_cannot_be_captured(bundles, tmp_path):
    """A machine without PyTorch: importing it fails."""
    (tmp_path / "none" / "torch").mkdir(parents=True)
    (tmp_path / "none" / "torch" / "__init__.py").write_text("raise ImportError('no torch here')")
    folder, path = only(bundles), f"{tmp_path / 'none'}{os.pathsep}{ROOT}"
    flip(folder / TENSORS, -5)
    damaged = (folder / TENSORS).read_bytes()
    done = run(bundles, PYTHONPATH=path)
    assert done.returncode == 2
    said = " ".join(done.stderr.split())
    assert f"{folder / TENSORS} is damaged" in said
    assert "no torch here" in said
    assert (folder / TENSORS).read_bytes() == damaged
    assert only(bundles) == folder
    assert not (bundles.parent / "report").exists()


@pytest.mark.parametrize("file", [MANIFEST, TENSORS])
def test_what_is_cut_off_is_refused_and_left_where_it_was(bundles, file, monkeypatch):
    def cannot(self, wanted):
        raise ParityError("no PyTorch")

    monkeypatch.setattr(References, "capture", cannot)
    path = only(bundles) / file
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(BundleError, match=f"{file}.*damaged.*no PyTorch"):
        opened(bundles)
    assert path.is_file()
    assert not list(bundles.glob("*.damaged"))


def test_the_bundle_of_another_version_or_case_is_not_believed(bundles, monkeypatch):
    """Of another format, or of other inputs, under the name of this one."""
    folder, captures = only(bundles), []

    def again(self, wanted):
        captures.append(wanted)
        shutil.copytree(bundles / f"{folder.name}.damaged", folder)
        (folder / MANIFEST).write_text(sound)

    monkeypatch.setattr(References, "capture", again)
    sound = (folder / MANIFEST).read_text()
    for change in ({"format": 2}, {"format": 99}, {"key": {"case": "other"}}):
        content = {**json.loads(sound), **change}
        del content["sha256"]
        (folder / MANIFEST).write_text(json.dumps(content | {"sha256": json_hash(content)}))
        said = []
        assert opened(bundles, said).points
        assert "captured again" in said[0]
    assert len(captures) == 3


def test_a_process_that_was_faster_is_not_undone(bundles, monkeypatch):
    """Two processes find the damage; the second finds it mended when it gets the lock."""
    case = Session(settings(bundles)).cases[0]
    monkeypatch.setattr(References, "capture", lambda self, wanted: pytest.fail("captured again"))
    references(bundles)._capture_again(case, "fp32", BundleError("it was damaged"))
    assert opened(bundles).points
    assert not list(bundles.glob("*.damaged"))
