"""Bundles: what is written comes back, and nothing damaged is believed."""

import json
import os
import shutil
import subprocess
import sys
import time

import ml_dtypes
import numpy as np
import pytest

from parity.core.errors import BundleError
from parity.core.files import locked
from parity.core.store import (
    MANIFEST,
    TENSORS,
    Bundle,
    BundleWriter,
    Proof,
    ReferenceFiring,
    last_used,
    mark_used,
)


def write(folder, seed=0):
    rng = np.random.default_rng(seed)
    value = rng.standard_normal((4, 8)).astype(np.float32)
    writer = BundleWriter({"case": "a", "dtype": "fp32"})
    truth = value.astype(np.float64) * (1 + 1e-9)
    firing = ReferenceFiring(writer.add(value), "float32", writer.add_residual(truth, value))
    firing.inputs = {"hidden_states": writer.add(value.copy())}
    writer.points["visual.blocks.0"] = [firing]
    writer.write(folder)
    return value, truth


def test_round_trip(tmp_path):
    value, truth = write(tmp_path / "b")
    bundle = Bundle.open(tmp_path / "b")
    bundle.check()
    firing = bundle.get("visual.blocks.0", 0)
    assert np.array_equal(bundle.tensor(firing.value), value)
    back = value.astype(np.float64) + bundle.tensor(firing.local)
    assert np.abs(back - truth).max() < 1e-16
    assert bundle.get("visual.blocks.0", 1) is None
    assert bundle.get("visual.blocks.1", 0) is None


def test_what_is_known_of_the_reference_comes_back(tmp_path):
    writer = BundleWriter({})
    writer.proofs = [Proof("it repeats", True, "2 runs"), Proof("hooks", False, "1 of 4 differ")]
    writer.tokens, writer.chunks = [[[3, 4], [5, 6]], [[7, 8]]], 3
    value = writer.add(np.ones(2, np.float32))
    writer.points["a"] = [ReferenceFiring(value, "float16", weight_rounding=1.0 / 3)]
    writer.write(tmp_path / "b")
    bundle = Bundle.open(tmp_path / "b")
    assert bundle.proofs == writer.proofs
    assert (bundle.tokens, bundle.chunks) == (writer.tokens, 3)
    assert bundle.points["a"][0].weight_rounding == 1.0 / 3


def test_one_content_is_stored_once(tmp_path):
    write(tmp_path / "b")
    bundle = Bundle.open(tmp_path / "b")
    firing = bundle.get("visual.blocks.0", 0)
    assert firing.inputs["hidden_states"] == firing.value


def test_equal_truth_needs_no_residual():
    writer = BundleWriter({})
    value = np.ones(3, np.float32)
    assert writer.add_residual(value.astype(np.float64), value) is None


@pytest.mark.parametrize("name", [MANIFEST, TENSORS])
def test_a_flipped_bit_anywhere_is_refused_by_name(tmp_path, name):
    write(tmp_path / "b")
    original = (tmp_path / "b" / name).read_bytes()
    rng = np.random.default_rng(0)
    for position in rng.choice(len(original), size=150, replace=False):
        damaged = bytearray(original)
        damaged[position] ^= 1 << int(rng.integers(8))
        (tmp_path / "b" / name).write_bytes(bytes(damaged))
        refused = None
        try:
            bundle = Bundle.open(tmp_path / "b")
            bundle.check()
        except BundleError as error:
            refused = str(error)
        if refused is None:
            # White space in JSON and padding in a header carry nothing; values must be intact.
            assert bundle.points == _intact(tmp_path, original, name)
        else:
            assert str(tmp_path / "b") in refused


def _intact(tmp_path, original, name):
    good = tmp_path / "good"
    shutil.copytree(tmp_path / "b", good, dirs_exist_ok=True)
    (good / name).write_bytes(original)
    return Bundle.open(good).points


@pytest.mark.parametrize("name", [MANIFEST, TENSORS])
def test_a_truncated_file_is_refused(tmp_path, name):
    write(tmp_path / "b")
    path = tmp_path / "b" / name
    for size in (0, 1, 7, 9, path.stat().st_size // 2, path.stat().st_size - 1):
        data = path.read_bytes()
        path.write_bytes(data[:size])
        with pytest.raises(BundleError, match=name.replace(".", r"\.")):
            Bundle.open(tmp_path / "b").check()
        path.write_bytes(data)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 99}, "format 99"),
        ({"points": {"x": [{"nonsense": 1}]}}, "does not match its own hash"),
        ({"sha256": "0"}, "does not match its own hash"),
    ],
)
def test_a_changed_manifest_is_refused(tmp_path, change, message):
    write(tmp_path / "b")
    path = tmp_path / "b" / MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(BundleError, match=message):
        Bundle.open(tmp_path / "b")


@pytest.mark.parametrize("text", ["[]", "null", '{"format": 1}', "{", "\x00", "[" * 100000])
def test_a_manifest_that_is_none_is_refused(tmp_path, text):
    write(tmp_path / "b")
    (tmp_path / "b" / MANIFEST).write_text(text)
    with pytest.raises(BundleError, match="manifest"):
        Bundle.open(tmp_path / "b")


def test_a_missing_bundle_says_what_to_do(tmp_path):
    with pytest.raises(BundleError, match="run once where PyTorch is"):
        Bundle.open(tmp_path / "nowhere")


def test_tensors_of_another_bundle_are_refused(tmp_path):
    write(tmp_path / "a", seed=0)
    write(tmp_path / "b", seed=1)
    shutil.copy(tmp_path / "b" / TENSORS, tmp_path / "a" / TENSORS)
    bundle = Bundle.open(tmp_path / "a")
    with pytest.raises(BundleError, match="is not in it"):
        bundle.tensor(bundle.get("visual.blocks.0", 0).value)


def test_writing_again_replaces_and_leaves_nothing_behind(tmp_path):
    write(tmp_path / "b", seed=0)
    value, _ = write(tmp_path / "b", seed=1)
    bundle = Bundle.open(tmp_path / "b")
    assert np.array_equal(bundle.tensor(bundle.get("visual.blocks.0", 0).value), value)
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def test_a_place_that_cannot_be_written_is_one_clear_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(BundleError, match="--bundles"):
        write(tmp_path / "file" / "b")


def test_what_a_killed_process_left_is_removed_by_the_next(tmp_path):
    leftover = tmp_path / ".b.abcdef"
    leftover.mkdir()
    (leftover / TENSORS).write_bytes(b"half")
    with locked(tmp_path / "b"):
        assert not leftover.exists()


HOLD = """
import sys, time
from pathlib import Path
from parity.core.files import locked
with locked(Path(sys.argv[1])):
    Path(sys.argv[2]).touch()
    time.sleep(float(sys.argv[3]))
"""


def hold(folder, sign, seconds):
    """A process that takes the lock, makes the file ``sign`` and keeps the lock for a while."""
    return subprocess.Popen([sys.executable, "-c", HOLD, str(folder), str(sign), str(seconds)])


def appears(sign, seconds):
    end = time.monotonic() + seconds
    while not sign.exists() and time.monotonic() < end:
        time.sleep(0.02)
    return sign.exists()


def test_the_lock_keeps_others_out_and_dies_with_its_holder(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    holder = hold(tmp_path / "b", first, 60)
    try:
        assert appears(first, 30)
        waiter = hold(tmp_path / "b", second, 0)
        assert not appears(second, 1.5), "the second process got the lock while the first held it"
        holder.kill()
        assert appears(second, 30)
        assert waiter.wait(30) == 0
    finally:
        holder.kill()
        holder.wait()


NARROW_TYPES = {"bfloat16": ml_dtypes.bfloat16, "float16": np.float16}


@pytest.mark.parametrize("dtype", NARROW_TYPES)
def test_narrow_values_come_back_as_they_were_from_half_the_space(tmp_path, dtype):
    rng = np.random.default_rng(0)
    value = rng.standard_normal((64, 128)).astype(NARROW_TYPES[dtype]).astype(np.float32)
    for folder, given in (("narrow", dtype), ("wide", None)):
        writer = BundleWriter({})
        writer.points["a"] = [ReferenceFiring(writer.add(value, given), dtype)]
        writer.write(tmp_path / folder)
        bundle = Bundle.open(tmp_path / folder)
        bundle.check()
        back = bundle.tensor(bundle.points["a"][0].value)
        assert back.dtype == np.float32
        assert np.array_equal(back, value)
    sizes = {f: (tmp_path / f / TENSORS).stat().st_size for f in ("narrow", "wide")}
    assert value.nbytes / 2 < sizes["narrow"] < value.nbytes / 2 + 1000
    assert sizes["wide"] > value.nbytes


def test_one_bit_pattern_in_two_dtypes_is_two_tensors(tmp_path):
    writer = BundleWriter({})
    ones = np.ones(4, np.float32)
    names = {dtype: writer.add(ones, dtype) for dtype in ("bfloat16", "float16", "float32", None)}
    assert names["float32"] == names[None]
    assert len(set(names.values())) == 3
    writer.write(tmp_path / "b")
    for name in names.values():
        assert np.array_equal(Bundle.open(tmp_path / "b").tensor(name), ones)


def test_a_damaged_narrow_tensor_is_refused(tmp_path):
    writer = BundleWriter({})
    name = writer.add(np.ones((8, 8), np.float32), "bfloat16")
    writer.write(tmp_path / "b")
    data = bytearray((tmp_path / "b" / TENSORS).read_bytes())
    data[-1] ^= 1
    (tmp_path / "b" / TENSORS).write_bytes(bytes(data))
    with pytest.raises(BundleError, match="does not match its hash"):
        Bundle.open(tmp_path / "b").tensor(name)


def test_a_use_is_noted(tmp_path):
    write(tmp_path / "b")
    os.utime(tmp_path / "b" / MANIFEST, (1, 1))
    assert last_used(tmp_path / "b") == 1
    mark_used(tmp_path / "b")
    assert time.time() - last_used(tmp_path / "b") < 60
    mark_used(tmp_path / "nowhere")
