"""Ports with holes: what is there is judged, what is not is shown, and absence passes nothing."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from parity.core.errors import ParityError
from parity.core.holes import check_holes, hole_around, matching, outermost, replaceable
from parity.core.numerics import precision
from parity.core.rows import GRAPH, RunResult, Verdict
from parity.core.verdict import Evidence, judge
from parity.report.html import render
from parity.report.terminal import summary_lines
from parity.report.view import view
from parity.session import Session
from parity.settings import Settings
from parity.tests.report_runs import row
from parity.tests.toy_model import (
    ATTN,
    GATES,
    MODEL,
    PADDING,
    POINTS,
    QKV,
    SCHEDULE,
    Rows,
    Run,
    spoil,
    write,
)

ROOT = Path(__file__).parent.parent.parent
KNOWN = replaceable(POINTS)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return write(tmp_path_factory.mktemp("toy") / "bundle")


def judged(run, *holes):
    """Rows of a toy run in which nothing inside the holes left a value."""
    for point in POINTS:
        if hole_around(point, holes):
            for trace in (run.free, run.forced):
                trace.taps.pop(point.name, None)
    evidence = Evidence("toy", precision("fp32"), GATES, run.bundle, run.free, run.forced,
                        padding=PADDING, holes=holes)  # fmt: skip
    return Rows({(row.point, row.firing): row for row in judge(SCHEDULE, evidence)})


def verdicts(rows):
    return {name: row.verdict for (name, index), row in rows.items() if not index}


def test_a_hole_is_absent_with_all_that_is_inside_it_and_the_rest_passes(bundle):
    rows = judged(Run(bundle), ATTN)
    for (name, _), found in rows.items():
        inside = name == ATTN or name.startswith(f"{ATTN}.")
        assert found.verdict is (Verdict.ABSENT if inside else Verdict.PASS), name
    absent = rows[(QKV, 1)]
    assert absent.cause == ATTN
    assert absent.message == f"{ATTN} is not ported yet; the reference's value stood in for it"
    assert (absent.local, absent.end_to_end) == (None, None)


def test_without_the_declaration_the_same_is_missing(bundle):
    run = Run(bundle)
    judged(run, ATTN)
    assert run.judge().blamed[(ATTN, 0)] is Verdict.MISSING


def test_the_update_of_a_block_after_a_hole_is_still_judged(bundle):
    rows = judged(Run(bundle), "blocks.0")
    assert rows[("blocks.1", 0)].verdict is Verdict.PASS
    assert rows[("blocks.1", 0)].end_to_end.update is not None


def test_a_fault_beside_a_hole_is_found_and_the_hole_explains_nothing(bundle):
    run = Run(bundle)
    spoil(run.forced, "blocks.1")
    spoil(run.free, "blocks.1")
    spoil(run.free, "head")
    rows = judged(run, "blocks.0")
    assert verdicts(rows)["blocks.1"] is Verdict.GUILTY
    assert (rows[("head", 0)].verdict, rows[("head", 0)].cause) == (Verdict.VICTIM, "blocks.1")


def test_what_reaches_a_hole_is_judged(bundle):
    run = Run(bundle)
    run.arrive(ATTN)
    assert verdicts(judged(run, ATTN))["blocks.0"] is Verdict.PASS
    run.arrive(ATTN, change=lambda x: x + 1)
    rows = judged(run, ATTN)
    assert verdicts(rows)["blocks.0"] is Verdict.GUILTY
    assert rows[("blocks.0", 0)].message.startswith(f"at the input of {ATTN}")
    assert verdicts(rows)[ATTN] is Verdict.ABSENT
    run.arrive("head", change=lambda x: x + 1)
    assert verdicts(judged(run, "head"))["head"] is Verdict.GUILTY


def test_the_argument_of_a_hole_is_judged_if_it_was_seen(bundle):
    assert verdicts(judged(Run(bundle), "rotary"))["ids"] is Verdict.PASS
    run = Run(bundle)
    spoil(run.forced, "ids")
    assert verdicts(judged(run, "rotary"))["ids"] is Verdict.GUILTY
    for trace in (run.free, run.forced):
        trace.taps.pop("ids")
    assert verdicts(judged(run, "rotary"))["ids"] is Verdict.ABSENT


def test_outermost_holes():
    assert outermost(["a.b", "a", "a.b.c", "ab", "a"]) == ("a", "ab")
    assert check_holes([ATTN, QKV], KNOWN) == (ATTN,)
    assert check_holes([], KNOWN) == ()


@pytest.mark.parametrize("path", ["blocks", "nonsense", ""])
def test_a_hole_that_no_point_stands_for_is_one_clear_error(path):
    with pytest.raises(ParityError, match="declared as not ported, and no declared point"):
        check_holes([ATTN, path], KNOWN)


def test_the_error_names_what_to_declare_instead():
    with pytest.raises(ParityError, match=r"declare what is in it instead: blocks\.0"):
        check_holes(["blocks"], KNOWN)


def test_patterns():
    assert matching(["blocks.?.attn", "head"], KNOWN) == ("blocks.0.attn", "blocks.1.attn", "head")
    assert matching(["blocks.*"], KNOWN) == ("blocks.0", "blocks.1")
    with pytest.raises(ParityError, match="--without 'nonsense' names no module"):
        matching(["head", "nonsense"], KNOWN)


def absent(order, name, **changes):
    return replace(row(order, name, Verdict.ABSENT, **changes), cause=name, local=None,
                   end_to_end=None, mismatches=None)  # fmt: skip


def told(found):
    """The summary as one line."""
    return " ".join(" ".join(summary_lines(found)).split())


def test_a_run_with_holes_passes_with_its_holes_named():
    found = RunResult([row(0, "a"), absent(1, "b"), absent(2, "c"), absent(3, "c")])
    assert (found.passed, found.holes, found.first_failure) == (True, ["b", "c"], None)
    assert told(found).startswith(
        "parity PASSED WITH HOLES: What is there passes; 2 modules are not ported yet: b, c."
    )
    page = view(found)
    assert page.headline.title == "PASSED WITH HOLES: 4 rows - parity"
    assert page.groups[0].passed
    assert page.groups[0].other == 0
    assert "PASSED WITH HOLES" in render(found)


def test_a_failing_run_still_names_its_holes():
    found = RunResult([row(0, "a", Verdict.GUILTY), absent(1, "b")])
    assert not found.passed
    assert "1 module is not ported yet: b" in told(found)


def test_a_run_in_which_everything_is_absent_fails():
    processor = row(0, "processor.input_ids", stage="preprocessing")
    for rows in ([absent(1, "b")], [processor, absent(1, "b")]):
        found = RunResult(rows)
        assert not found.passed
        assert "Nothing of the model was compared" in told(found)
        assert view(found).headline.title == "FAILED: nothing compared - parity"
    assert RunResult([processor]).passed


def session(*without, case="text-only", **settings):
    chosen = Settings(cases=(case,), without=without, **settings)
    found = Session(chosen, prove=True)
    found.validate()
    return found, found.run(found.cases[0], "fp32")


def test_a_module_left_out_is_not_executed(monkeypatch):
    from qwen2vl_ms import text

    original, executed = text.Qwen2MLP.construct, []

    def construct(self, x):
        executed.append(self.gate_proj.weight.name)
        return original(self, x)

    monkeypatch.setattr(text.Qwen2MLP, "construct", construct)
    found, rows = session("language_model.layers.1.mlp")
    assert executed
    assert not [name for name in executed if ".layers.1." in name]
    assert found.invalid == []
    holes = [row.point for row in rows if row.verdict is Verdict.ABSENT]
    assert holes
    assert all(name.startswith("language_model.layers.1.mlp") for name in holes)
    assert {row.verdict for row in rows} == {Verdict.PASS, Verdict.ABSENT}


def test_a_placeholder_raises_where_nothing_stands_in():
    found, _ = session("lm_head")
    port = found.candidate("fp32")
    with pytest.raises(NotImplementedError, match="lm_head was left out"):
        port.model.lm_head(None)


def test_a_module_left_out_twice_too_often_says_so(bundle):
    from parity.adapters.mindspore_stand_ins import StandIn

    point = next(point for point in MODEL if point.name == "head")
    stand_in = StandIn("head", [point], bundle)
    for index in (0, 1):
        assert np.array_equal(
            stand_in().asnumpy(), bundle.tensor(bundle.points["head"][index].value)
        )
    with pytest.raises(ParityError, match="was called 3 times; the reference called it 2 times"):
        stand_in()


@pytest.mark.parametrize(
    ("settings", "pattern"),
    [({}, "nonsense"), ({}, "visual"), ({"modes": (GRAPH,)}, "visual.blocks.0.attn")],
)
def test_a_pattern_that_names_nothing_is_an_error_before_the_run(settings, pattern):
    with pytest.raises(ParityError, match="names no module with a declared result"):
        Session(Settings(without=(pattern,), **settings)).validate()


def blocks(text):
    """The files that the guide tells to write."""
    found = re.findall(r"```python\n# (\S+)\n(.*?)```", text, re.DOTALL)
    assert [name for name, _ in found] == ["my_port.py", "my_candidate.py"]
    return dict(found)


def try_out(tmp_path, change=lambda name, source: source):
    """Write the guide's files and run the guide's command."""
    guide = (ROOT / "docs" / "porting.md").read_text()
    for name, source in blocks(guide).items():
        (tmp_path / name).write_text(change(name, source))
    (command,) = re.findall(r"PYTHONPATH=\. (pytest parity/ -k vision .*)", guide)
    words = [sys.executable, "-m", *command.split(), "-p", "no:cacheprovider",
             "--report", str(tmp_path / "report")]  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(tmp_path))
        return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)


def compared(tmp_path):
    rows = json.loads((tmp_path / "report" / "rows.json").read_text())["rows"]
    return {row["point"]: row["verdict"] for row in rows}


def test_the_guides_port_passes_with_its_holes_on_day_one(tmp_path):
    done = try_out(tmp_path)
    assert done.returncode == 0, done.stdout
    assert "parity PASSED WITH HOLES" in done.stdout
    found = compared(tmp_path)
    assert found["visual.patch_embed"] == "PASS"
    model = {name for name in found if name.startswith("visual.")} - {"visual.patch_embed"}
    assert {found[name] for name in model} == {"ABSENT"}


REAL_BLOCK = """
from qwen2vl_ms import Qwen2VLForConditionalGeneration
from qwen2vl_ms.positions import vision_cu_seqlens, vision_position_ids


def construct(self, hidden_states, grid_thw):
    hidden_states = self.patch_embed(hidden_states)
    positions = self.rotary_pos_emb(position_ids=vision_position_ids(grid_thw, 2))
    ends = vision_cu_seqlens(grid_thw)
    for block in self.blocks:
        hidden_states = block(
            hidden_states=hidden_states, cu_seqlens=ends, position_embeddings=positions
        )
    return self.merger(hidden_states)


Vision.construct = construct
whole = Model.__init__


def init(self, checkpoint):
    whole(self, checkpoint)
    other = Qwen2VLForConditionalGeneration.from_pretrained(checkpoint).model.visual
    self.visual.blocks[0] = other.blocks[0]
    self.visual.rotary_pos_emb = other.rotary_pos_emb


Model.__init__ = init
"""


@pytest.mark.slow
def test_the_next_module_is_judged_while_the_others_are_absent(tmp_path):
    done = try_out(tmp_path, lambda name, s: s + REAL_BLOCK if name == "my_port.py" else s)
    assert done.returncode == 0, done.stdout
    found = compared(tmp_path)
    assert {found[n] for n in found if n.startswith("visual.blocks.0")} == {"PASS"}
    assert found["visual.cu_seqlens"] == found["visual.position_ids"] == "PASS"
    assert {found[n] for n in found if n.startswith("visual.blocks.1")} == {"ABSENT"}


def test_a_wrong_module_is_guilty_on_day_one(tmp_path):
    def wrong(name, source):
        return source.replace("kernel.reshape(", "kernel[:, ::-1].copy().reshape(")

    done = try_out(tmp_path, wrong)
    assert done.returncode == 1, done.stdout
    assert "First guilty: visual.patch_embed" in done.stdout


@pytest.mark.slow
def test_a_port_of_nothing_fails(tmp_path):
    done = try_out(tmp_path, lambda name, s: s.replace("= PatchEmbed(kernel)", "= NotPorted()"))
    assert done.returncode == 1, done.stdout
    assert "Nothing of the model was compared" in done.stdout


@pytest.mark.slow
def test_a_declaration_that_no_point_stands_for_could_not_run(tmp_path):
    def whole(name, source):
        return source.replace(
            "class Vision(nn.Cell):", "class Vision(nn.Cell):\n    not_ported = 1"
        )

    done = try_out(tmp_path, whole)
    assert done.returncode == 1
    assert "visual is declared as not ported" in " ".join(done.stdout.split())
