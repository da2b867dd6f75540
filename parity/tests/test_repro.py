"""One module by itself: its test fails while a fault is in it, and passes without."""

import json
import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from parity.core.errors import ParityError
from parity.core.numerics import FORMATS
from parity.core.stats import Gate, Truth, compare
from parity.repro.command import subject
from parity.repro.folder import write_folder
from parity.repro.limits import limits
from parity.session import Session
from parity.settings import Settings
from parity.tests.test_imports import imported

ROOT = Path(__file__).parents[2]
FILES = {"README.txt", "config.json", "inputs.safetensors", "reference.safetensors", "repro.json",
         "test_repro.py", "weights.safetensors"}  # fmt: skip
GATE = Gate(whole=3.0, row=4.0, column=5.0, update=2.0)


@cache
def session(case, plant=None, dtype="fp32"):
    return Session(Settings(cases=(case,), dtypes=(dtype,), plant=plant))


def written(folder, point, case, plant=None, firing=0, dtype="fp32"):
    write_folder(subject(session(case, plant, dtype), point, firing, folder), folder)
    return folder


def outcome(folder):
    """What pytest says about a folder: exit status and output."""
    done = subprocess.run([sys.executable, "-m", "pytest", "-q", str(folder / "test_repro.py")],
                          capture_output=True, text=True, check=False, cwd=ROOT)  # fmt: skip
    return done.returncode, done.stdout


def test_the_command_writes_a_test_that_fails_with_the_fault(tmp_path):
    folder = tmp_path / "merger"
    command = [sys.executable, "-m", "parity", "repro", "visual.merger", "--case", "single-image",
               "--plant", "gelu-tanh-merger", "-o", str(folder)]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True, cwd=ROOT)
    assert {path.name for path in folder.iterdir()} == FILES
    assert "The fault 'gelu-tanh-merger' is planted" in (folder / "README.txt").read_text()
    status, text = outcome(folder)
    assert status == 1
    assert "visual.merger is wrong on its exact input" in text
    assert "the error of the tensor is" in text
    about = json.loads((folder / "repro.json").read_text())
    (folder / "repro.json").write_text(json.dumps(about | {"plant": None}))
    assert outcome(folder)[0] == 0, "the module itself is right"


@pytest.mark.parametrize(
    ("point", "case", "firing", "plant"),
    [("language_model.layers.1.self_attn", "decoding", 1, "kv-cache-dtype"),
     ("language_model.rotary_emb.cos", "single-image", 0, "rope-interleaved")],
)  # fmt: skip
def test_caches_and_tables_can_be_tried_too(tmp_path, point, case, firing, plant):
    status, text = outcome(written(tmp_path / "faulty", point, case, plant, firing))
    assert status == 1
    assert f"{point} is wrong" in text


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
@pytest.mark.parametrize(
    "point",
    ["visual.patch_embed", "visual.blocks.2", "visual.blocks.1.attn", "visual.merger.ln_q",
     "language_model.embed_tokens", "language_model.layers.2", "language_model.layers.0.self_attn",
     "language_model.layers.1.mlp", "language_model.norm", "lm_head"],
)  # fmt: skip
def test_a_faithful_module_passes(tmp_path, point, dtype):
    assert outcome(written(tmp_path / "one", point, "single-image", dtype=dtype))[0] == 0


def test_the_folder_needs_neither_pytorch_nor_the_harness(tmp_path):
    path = written(tmp_path / "one", "lm_head", "text-only") / "test_repro.py"
    names = {name.partition(".")[0] for name in imported(path, tmp_path)}
    third = {"mindspore", "numpy", "safetensors", "qwen2vl_ms"}
    # The harness only to plant a fault.
    assert names - set(sys.stdlib_module_names) == third | {"parity"}
    assert (
        path.read_text().count("from parity") == path.read_text().count("from parity.faults") == 1
    )


def test_it_holds_the_exact_input_and_the_modules_weights_alone(tmp_path):
    folder = written(tmp_path / "one", "language_model.layers.1.mlp", "text-only")
    weights = load_file(folder / "weights.safetensors")
    assert set(weights) == {f"{name}_proj.weight" for name in ("gate", "up", "down")}
    case = session("text-only").cases[0]
    bundle = session("text-only").references.open(case, "fp32")
    recorded = bundle.points["language_model.layers.1.mlp"][0]
    inputs = load_file(folder / "inputs.safetensors")
    assert np.array_equal(inputs["0.*"], bundle.tensor(recorded.inputs["*"]))
    reference = load_file(folder / "reference.safetensors")
    assert np.array_equal(reference["reference"], bundle.tensor(recorded.value))
    assert 0 < np.abs(reference["truth"] - reference["reference"]).max() < 1e-4


def test_padding_is_left_out(tmp_path):
    folder = written(tmp_path / "one", "language_model.norm", "left-padded-batch")
    truth = load_file(folder / "reference.safetensors")
    assert 0 < truth["keep"].sum() < truth["keep"].size
    assert len(truth["limit.row"]) == truth["keep"].sum()


@pytest.mark.parametrize("seed", range(30))
def test_the_limits_are_those_of_the_verdicts(seed):
    """Within them exactly where `compare` passes, just inside and just outside."""
    rng = np.random.default_rng(seed)
    truth = rng.standard_normal((12, 7)) * 10.0 ** rng.integers(-3, 4, (12, 1))
    reference = (truth * (1 + 2e-7 * rng.standard_normal(truth.shape))).astype(np.float32)
    base = rng.standard_normal(truth.shape).astype(np.float32)
    keep = np.arange(12) > 1
    dtype = FORMATS["float32"]
    allowed = limits(truth, reference.astype(np.float64), GATE, dtype,
                     base=base.astype(np.float64), keep=keep)  # fmt: skip
    direction = rng.standard_normal(truth.shape)
    kept = direction[keep]
    shares = {
        "whole": np.linalg.norm(kept), "row": np.linalg.norm(kept, axis=1),
        "column": np.linalg.norm(kept, axis=0), "update": np.linalg.norm(kept),
    }  # fmt: skip
    room = min(float(np.min(allowed[name] / share)) for name, share in shares.items())
    for times, passes in ((0.99, True), (1.01, False)):
        residual = truth - reference.astype(np.float64)
        found = compare(truth + times * room * direction, Truth(reference, residual, base),
                        dtype, GATE, candidate_base=base, keep=keep)  # fmt: skip
        assert found.ok is passes


@pytest.mark.parametrize("point", ["processor.pixel_values", "language_model.position_ids",
                                   "language_model.inputs_embeds"])  # fmt: skip
def test_a_point_without_a_module_of_its_own_is_refused(point, tmp_path):
    with pytest.raises(ParityError, match="is not the output of a module that can be built"):
        written(tmp_path / "one", point, "single-image")
    assert not (tmp_path / "one").exists()


def test_an_unknown_point_or_firing_is_refused(tmp_path):
    with pytest.raises(ParityError, match="no point is named 'nothing'"):
        written(tmp_path / "one", "nothing", "single-image")
    with pytest.raises(ParityError, match="lm_head has no firing 1 in any of the cases"):
        written(tmp_path / "one", "lm_head", "single-image", firing=1)
    with pytest.raises(ParityError, match="no fault is named 'nothing'"):
        written(tmp_path / "one", "lm_head", "single-image", plant="nothing")


def test_another_folder_is_left_alone_and_an_older_repro_replaced(tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "work.txt").write_text("mine")
    with pytest.raises(ParityError, match="holds something else"):
        written(other, "lm_head", "text-only")
    assert [path.name for path in other.iterdir()] == ["work.txt"]
    written(written(tmp_path / "one", "lm_head", "text-only"), "language_model.norm", "text-only")
    assert (
        json.loads((tmp_path / "one" / "repro.json").read_text())["point"] == "language_model.norm"
    )
    file = tmp_path / "file"
    file.write_text("mine")
    with pytest.raises(ParityError, match="holds something else"):
        written(file, "lm_head", "text-only")


def test_nothing_half_written_stays_behind(tmp_path):
    found = subject(session("text-only"), "lm_head", 0, tmp_path / "one")
    gone = replace(found, checkpoint=tmp_path / "gone")
    with pytest.raises(ParityError):
        write_folder(gone, tmp_path / "one")
    assert list(tmp_path.iterdir()) == []
