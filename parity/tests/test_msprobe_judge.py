"""Verdicts on dumps: of the port beside the harness's own record, and of toys beside each other."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from parity.__main__ import app
from parity.adapters.mindspore_device import set_device
from parity.core.errors import ParityError
from parity.core.rows import Verdict
from parity.faults import find
from parity.msprobe.dump import DATA, DUMP, open_dump
from parity.msprobe.job import Request, judge_alone, judge_pair
from parity.msprobe.make_toys import mindspore_toy
from parity.msprobe.names import parse_names
from parity.report.rows_io import read_json
from parity.session import Session
from parity.settings import Settings
from parity.tests.written_dump import Writing, write_port

TOYS = Path(__file__).parent / "data" / "msprobe"
CASE = "single-image"
FAULT = "quick-gelu-as-gelu"


@pytest.fixture(scope="module", autouse=True)
def device():
    set_device("CPU")  # before anything is computed


@pytest.fixture(scope="module")
def session():
    return Session(Settings(cases=(CASE,)))


@pytest.fixture(scope="module")
def dumps(tmp_path_factory, session):
    """The port's dump as it is, and with a fault."""
    folder = tmp_path_factory.mktemp("dumps")
    write_port(folder / "right", session.cases[0])
    write_port(folder / "wrong", session.cases[0], fault=FAULT)
    return folder


def judged(session, folder, **changes):
    return judge_alone(session, session.cases[0], "fp32", Request(open_dump(folder), **changes))


def at_fault(rows):
    fine = (Verdict.PASS, Verdict.VICTIM)
    return [(row.point, row.verdict) for row in rows if row.verdict not in fine]


def changed(dumps, tmp_path, edit):
    """The right dump with another dump.json, and the same tensors."""
    folder = tmp_path / "changed"
    shutil.copytree(dumps / "right", folder, copy_function=os.link)
    data = json.loads((folder / DUMP).read_text())
    data["data"] = edit(data["data"])
    (folder / DUMP).unlink()
    (folder / DUMP).write_text(json.dumps(data))
    return folder


def test_the_writer_writes_what_msprobe_writes(tmp_path):
    model, (run,) = mindspore_toy(scaled=False)
    writing = Writing(model, tmp_path / "toy")
    run()
    writing.close()
    ours, theirs = open_dump(tmp_path / "toy"), open_dump(TOYS / "mindspore")
    assert ours.calls == theirs.calls
    for call in ours.calls:
        for entry in (*call.arguments.values(), *call.outputs):
            pair = [dump.tensor(entry) for dump in (ours, theirs)]
            np.testing.assert_allclose(pair[0].value, pair[1].value, rtol=1e-6)


def test_the_port_s_dump_passes_and_says_what_it_lacks(session, dumps):
    found = judged(session, dumps / "right")
    assert at_fault(found.rows) == []
    assert len(found.rows) == 91
    model = [row for row in found.rows if row.kind.value == "float" and row.end_to_end]
    without = {row.point for row in model if row.local is None}
    assert without == {"language_model.inputs_embeds"}  # an argument: no module makes it
    assert list(found.left_out.values()) == [
        ["model.visual.patch_embed.proj", "model.visual.merger.mlp.1", "model.visual.merger.mlp",
         "model.visual", "model"],
        ["processor.image_grid_thw", "processor.attention_mask", "processor.mm_token_type_ids",
         "rope_deltas"],
    ]  # fmt: skip
    assert "not compared, 4 values that are not in the dump" in found.lines[-1]


def test_a_fault_is_placed_from_its_dump_alone(session, dumps):
    rows = judged(session, dumps / "wrong").rows
    point = find(FAULT).point
    assert at_fault(rows) == [(point, Verdict.GUILTY)]
    victims = [row for row in rows if row.verdict is Verdict.VICTIM]
    assert len(victims) > 20
    assert {row.cause for row in victims} == {point}
    guilty = next(row for row in rows if row.point == point)
    assert f"at the input of {point}.fc2" in guilty.message


def test_a_wrong_tensor_is_placed_at_its_module_and_at_what_uses_another(session, dumps, tmp_path):
    """One file changed: its module did not make it, and the next one was not given it."""
    folder = changed(dumps, tmp_path, lambda data: data)
    module = "visual.blocks.1.norm2"
    call = next(c for c in open_dump(folder).calls if c.path.endswith(module))
    path = folder / DATA / call.outputs[0].file
    array = np.load(path)
    path.unlink()
    array[3, 5] *= 1.01
    np.save(path, array)
    # The block's code is blamed too: what it hands to the MLP is not what the norm made.
    assert at_fault(judged(session, folder).rows) == [
        (module, Verdict.GUILTY), ("visual.blocks.1", Verdict.GUILTY),
    ]  # fmt: skip


def test_a_module_that_is_not_in_the_dump_is_missing_unless_not_asked_for(session, dumps, tmp_path):
    def edit(data):
        return {name: call for name, call in data.items() if ".language_model.layers." not in name}

    folder = changed(dumps, tmp_path, edit)
    missing = at_fault(judged(session, folder).rows)
    assert {verdict for _, verdict in missing} == {Verdict.MISSING}
    assert all(point.startswith("language_model.layers.") for point, _ in missing)
    assert len(missing) > 20
    rows = judged(session, folder, patterns=("visual.*", "lm_head")).rows
    assert at_fault(rows) == []
    assert len(rows) > 40
    with pytest.raises(ParityError, match="no point is named"):
        judged(session, folder, patterns=("visal.*",))


def test_a_call_too_many_is_extra(session, dumps, tmp_path):
    def edit(data):
        head = next(name for name in data if ".lm_head." in f".{name}")
        return {**data, f"{head[:-1]}1": data[head]}

    found = at_fault(judged(session, changed(dumps, tmp_path, edit)).rows)
    assert found == [("lm_head", Verdict.EXTRA)]


def test_calls_have_to_be_numbered_without_a_gap(session, dumps, tmp_path):
    def edit(data):
        return {name.replace("forward.0", "forward.1"): call for name, call in data.items()}

    with pytest.raises(ParityError, match=r"has the calls 1 of .*not each one from 0 on"):
        judged(session, changed(dumps, tmp_path, edit))


def test_other_names_are_mapped_by_a_file(session, dumps, tmp_path):
    def edit(data):
        return {
            name.replace("model.visual.blocks.", "net.vit.stage."): c for name, c in data.items()
        }

    folder = changed(dumps, tmp_path, edit)
    missing = {point for point, _ in at_fault(judged(session, folder).rows)}
    assert "visual.blocks.0.attn" in missing
    names = parse_names(b'[names]\n"net.vit.stage" = "visual.blocks"', Path("names.toml"))
    found = judged(session, folder, names=names)
    assert at_fault(found.rows) == []
    assert len(found.rows) == 91


def test_another_prompt_is_seen_at_its_token_ids(dumps):
    session = Session(Settings(cases=("two-images",)))
    at = dict(at_fault(judged(session, dumps / "right").rows))
    assert at["processor.pixel_values"] is Verdict.SHAPE
    assert at["processor.input_ids"] is Verdict.SHAPE


def test_pixels_that_the_dump_holds_rounded_are_seen_at_the_patch_embedding(
    session, dumps, tmp_path
):
    """As in bfloat16: there the pixels are no point of their own, and here the dump says so."""

    def edit(data):
        name = next(one for one in data if ".visual.patch_embed." in one and ".proj." not in one)
        data[name]["input_kwargs"]["hidden_states"]["dtype"] = "Float16"
        return data

    folder = changed(dumps, tmp_path, edit)
    rows = judged(session, folder).rows
    assert "processor.pixel_values" not in {row.point for row in rows}
    assert at_fault(rows) == []
    for path in (folder / DATA).glob("Cell.model.visual.patch_embed.*"):
        if ".proj." not in path.name:  # without a bias: what is half as large again is right
            array = np.load(path) * np.float32(1.5)
            path.unlink()
            np.save(path, array)
    guilty = [row for row in judged(session, folder).rows if row.verdict is Verdict.GUILTY]
    assert guilty[0].point == "visual.patch_embed"
    assert guilty[0].message.startswith("its pixels are not the reference's")


def pair(reference, candidate):
    return judge_pair("toys", "fp32", open_dump(reference), Request(open_dump(candidate)))


def test_two_frameworks_dumps_of_one_model_agree():
    found = pair(TOYS / "pytorch", TOYS / "mindspore")
    assert [row.verdict for row in found.rows] == [Verdict.PASS] * 12
    assert max(row.local.whole.ratio for row in found.rows) < 5


def test_a_block_that_is_wrong_by_a_hundredth_is_guilty_and_the_rest_its_victims():
    rows = pair(TOYS / "pytorch", TOYS / "scaled").rows
    assert at_fault(rows) == [("blocks.1.0", Verdict.GUILTY)]
    guilty = next(row for row in rows if row.verdict is Verdict.GUILTY)
    assert guilty.firing == 0
    assert guilty.local.whole.error == pytest.approx(0.0086, rel=0.05)
    victims = {(row.point, row.firing) for row in rows if row.verdict is Verdict.VICTIM}
    assert victims == {
        ("blocks.1.1", 0), ("blocks.1.fc1", 1), ("blocks.1.fc2", 1), ("blocks.1.0", 1),
        ("blocks.1.1", 1),
    }  # fmt: skip


def test_dumps_with_other_inputs_are_told_from_a_wrong_module(tmp_path):
    """The first module's input is changed on one side: it is what reaches it that differs."""
    folder = tmp_path / "other"
    shutil.copytree(next((TOYS / "mindspore").glob("step0/*")), folder)
    for name in ("Cell.blocks.0.fc1.Linear", "Cell.blocks.0.Block"):
        path = folder / DATA / f"{name}.forward.0.input.0.npy"
        np.save(path, np.load(path) * np.float32(1.5))
    rows = pair(TOYS / "mindspore", folder).rows
    assert at_fault(rows) == [("blocks.0.0", Verdict.GUILTY)]
    assert "what reaches it differs by 0.5" in next(
        r.message for r in rows if r.point == "blocks.0.0"
    )


def test_what_only_the_reference_has_is_missing_unless_it_is_inside_what_is_compared(tmp_path):
    def without(part):
        folder = tmp_path / part
        shutil.copytree(next((TOYS / "mindspore").glob("step0/*")), folder)
        data = json.loads((folder / DUMP).read_text())
        data["data"] = {name: c for name, c in data["data"].items() if f".{part}." not in name}
        (folder / DUMP).write_text(json.dumps(data))
        return pair(TOYS / "pytorch", folder)

    inside = without("fc1")
    assert at_fault(inside.rows) == []
    assert ["blocks.0.fc1", "blocks.1.fc1"] in inside.left_out.values()
    outside = without("blocks.1")
    assert {verdict for _, verdict in at_fault(outside.rows)} == {Verdict.MISSING}


def run(*arguments):
    return CliRunner().invoke(app, ["import-msprobe", *map(str, arguments)])


def test_the_command_writes_a_report_and_its_status_says_what_became_of_it(dumps, tmp_path):
    report = tmp_path / "report"
    right = run(dumps / "right", "--case", CASE, "--report", report)
    assert right.exit_code == 0
    assert right.output.splitlines()[-1].startswith("parity verdict: PASSED: 91 of 91")
    found = read_json(report / "rows.json")
    assert {row.mode for row in found.rows} == {"dumped"}
    assert found.provenance["candidate"] == "a dump of msprobe (mindspore)"
    wrong = run(dumps / "wrong", "--case", CASE, "--report", report)
    assert wrong.exit_code == 1
    assert "Wrong for what it was given itself" in wrong.output


def test_the_command_judges_one_dump_by_another(tmp_path):
    options = ("--reference", TOYS / "pytorch", "--report", tmp_path / "report")
    assert run(TOYS / "mindspore", *options).exit_code == 0
    scaled = run(TOYS / "scaled", *options)
    assert scaled.exit_code == 1
    assert "first GUILTY: blocks.1.0" in scaled.output


def test_no_framework_is_needed(dumps, tmp_path):
    """PyTorch's files are read, and the harness's record too, in a process that imports neither."""
    commands = [
        [TOYS / "scaled", "--reference", TOYS / "pytorch"], [dumps / "right", "--case", CASE],
    ]  # fmt: skip
    code = f"""
import sys
from typer.testing import CliRunner
from parity.__main__ import app
for words in {[[str(word) for word in words] for words in commands]!r}:
    found = CliRunner().invoke(app, ["import-msprobe", *words, "--report", {str(tmp_path / "r")!r}])
    print(found.exit_code, sorted({{"torch", "mindspore", "transformers"}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["1 []", "0 []"]


def test_names_from_a_dump_are_text_on_the_page(tmp_path):
    evil = "<script>alert(1)</script>"
    for name in ("mindspore", "scaled"):
        folder = tmp_path / name
        shutil.copytree(next((TOYS / name).glob("step0/*")), folder)
        data = json.loads((folder / DUMP).read_text())
        data["data"] = {key.replace("blocks", evil): call for key, call in data["data"].items()}
        (folder / DUMP).write_text(json.dumps(data))
    report = tmp_path / "report"
    found = run(tmp_path / "scaled", "--reference", tmp_path / "mindspore", "--report", report)
    assert found.exit_code == 1
    assert f"{evil}.1.0" in {row.point for row in read_json(report / "rows.json").rows}
    pages = [path.read_text() for path in report.rglob("*.html")]
    assert pages
    assert not any(evil in page for page in pages)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((TOYS / "mindspore",), "name the case"),
        ((TOYS / "mindspore", "--case", CASE), "none of the 6 modules of the dump"),
        ((TOYS / "mindspore", "--case", "no-such"), "no-such"),
        ((TOYS / "statistics", "--case", CASE), "statistics and no tensors"),
        ((TOYS / "gone", "--case", CASE), "is not a folder"),
        ((TOYS / "mindspore", "--reference", TOYS / "statistics"), "statistics and no tensors"),
        ((TOYS / "mindspore", "--reference", TOYS / "pytorch", "--point", "x*"), "no module of"),
    ],
)
def test_what_cannot_be_judged_is_one_error(options, message, tmp_path):
    found = run(*options, "--report", tmp_path / "report")
    assert isinstance(found.exception, ParityError)
    assert message in str(found.exception)
    assert not (tmp_path / "report").exists()
