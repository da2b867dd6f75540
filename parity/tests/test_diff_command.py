"""``python -m parity diff``: what names a run, exit status, files, and real runs held together."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from parity.__main__ import app
from parity.core.diff import Change
from parity.core.errors import ParityError
from parity.core.rows import GRAPH, Verdict
from parity.report.rows_io import FORMAT, to_json
from parity.run_parts import open_part
from parity.tests.diff_rows import made, run_of

ROOT = Path(__file__).parent.parent.parent
GUILTY = Verdict.GUILTY


@pytest.fixture
def keep(tmp_path, monkeypatch):
    """Keeps runs as ``NAME/rows.json`` in a folder that is the current one."""
    monkeypatch.chdir(tmp_path)

    def write(name, rows, invalid=(), **facts):
        result = run_of(rows, **facts)
        result.invalid.extend(invalid)
        (tmp_path / name).mkdir()
        (tmp_path / name / "rows.json").write_text(to_json(result))
        return result

    return write


def diff(*arguments):
    """Exit status, what is said, and the error if it is one."""
    done = CliRunner().invoke(app, ["diff", *map(str, arguments)])
    assert done.exception is None or isinstance(done.exception, (SystemExit, ParityError))
    refused = isinstance(done.exception, ParityError)
    return (2 if refused else done.exit_code), f"{done.output}{done.exception if refused else ''}"


@pytest.mark.parametrize(
    ("a", "b", "status", "words"),
    [
        ([made()], [made()], 0, "NO DIFFERENCE"),
        ([made(local=7)], [made()], 0, "NOTHING WORSE"),
        ([made()], [made(local=7)], 1, "WORSE"),
        ([made()], [made(local=9, verdict=GUILTY)], 1, "newly failing (1)"),
        ([made(), made("more")], [made()], 1, "vanished (1)"),
        ([], [made()], 2, "no row is selected of run A"),
        ([made()], [], 2, "no row is selected of run B"),
        ([], [], 2, "no row is selected of run A and B"),
        ([made()], [made("other")], 2, "no row in common"),
    ],
)
def test_exit_status(keep, a, b, status, words):
    keep("a", a)
    keep("b", b)
    found, said = diff("a", "b")
    assert (found, words in said) == (status, True), said
    assert Path("reports/diff.html").exists() is (status != 2)


def test_a_run_that_failed_a_proof_is_shown_and_decides_nothing(keep):
    keep("a", [made()])
    keep("b", [made()], invalid=["hooks change the candidate"])
    status, said = diff("a", "b")
    assert status == 2
    assert "NOT TO BE TRUSTED" in said
    assert "NOT TO BE TRUSTED" in Path("reports/diff.html").read_text()


def test_parts_of_one_run(keep):
    graph = dataclasses.replace(made(local=7), mode=GRAPH)
    keep("run", [made(), made(local=9, dtype="bf16", verdict=GUILTY), graph])
    assert diff("run:fp32:pynative", "run:bf16")[0] == 1
    assert diff("run:bf16", "run:fp32:pynative")[0] == 0
    status, said = diff("run:pynative:fp32", "run:graph:fp32")
    assert (status, "fp32 -> fp32 graph" in said) == (1, True)
    # What one run names holds for the other.
    status, said = diff("run:bf16", "run")
    assert (status, "1 row in A, 1 in B" in said) == (0, True)


def test_only_a_case(keep):
    worse = dataclasses.replace(made(local=7), case="two-images")
    keep("a", [made(), dataclasses.replace(worse, local=made().local)])
    keep("b", [made(), worse])
    assert diff("a", "b")[0] == 1
    assert diff("a", "b", "--case", "single-image")[0] == 0
    status, said = diff("a", "b", "--case", "none")
    assert status == 2
    assert "neither run has a case 'none'; they have single-image, two-images" in said


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nowhere", "no run is named 'nowhere'"),
        ("a:fp16", "the run has no 'fp16'; it has fp32, pynative"),
        ("a:fp32:fp32", "the run has no 'fp32'"),
        ("nowhere:fp32", "no run is named 'nowhere'"),
        ("broken", "is not JSON"),
        ("future", "99"),
        (":fp32", "no run is named"),
    ],
)
def test_a_run_that_is_not_there(keep, name, words):
    keep("a", [made()])
    for other, text in (
        ("broken", "{"),
        ("future", '{"format_name": "parity-rows", "format": 99}'),
    ):
        Path(other).mkdir()
        Path(other, "rows.json").write_text(text)
    status, said = diff("a", name)
    assert (status, words in said) == (2, True), said
    assert not Path("reports").exists()


def test_a_folder_whose_name_has_a_colon_is_taken_whole(keep):
    keep("ascend:0", [made()])
    assert open_part("ascend:0").dtype == ""
    assert open_part("ascend:0:fp32").dtype == "fp32"


def test_a_run_of_the_format_before_can_be_compared(keep):
    result = keep("new", [made()])
    old = json.loads(to_json(result)) | {"format": 3}
    for added in ("details", "inputs", "sources", "sha256"):
        old.pop(added, None)
    Path("old").mkdir()
    Path("old/rows.json").write_text(json.dumps(old))
    assert FORMAT > 3
    assert diff("old", "new")[0] == 0


def test_the_files_take_their_places_whole_or_not_at_all(keep):
    keep("a", [made()])
    keep("b", [made(local=7)])
    assert diff("a", "b", "-o", "deep/page.html", "--json", "deep/diff.json")[0] == 1
    assert Path("deep/page.html").read_text().startswith("<!doctype html>")
    assert json.loads(Path("deep/diff.json").read_text())["counts"]["worse"] == 1
    assert sorted(one.name for one in Path("deep").iterdir()) == ["diff.json", "page.html"]
    Path("taken").write_text("mine")
    for place in ("taken/page.html", "deep"):
        status, said = diff("a", "b", "-o", place)
        assert (status, "cannot" in said) == (2, True)
    assert Path("taken").read_text() == "mine"


def test_half_a_surrogate_pair_does_not_cost_the_page(keep):
    keep("a", [made("\ud800")])
    keep("b", [made("\ud800", local=7)])
    assert diff("a", "b")[0] == 1


def parity(*arguments):
    command = [sys.executable, "-m", "parity", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_help_teaches_and_an_error_is_one_line():
    done = parity("diff", "--help")
    assert done.returncode == 0
    assert "latest:fp32 latest:bf16" in done.stdout
    done = parity("diff", "nowhere", "nowhere")
    assert (done.returncode, done.stderr.count("error:")) == (2, 1)
    assert "Traceback" not in done.stderr


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """Real runs of one case: as the port is, with a fault, and compiled."""
    folder = tmp_path_factory.mktemp("runs")
    for name, options, status in (
        ("port", ["--dtype", "fp32", "--dtype", "bf16"], 0),
        ("again", ["--dtype", "fp32", "--dtype", "bf16"], 0),
        ("fault", ["--dtype", "fp32", "--plant", "quick-gelu-as-gelu"], 1),
        ("compiled", ["--mode", "graph"], 0),
    ):
        done = parity("run", "--case", "single-image", "--report", folder / name, *options)
        assert done.returncode == status, done.stderr
    return folder


def changes(folder, a, b, *options):
    """Exit status, the counts and the changed rows of two real runs."""
    file = folder / "diff.json"
    done = parity("diff", f"{folder}/{a}", f"{folder}/{b}", "--json", file,
                  "-o", folder / "diff.html", *options)  # fmt: skip
    found = json.loads(file.read_text())
    counts = {name: count for name, count in found["counts"].items() if count}
    return done.returncode, counts, found["changes"], done.stdout


@pytest.mark.slow
def test_the_same_port_twice_is_the_same(real):
    status, counts, rows, said = changes(real, "port", "again")
    assert (status, set(counts), rows) == (0, {Change.UNCHANGED.value}, [])
    assert "NO DIFFERENCE" in said


@pytest.mark.slow
def test_a_planted_fault_is_what_changed(real):
    status, counts, rows, said = changes(real, "port:fp32", "fault")
    assert status == 1
    blamed = [one["point"] for one in rows if one["b"] and one["b"]["verdict"] == "GUILTY"]
    assert blamed == ["visual.blocks.2.mlp"]
    assert counts["newly failing"] > 20
    assert "none -> quick-gelu-as-gelu" in said
    assert "Newly failing: visual.blocks.2.mlp" in said
    status, mended, _, _ = changes(real, "fault", "port:fp32")
    assert (status, mended["newly passing"]) == (0, counts["newly failing"])


@pytest.mark.slow
def test_two_dtypes_of_one_run(real):
    _, counts, rows, said = changes(real, "port:fp32", "port:bf16")
    assert "vanished" not in counts
    # What is coarse in fp32 (the device's exponential) is nothing beside bf16's rounding.
    better = {one["point"] for one in rows if one["change"] == "better"}
    assert "language_model.layers.0.mlp" in better
    assert "compared dtype" in said


@pytest.mark.slow
def test_graph_mode_against_pynative(real):
    _, counts, _, said = changes(real, "port:pynative:fp32", "compiled:graph")
    assert "vanished" not in counts
    assert counts["not looked at"] > counts["unchanged"] > 10
    assert "differ in level" in " ".join(said.split())
