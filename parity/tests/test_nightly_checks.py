"""What is wrong with a machine is told by its name, before anything is run."""

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from parity.core.errors import ParityError
from parity.nightly import checks, machine_error
from parity.nightly.asked import Asked, checkpoint_of
from parity.nightly.cells import Cell
from parity.nightly.checks import (
    check_bundle,
    check_device,
    check_history,
    check_mindspore,
    check_space,
)
from parity.nightly.machine_error import MachineError
from parity.nightly.steps import run_step
from parity.seeds_weights import save_checkpoint
from parity.settings import Settings

CELL = Cell("fp32", "pynative", "tiny")


@pytest.fixture
def small(tmp_path):
    """A file system of 4 MB."""
    place = tmp_path / "small"
    place.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", place], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip("needs the right to mount a small file system")
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


@pytest.fixture
def without_mindspore(tmp_path, monkeypatch):
    """MindSpore cannot be imported in new processes, as where it is not installed."""
    place = tmp_path / "hidden"
    (place / "mindspore").mkdir(parents=True)
    (place / "mindspore" / "__init__.py").write_text(
        "raise ImportError('libmindspore_core.so: cannot open shared object file')"
    )
    monkeypatch.setenv("PYTHONPATH", f"{place}{os.pathsep}{Path(checks.__file__).parents[2]}")


def named(name, *said):
    """Expects an error of this name that says these things."""
    return pytest.raises(MachineError, match=f"^{name}: (?s:.*)" + "(?s:.*)".join(said))


def test_a_fit_machine_passes(tmp_path):
    check_space(tmp_path / "new" / "folder", 1 << 20)
    check_history(str(tmp_path / "new" / "history.sqlite"))
    check_bundle(Asked(tmp_path, ""), CELL)
    assert list((tmp_path / "new" / "folder").iterdir()) == []


def test_a_full_disk(small):
    check_space(small, 1 << 20)
    with named(machine_error.NO_SPACE, "64 MB cannot be written", "No space left on device"):
        check_space(small, 64 << 20)
    assert list(small.iterdir()) == []


def test_a_checkpoint_on_a_full_disk(small):
    weights = {"w": np.zeros(2 << 20, np.float32)}
    with pytest.raises(ParityError, match=r"cannot write .*No space left on device"):
        save_checkpoint(Settings.checkpoint, weights, small / "wide")


def test_a_place_that_is_a_file(tmp_path):
    (tmp_path / "file").touch()
    with named(machine_error.NO_SPACE, "Not a directory|File exists"):
        check_space(tmp_path / "file" / "folder", 1)


@pytest.mark.parametrize(
    ("history", "said"),
    [
        ("postgresql+psycopg://parity:secret@127.0.0.1:1/parity", "127.0.0.1"),
        ("oracle+nothing://x", "SQLAlchemy"),
    ],
)
def test_a_history_that_cannot_be_reached(history, said):
    with named(machine_error.NO_HISTORY, said) as caught:
        check_history(history)
    assert "secret" not in str(caught.value)


def test_a_history_that_is_damaged(tmp_path):
    (tmp_path / "history.sqlite").write_bytes(b"no database" * 100)
    with named(machine_error.NO_HISTORY, "history.sqlite"):
        check_history(str(tmp_path / "history.sqlite"))


def test_a_history_on_a_full_disk(small):
    with (small / "rest").open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, os.statvfs(small).f_bavail * 4096)
    with named(f"({machine_error.NO_SPACE}|{machine_error.NO_HISTORY})", "full|No space"):
        check_history(str(small / "folder" / "history.sqlite"))


def test_no_bundle(tmp_path):
    with named(machine_error.NO_BUNDLE, "nightly bundle"):
        check_bundle(Asked(tmp_path, "", bundles=tmp_path / "bundles"), CELL)


@pytest.mark.parametrize("name", ["tiny", "tiny.tar"])
def test_a_damaged_bundle(tmp_path, name):
    place = tmp_path / "bundles" / name
    place.mkdir(parents=True)
    if name == "tiny.tar":
        place.rmdir()
        place.write_bytes(b"x" * 4096)
    with named(machine_error.DAMAGED_BUNDLE):
        check_bundle(Asked(tmp_path, "", bundles=tmp_path / "bundles"), CELL)


def test_no_mindspore(without_mindspore):
    with named(machine_error.NO_MINDSPORE, "libmindspore_core.so", "aarch64"):
        check_mindspore()


@pytest.mark.slow
def test_no_device():
    check_mindspore()
    check_device("CPU", "mindspore")
    with named(machine_error.NO_DEVICE, "Ascend:0"):
        check_device("Ascend:0", "mindspore")
    with named(machine_error.RUN_ENDED, "no.such.module"):
        check_device("CPU", "no.such.module:Candidate")


def test_a_device_that_does_not_answer(monkeypatch):
    monkeypatch.setattr(checks, "SECONDS", 0.01)
    with named(machine_error.NO_DEVICE, "no answer in 0 s"):
        check_device("CPU", "mindspore")


@pytest.mark.slow
def test_the_wide_checkpoint_is_the_one_that_references_were_made_with(tmp_path):
    """Its hash was noted on another day: on every machine the same file has to come out."""
    from parity.core.files import file_hash

    made = checkpoint_of("wide", tmp_path)
    assert file_hash(made / "model.safetensors").startswith("9886a2afe1cd9012")


def test_a_step_that_takes_too_long_is_ended(tmp_path):
    ended = run_step(["nightly", "--help"], tmp_path / "log", 0.05)
    assert ended.timed_out
    assert "its time was up" in ended.how


def test_a_step_tells_how_it_ended(tmp_path):
    ended = run_step(["diff", "nothing", "nowhere"], tmp_path / "log", 60)
    assert (ended.status, ended.timed_out) == (2, False)
    assert "no run is named 'nothing'" in ended.how
    assert (tmp_path / "log").read_text() == ended.output
    assert "SIGKILL" in replace(ended, status=-9).how
