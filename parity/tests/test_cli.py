"""The command line: help that teaches, and one clear error for everything that cannot run."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from parity.settings import FIXTURES

ROOT = Path(__file__).parent.parent.parent
TINY = FIXTURES / "qwen2vl-tiny"


def parity(*arguments):
    command = [sys.executable, "-m", "parity", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def refused(done, *words):
    """Exit status 2, one error that holds every one of ``words``, no traceback."""
    assert done.returncode == 2, (done.returncode, done.stdout, done.stderr)
    text = " ".join(done.stderr.split())
    assert "Traceback" not in text
    assert text.count("error:") == 1
    for word in words:
        assert str(word) in text


@pytest.fixture
def checkpoint(tmp_path):
    """A copy of the embedded checkpoint, to be damaged."""
    return shutil.copytree(TINY, tmp_path / "checkpoint")


def run(tmp_path, *arguments, case="text-only"):
    """A run of one small case that must leave no report behind when it is refused."""
    done = parity("run", "--case", case, "--report", tmp_path / "report",
                  "--bundles", tmp_path / "bundles", *arguments)  # fmt: skip
    assert not (tmp_path / "report").exists() or done.returncode in (0, 1)
    leftovers = [path for path in tmp_path.rglob(".*") if path.is_dir()]
    assert not leftovers
    return done


@pytest.mark.parametrize(
    "command",
    [
        [],
        ["run"],
        ["bundle"],
        ["capture"],
        ["cases"],
        ["points"],
        ["faults"],
        ["calibrate"],
        ["gates"],
        ["prune"],
        ["kernels"],
        ["selftest"],
        ["schema"],
    ],
)
def test_help_teaches(command):
    done = parity(*command, "--help")
    assert done.returncode == 0
    assert len(done.stdout) > 300


def test_no_command_shows_the_help():
    assert "run" in parity().stdout + parity().stderr


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ('point = "lm_haed"\nk = 9\nreason = "r"', ["'lm_haed'", "matches none of"]),
        ('point = "lm_head"\nk = 9\nreason = ""', ["override 1: reason", "has to say something"]),
        ('point = "lm_head"\nk = 9\nreason = "r"\nexpires = 2020-01-01',
         ["'lm_head'", "expired on 2020-01-01"]),
    ],
)  # fmt: skip
def test_an_override_that_does_not_hold_ends_the_run(tmp_path, entry, words):
    path = tmp_path / "overrides.toml"
    path.write_text(f"[[override]]\n{entry}\n")
    refused(run(tmp_path, "--overrides", path), *words)


def test_a_folder_without_gates_ends_the_run(tmp_path):
    refused(run(tmp_path, "--gates", tmp_path), "CPU-fp32.toml", "parity calibrate")
    refused(parity("gates", "--gates", tmp_path), "holds no gates")


def test_lists():
    assert "two-images" in parity("cases").stdout
    assert "quick-gelu-as-gelu" in parity("faults").stdout
    points = parity("points", "--case", "single-image", "--level", "block").stdout
    assert "visual.blocks.3 " in points
    assert "attn" not in points


def test_a_run_of_some_points_reports_only_those(tmp_path):
    done = parity("run", "--case", "text-only", "--point", "language_model.layers.*.mlp",
                  "--report", tmp_path / "report")  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "report" / "rows.json").read_text())["rows"]
    assert len(rows) >= 3
    assert all(row["point"].endswith(".mlp") for row in rows)


def test_a_run_in_two_dtypes_shows_them_apart(tmp_path):
    done = parity("run", "--case", "text-only", "--dtype", "fp16", "--dtype", "fp32",
                  "--point", "lm_head", "--report", tmp_path / "report")  # fmt: skip
    assert done.returncode == 0, done.stderr
    saved = json.loads((tmp_path / "report" / "rows.json").read_text())
    assert [(row["dtype"], row["candidate_dtype"]) for row in saved["rows"]] == [
        ("fp16", "float16"), ("fp32", "float32"),
    ]  # fmt: skip
    assert saved["provenance"]["dtypes"] == "fp16, fp32"
    table = (tmp_path / "report" / "rows.csv").read_text().splitlines()
    assert table[0].startswith("case,dtype,mode,")
    assert table[1].startswith("text-only,fp16,pynative,")
    assert "in 1 case and 2 dtypes" in done.stdout
    last = done.stdout.splitlines()[-1]
    assert last.startswith("parity verdict: PASSED: 2 of 2 rows compared, 2 PASS; ")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--case", "nonsense"], ["no case is named nonsense", "single-image"]),
        (["--point", "nonsense"], ["no point is named 'nonsense'", "parity points"]),
        (["--plant", "nonsense"], ["no fault is named 'nonsense'", "mean-std"]),
        (["--dtype", "fp8"], ["unknown dtype 'fp8'", "fp32"]),
        (["--candidate", "nonsense"], ["unknown candidate 'nonsense'", "mindspore"]),
        (["--candidate", "no.such:thing"], ["no.such:thing", "not here"]),
        (["--reference", "nonsense"], ["unknown reference 'nonsense'", "transformers"]),
        (["--device", "GPU:7"], ["GPU:7"]),
        (["--checkpoint", "/nonexistent"], ["/nonexistent/config.json", "--checkpoint"]),
        (["--cases-file", "/nonexistent.toml"], ["/nonexistent.toml"]),
        (["--level", "nonsense"], ["nonsense", "block", "module"]),
    ],
)
def test_a_name_of_nothing(tmp_path, arguments, words):
    refused(run(tmp_path, *arguments), *words)


def test_truncated_weights(tmp_path, checkpoint):
    shard = next(checkpoint.glob("*.safetensors"))
    shard.write_bytes(shard.read_bytes()[: shard.stat().st_size // 2])
    refused(run(tmp_path, "--checkpoint", checkpoint), checkpoint, "copy damaged files again")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"hidden_act": None}, ["checkpoint", "hidden_act"]),
        ({"model_type": "llama"}, ["not a qwen2_vl checkpoint"]),
        ({"num_hidden_layers": "three"}, ["num_hidden_layers"]),
        ({"warp_factor": 9}, ["config.json", "warp_factor"]),
    ],
)
def test_a_config_with_a_bad_key(tmp_path, checkpoint, change, words):
    path = checkpoint / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    refused(run(tmp_path, "--checkpoint", checkpoint), *words)


def test_a_config_with_a_missing_key(tmp_path, checkpoint):
    path = checkpoint / "config.json"
    config = json.loads(path.read_text())
    del config["rms_norm_eps"]
    path.write_text(json.dumps(config))
    refused(run(tmp_path, "--checkpoint", checkpoint), "config.json", "rms_norm_eps")


def with_image(tmp_path, write):
    cases = tmp_path / "cases.toml"
    cases.write_text('[odd]\n[[odd.prompts]]\ncontent = [{image = "x.png"}, {text = "?"}]\n')
    write(tmp_path / "x.png")
    return run(tmp_path, "--cases-file", cases, case="odd")


def test_an_image_that_is_none(tmp_path):
    done = with_image(tmp_path, lambda path: path.write_text("not a picture"))
    refused(done, "x.png", "cannot be read as an image", "replace the file")


def test_an_image_that_is_too_long(tmp_path):
    from PIL import Image

    done = with_image(tmp_path, lambda path: Image.new("RGB", (3000, 10)).save(path))
    refused(done, "aspect ratio", "x.png")


def test_a_report_folder_with_foreign_files_is_refused_before_the_run(tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("years of work")
    done = parity("run", "--case", "text-only", "--report", tmp_path / "thesis")
    refused(done, "thesis")
    assert (tmp_path / "thesis" / "chapter.txt").read_text() == "years of work"


def listen():
    """React to an interrupt, even where this test-suite runs in the background and does not."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.slow
def test_an_interrupted_run_leaves_nothing_behind(tmp_path):
    command = [sys.executable, "-m", "parity", "run", "--case", "single-image",
               "--report", str(tmp_path / "report"),
               "--bundles", str(tmp_path / "bundles")]  # fmt: skip
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True,
                          start_new_session=True, preexec_fn=listen) as process:  # fmt: skip
        assert "capturing" in process.stderr.readline()
        time.sleep(2)
        os.killpg(process.pid, signal.SIGINT)
        process.communicate(timeout=60)
    assert process.returncode == 130
    assert not (tmp_path / "report").exists()
    assert not [path for path in tmp_path.rglob("*") if path.is_dir() and path.name != "bundles"]
    assert run(tmp_path, case="single-image").returncode == 0
