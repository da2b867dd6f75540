"""What a run says about itself: the gates it was judged under, and all that its numbers rest on."""

import json
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from parity.core.files import file_hash
from parity.core.store import MANIFEST
from parity.provenance import candidate_file, combined, command, provenance
from parity.session import Session
from parity.settings import Settings

ROOT = Path(__file__).parents[2]


def test_what_is_not_there_says_so_and_nothing_is_left_out():
    facts = provenance(Session(Settings()), 1.25)
    assert facts["device"] == {
        "name": "CPU", "soc": "none", "cann": "none", "driver": "none", "firmware": "none",
    }  # fmt: skip
    assert facts["seconds"] == 1.2
    assert facts["versions"]["python"] == platform.python_version()
    assert facts["versions"]["mindspore"] == metadata.version("mindspore")
    assert set(facts["precision"].values()) == {"none"}, "no candidate ran"
    assert facts["bundles"] == "none"
    assert 20 < facts["peak memory (MB)"] < 100_000
    assert facts["cases file"].startswith("cases.toml ")
    assert len(facts["checkpoint"].split()[1]) == 16


def test_on_ascend_what_no_file_tells_is_unknown():
    device = provenance(Session(Settings(device="Ascend:0")), 0.0)["device"]
    assert device["name"] == "Ascend:0"
    assert device["driver"] != "none"


def test_the_checkpoint_s_hash_is_that_of_its_content(tmp_path):
    def told(folder):
        return provenance(Session(Settings(checkpoint=folder)), 0.0)["checkpoint"].split()[1]

    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
    assert told(tmp_path / "a") == told(tmp_path / "b")
    (tmp_path / "b" / "config.json").write_text("{ }")
    assert told(tmp_path / "a") != told(tmp_path / "b")


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (["/x/parity/__main__.py", "run", "--case", "a b"], "python -m parity run --case 'a b'"),
        (["/x/pytest/__main__.py", "parity/"], "python -m pytest parity/"),
        (["/x/bin/pytest", "-k", "vision"], "pytest -k vision"),
        (["/x/bin/parity", "run"], "parity run"),
        (["/x/bin/parity", "run", "--history", "postgresql://me:pw@host/db"],
         "parity run --history 'postgresql://***@host/db'"),
    ],
)  # fmt: skip
def test_the_command_can_be_typed_again_and_holds_no_password(monkeypatch, argv, told):
    monkeypatch.setattr(sys, "argv", argv)
    assert command() == told


def test_the_commit_is_the_candidate_s(tmp_path, monkeypatch):
    assert candidate_file(Settings()).is_relative_to(ROOT)
    (tmp_path / "their_port").mkdir()
    (tmp_path / "their_port" / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    settings = Settings(candidate="their_port.model:Port")
    assert candidate_file(settings) == tmp_path / "their_port" / "__init__.py"
    assert candidate_file(Settings(candidate="nowhere_to_be_found:Port")).name == "provenance.py"
    assert provenance(Session(settings), 0.0)["commit"] == "none"


@pytest.mark.parametrize(
    ("value", "told"), [("1", "on"), ("0", "off"), ("", "default (on)"), ("2", "2")]
)
def test_a_switch_of_mindspore_s_in_words(value, told):
    from parity.adapters.mindspore_device import switch

    assert switch(value, "on") == told


def test_workers_add_up():
    one = {"bundles": ["a 1", "b 2"], "peak memory (MB)": 90, "seconds": 3}
    two = {"bundles": ["b 2", "c 3"], "peak memory (MB)": 70, "seconds": 2}
    both = {"bundles": ["a 1", "b 2", "c 3"], "peak memory (MB)": 90, "seconds": 2}
    assert combined({}, one) == one
    assert combined(one, two) == both
    assert combined(one, {"bundles": "none"})["bundles"] == ["a 1", "b 2"]


def test_a_real_run_says_what_it_used(tmp_path):
    """The numbers of a run and the file that says where they are from belong together."""
    run = [sys.executable, "-m", "parity", "run", "--case", "text-only", "--report",
           str(tmp_path / "report")]  # fmt: skip
    done = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    facts = json.loads((tmp_path / "report" / "rows.json").read_text())["provenance"]
    (bundle,) = facts["bundles"]
    name, hash_ = bundle.split()
    manifest = Settings().bundles / name / MANIFEST
    assert file_hash(manifest).startswith(hash_)
    made_with = json.loads(manifest.read_text())["provenance"]["reference"]
    assert facts["reference"] == {
        "name": "transformers", **{name: str(value) for name, value in made_with.items()},
    }  # fmt: skip
    assert facts["precision"]["deterministic"] == "off"  # asked of MindSpore
    assert facts["peak memory (MB)"] > 200, "MindSpore alone takes more"
    assert facts["command"].startswith("python -m parity run --case text-only")


def test_every_gates_file_is_named_with_its_hash():
    session = Session(Settings(dtypes=("fp32", "bf16")))
    facts = provenance(session, 0.0)
    for dtype in ("fp32", "bf16"):
        path = session.settings.gates / f"CPU-{dtype}.toml"
        assert f"CPU-{dtype}.toml {file_hash(path)[:16]}" in facts["gates"]
    assert "gates note" not in facts


def test_gates_that_were_predicted_or_measured_elsewhere_are_said_to_be():
    facts = provenance(Session(Settings(device="Ascend:0")), 0.0)
    assert "Ascend-fp32.toml" in facts["gates"]
    assert "PREDICTED for Ascend" in facts["gates note"]
    facts = provenance(Session(Settings(device="GPU:0")), 0.0)
    assert "CPU-fp32.toml" in facts["gates"]
    assert "none on GPU yet" in facts["gates note"]


def test_an_overrides_file_is_named_with_its_hash(tmp_path):
    path = tmp_path / "overrides.toml"
    path.write_text('[[override]]\npoint = "lm_head"\nk = 9\nreason = "r"\n')
    assert provenance(Session(Settings()), 0.0)["overrides"] == "none"
    facts = provenance(Session(Settings(overrides=path)), 0.0)
    assert facts["overrides"] == f"{path} {file_hash(path)[:16]}"
