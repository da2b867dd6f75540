"""A run from the built wheel, where there is no PyTorch, no repository and no network."""

import subprocess
import sys
from dataclasses import replace

import pytest

from parity.core.compact import ratio_bounds
from parity.core.rows import Verdict
from parity.report.rows_io import read_json
from parity.settings import FIXTURES
from parity.tests.torch_free import FORBIDDEN, ROOT, TorchFree, built_wheel

CASES, DTYPES = ("single-image", "text-only"), ("fp32", "bf16")
SCOPES = ("local", "end_to_end")
pytestmark = pytest.mark.slow


def parity(*arguments, status=0):
    """A command of the harness in the environment of the tests."""
    command = [sys.executable, "-m", "parity", *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == status, (done.returncode, done.stdout, done.stderr)
    return done


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """A portable bundle as one file, with the checkpoint in it."""
    folder = tmp_path_factory.mktemp("made") / "bundle"
    parity("bundle", "--cases", ",".join(CASES), "--dtypes", ",".join(DTYPES), "-o", folder,
           "--tar", "--with-checkpoint")  # fmt: skip
    return folder.with_suffix(".tar")


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory):
    """The other machine."""
    place = tmp_path_factory.mktemp("elsewhere")
    return TorchFree(place, built_wheel(place))


def run(elsewhere, bundle, name, *options):
    """A run in an empty folder; its exit status, rows and what it said."""
    folder = elsewhere.place / name
    folder.mkdir()
    done = elsewhere.run("python", "-m", "parity", "run", "--bundle", bundle, *options,
                         folder=folder)  # fmt: skip
    assert elsewhere.refused == [], "it asked for PyTorch, or for the network"
    page = folder / "reports" / "latest" / "index.html"
    assert page.is_file(), (done.stdout, done.stderr)
    return done, read_json(page.with_name("rows.json"))


@pytest.fixture(scope="module")
def away(elsewhere, bundle):
    """The run on the other machine."""
    return run(elsewhere, bundle, "run")


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """The same cases compared in full, where PyTorch is."""
    folder = tmp_path_factory.mktemp("here") / "report"
    names = [word for case in CASES for word in ("--case", case)]
    names += [word for dtype in DTYPES for word in ("--dtype", dtype)]
    parity("run", *names, "--report", folder, "--no-history")
    return read_json(folder / "rows.json")


def test_there_is_no_pytorch_and_asking_for_it_is_noticed(elsewhere, tmp_path):
    """Looked for past the guard: the packages are really not there."""
    code = (
        "import importlib.machinery as m\n"
        f"print([name for name in {FORBIDDEN!r} if m.PathFinder.find_spec(name)])\n"
        "print(m.PathFinder.find_spec('mindspore') is not None)"
    )
    done = elsewhere.run("python", "-c", code, folder=tmp_path)
    assert done.stdout.split() == ["[]", "True"], done.stderr
    for statement in ("import torch", "import socket; socket.create_connection(('::1', 80))"):
        assert elsewhere.run("python", "-c", statement, folder=tmp_path).returncode == 1
        assert len(elsewhere.refused) == 1
        elsewhere.log.unlink()


def test_the_run_passes_as_it_does_here(away, here):
    done, result = away
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert result.passed
    assert here.passed
    assert len(result.rows) == len(here.rows) > 200


def test_every_row_has_the_same_verdict(away, here):
    for one, other in zip(here.rows, away[1].rows, strict=True):
        bare = {"local": None, "end_to_end": None}
        assert replace(one, **bare) == replace(other, **bare)


def test_no_ratio_moves_further_than_rounding_the_truths_allows(away, here):
    moved = 0
    for one, other in zip(here.rows, away[1].rows, strict=True):
        for scope in SCOPES:
            before, after = getattr(one, scope), getattr(other, scope)
            assert (before is None) == (after is None)
            for name, figure in before.slices.items() if before else ():
                least, largest = ratio_bounds(figure.ratio)
                assert least <= after.slices[name].ratio <= largest, (one.point, scope, name)
                moved += after.slices[name].ratio != figure.ratio
            if before:
                assert (before.max_abs, before.max_index) == (after.max_abs, after.max_index)
    assert moved, "nothing was rounded, so that this test proves nothing"


def test_where_it_comes_from_is_told(away):
    facts = away[1].provenance
    assert len(facts["portable bundle"]["hash"]) == 64
    assert facts["versions"]["torch"] == "none"
    assert facts["reference"]["torch"].startswith("2.")


def test_a_planted_fault_is_found_there_too(elsewhere, bundle):
    done, result = run(elsewhere, bundle, "planted", "--case", "single-image", "--dtype", "fp32",
                       "--plant", "quick-gelu-as-gelu")  # fmt: skip
    assert done.returncode == 1
    (guilty,) = [row for row in result.rows if row.verdict is Verdict.GUILTY]
    assert guilty.point == "visual.blocks.2.mlp"
    assert "erf GELU" in guilty.suggestions[0]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            ["--case", "odd-video"],
            ["no reference for odd-video", "made for single-image"],
        ),
        (["--dtype", "fp16"], ["no reference for fp16", "text-only in fp32, bf16"]),
        (["--dtype", "fp13"], ["unknown dtype"]),
        (["--checkpoint", "nowhere"], ["cannot read the checkpoint nowhere"]),
    ],
)
def test_what_it_lacks_is_one_error(elsewhere, bundle, tmp_path, options, words):
    done = elsewhere.run("python", "-m", "parity", "run", "--bundle", bundle, *options,
                         folder=tmp_path)  # fmt: skip
    assert done.returncode == 2
    text = " ".join(done.stderr.split())
    assert text.count("error:") == 1
    for word in words:
        assert word in text
    assert elsewhere.refused == []
    assert list(tmp_path.iterdir()) == []


def test_another_checkpoint_is_refused(elsewhere, bundle, tmp_path):
    other = tmp_path / "checkpoint"
    other.mkdir()
    for path in (FIXTURES / "qwen2vl-tiny").iterdir():
        (other / path.name).write_bytes(path.read_bytes())
    config = other / "config.json"
    config.write_text(config.read_text(encoding="utf-8") + " ", encoding="utf-8")
    done = elsewhere.run("python", "-m", "parity", "run", "--bundle", bundle, "--checkpoint", other,
                         folder=tmp_path)  # fmt: skip
    assert done.returncode == 2
    assert "is not the checkpoint" in done.stderr
    assert "config.json" in done.stderr


def test_pytest_takes_one_too(bundle, tmp_path):
    command = [sys.executable, "-m", "pytest", "parity/", "-q", "-k", "patch_embed", "--bundle"]
    known = [*command, bundle, "--case", "single-image", "--report", tmp_path / "report"]
    done = subprocess.run(
        list(map(str, known)), cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, (done.stdout, done.stderr)
    facts = read_json(tmp_path / "report" / "rows.json").provenance
    assert len(facts["portable bundle"]["hash"]) == 64
    unknown = [*command, tmp_path / "nothing.tar"]
    done = subprocess.run(
        list(map(str, unknown)), cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "there is no bundle at" in done.stderr
