"""`pytest parity/`: ids, selection, exit status, workers, and what it does not import."""

import json
import os
import re
import subprocess
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).parent.parent.parent


def run(tmp_path, *arguments):
    command = [sys.executable, "-m", "pytest", "parity/", "-p",
               "no:cacheprovider", "--report", str(tmp_path / "report"), *arguments]  # fmt: skip
    place = os.environ | {"PYTHONPATH": str(tmp_path)}
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=place)


SPY = """
import sys
from pathlib import Path


def pytest_unconfigure():
    Path(__file__).with_name("imported").write_text(" ".join(sys.modules))
"""


def outcomes(done):
    return {word: int(n) for n, word in re.findall(r"(\d+) (passed|failed|skipped)", done.stdout)}


def test_the_porting_loop_passes_without_importing_what_nobody_waits_for(tmp_path):
    (tmp_path / "spy.py").write_text(SPY)
    done = run(tmp_path, "-q", "-k", "vision", "-p", "spy")
    assert done.returncode == 0, done.stdout
    assert outcomes(done)["passed"] > 100
    assert "parity PASSED" in done.stdout
    imported = set((tmp_path / "imported").read_text().split())
    assert "mindspore" in imported
    assert not imported & {"torch", "transformers", "torchvision"}
    assert not imported & {"pandas", "pyarrow", "sqlalchemy", "ruptures"}
    assert (tmp_path / "report" / "index.html").exists()


@pytest.mark.parametrize(
    ("started", "named", "left_out"),
    [(".", ["parity/"], True),
     (".", ["parity", "fixtures"], True),
     ("parity", ["."], True),
     (".", ["parity/", "parity/tests/test_plugin.py::test_it"], False),
     (".", ["parity/tests"], False),
     (".", ["."], False)],
)  # fmt: skip
def test_the_porting_loop_leaves_the_harness_own_tests_out(request, started, named, left_out):
    config = SimpleNamespace(args=named, invocation_params=SimpleNamespace(dir=ROOT / started))
    conftest = request.config.pluginmanager.getplugin(str(ROOT / "conftest.py"))
    ignored = partial(conftest.pytest_ignore_collect, config=config)
    assert bool(ignored(ROOT / "parity" / "tests")) is left_out
    assert not ignored(ROOT / "parity" / "suites")


def test_pytest_without_arguments_collects_every_folder_of_tests(request):
    named = request.config.getini("testpaths")
    folders = {path.parent for path in ROOT.glob("[!.]*/**/test_*.py")}
    assert folders
    assert all(any(ROOT / name in (one, *one.parents) for name in named) for one in folders)
    assert not {"parity", "parity/"} & set(named), "that is the porting loop"


def test_ids_name_case_dtype_and_point(tmp_path):
    done = run(tmp_path, "--collect-only", "-q", "--case", "two-images")
    assert (
        "parity/suites/test_vision.py::test_block[two-images-fp32-visual.blocks.3]" in done.stdout
    )


def test_block_level_looks_at_blocks_only(tmp_path):
    done = run(tmp_path, "-q", "--level", "block", "--case", "single-image")
    assert done.returncode == 0, done.stdout
    assert "attn" not in done.stdout


def test_several_dtypes_have_ids_verdicts_and_rows_of_their_own(tmp_path):
    dtypes = ("--dtype", "ascend-mixed", "--dtype", "fp32")
    done = run(tmp_path, "-v", "-n", "2", "--case", "text-only", "-k", "head", *dtypes)
    assert done.returncode == 0, done.stdout
    assert outcomes(done)["passed"] == 4
    saved = json.loads((tmp_path / "report" / "rows.json").read_text())
    assert list(dict.fromkeys(row["dtype"] for row in saved["rows"])) == ["ascend-mixed", "fp32"]
    bundles = [name.rpartition("-")[0] for name in saved["provenance"]["bundles"]]
    assert bundles == ["text-only-bf16", "text-only-fp32"], "what both workers opened"
    assert saved["provenance"]["command"].startswith("python -m pytest parity/ ")
    assert re.search(r"text-only +ascend-mixed +\d", done.stdout)
    assert re.search(r"text-only +fp32 +\d", done.stdout)
    assert "test_head[text-only-ascend-mixed-lm_head]" in done.stdout


def test_graph_mode_looks_at_blocks_only_and_says_so(tmp_path):
    modes = ("--mode", "graph", "--mode", "pynative")
    done = run(tmp_path, "-v", *modes, "--case", "text-only", "-k", "layer and not layers.0.")
    assert done.returncode == 0, done.stdout
    assert "test_layer[text-only-fp32-graph-language_model.layers.0]" in done.stdout
    assert "test_layer[text-only-fp32-language_model.layers.0]" in done.stdout
    assert "nothing inside it is declared" in done.stdout.replace("\n    ", " ")
    assert "fp32 graph" in done.stdout
    saved = json.loads((tmp_path / "report" / "rows.json").read_text())
    assert list(dict.fromkeys(row["mode"] for row in saved["rows"])) == ["graph", "pynative"]
    points = {row["point"] for row in saved["rows"] if row["mode"] == "graph"}
    assert {"language_model.layers.0", "language_model.norm", "lm_head"} <= points
    assert not [point for point in points if "self_attn" in point or "mlp" in point]
    inside = {row["point"] for row in saved["rows"] if row["mode"] == "pynative"} - points
    assert "language_model.layers.1.mlp" in inside
    assert saved["provenance"]["mode"] == "graph, pynative"
    assert saved["provenance"]["level"] == "block, module"
    assert [one["mode"] for one in saved["ledger"]["runs"]] == ["graph", "pynative"]


def test_a_mode_that_is_none_is_an_error_before_anything_runs(tmp_path):
    done = run(tmp_path, "--mode", "jit")
    assert done.returncode == 4
    assert "unknown mode 'jit'; there are: pynative, graph" in done.stdout + done.stderr


def test_a_fault_is_one_failure_that_explains_the_rest(tmp_path):
    done = run(tmp_path, "--plant", "quick-gelu-as-gelu", "--case", "single-image")
    assert done.returncode == 1
    assert outcomes(done)["failed"] == 1
    assert outcomes(done)["skipped"] > 30
    assert "test_block_part[single-image-fp32-visual.blocks.2.mlp]" in done.stdout
    assert re.search(r"SKIPPED \[\d+\] .*VICTIM of visual\.blocks\.2\.mlp", done.stdout)
    assert "First guilty: visual.blocks.2.mlp" in done.stdout
    last = done.stdout.splitlines()[-1]
    assert last.startswith("parity verdict: FAILED: ")
    assert "first GUILTY: visual.blocks.2.mlp in single-image, fp32; " in last
    assert last.endswith(str(tmp_path / "report" / "index.html"))


def test_victims_fail_when_the_guilty_test_is_not_selected(tmp_path):
    """Skipped tests alone would leave a green run over a broken model."""
    done = run(tmp_path, "--plant", "quick-gelu-as-gelu", "--case", "single-image", "-k", "merger")
    assert done.returncode == 1
    assert outcomes(done)["failed"] == 1
    assert "VICTIM: visual.merger" in done.stdout
    assert "The guilty point's own test is not selected" in done.stdout


@pytest.mark.slow
def test_two_workers_agree_with_one_process_and_capture_once(tmp_path):
    cases = ("--case", "single-image", "--case", "text-only")
    bundles = tmp_path / "bundles"
    both = run(tmp_path, "-q", "-n", "2", "--bundles", str(bundles), *cases)
    assert both.returncode == 0, both.stdout
    assert len([path for path in bundles.iterdir() if path.is_dir()]) == 2
    before = {path: path.stat().st_mtime_ns for path in bundles.iterdir() if path.is_dir()}
    one = run(tmp_path, "-q", "--bundles", str(bundles), *cases)
    assert outcomes(one) == outcomes(both)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    counts = [re.search(r"(\d+) of \d+ rows compared", done.stdout)[1] for done in (one, both)]
    assert counts[0] == counts[1]


def test_two_workers_fail_with_the_guilty_point(tmp_path):
    done = run(tmp_path, "-q", "-n", "2", "--plant", "rms-eps", "--case", "text-only",
               "--case", "single-image")  # fmt: skip
    assert done.returncode == 1
    assert "First guilty: language_model.layers.1.input_layernorm" in done.stdout
    assert outcomes(done)["failed"] == 2


def test_nothing_selected_is_not_a_pass(tmp_path):
    done = run(tmp_path, "-q", "-k", "no-such-test")
    assert done.returncode == 5
    assert not (tmp_path / "report").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--case", "nonsense"), "no case is named nonsense; there are: single-image"),
        (("--plant", "nonsense"), "no fault is named 'nonsense'"),
        (("--checkpoint", "/nonexistent"), "cannot read /nonexistent/config.json"),
        (("--cases-file", "/nonexistent"), "cannot read the cases file /nonexistent"),
        (("--dtype", "fp8"), "unknown dtype 'fp8'"),
        (("--candidate", "nonsense"), "unknown candidate 'nonsense'"),
    ],
)
def test_a_setting_that_names_nothing_is_a_usage_error(tmp_path, arguments, message):
    done = run(tmp_path, "-q", *arguments)
    assert done.returncode == 4, done.stdout
    assert message in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert not (tmp_path / "report").exists()


def test_a_reference_that_cannot_run_is_exit_status_two(tmp_path):
    done = run(tmp_path, "-q", "--case", "text-only", "--bundles", str(tmp_path / "b"),
               "--reference", "parity.tests.broken:capture")  # fmt: skip
    assert done.returncode == 2, done.stdout
    assert "could not run" in done.stdout


def test_a_foreign_folder_is_not_overwritten(tmp_path):
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "thesis.txt").write_text("years of work")
    done = run(tmp_path, "-q", "--case", "text-only")
    assert done.returncode == 2
    assert (tmp_path / "report" / "thesis.txt").read_text() == "years of work"
