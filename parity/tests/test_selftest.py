"""The self-test: what counts as found, what the rates say, and files that tell the truth."""

import json
import math
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import pytest

from parity.baselines import BASELINES
from parity.calibrate_rule import LEAST
from parity.core.errors import ParityError
from parity.core.gates_file import gates_path, read_gates_file
from parity.core.numerics import PRECISIONS
from parity.core.rows import Kind, Row, Verdict
from parity.faults import catalogue
from parity.selftest import readme, table
from parity.selftest.command import status
from parity.selftest.outcome import Outcome, blamed, outcome, own
from parity.selftest.plan import Task, faithful_tasks, fault_tasks, select_faults
from parity.selftest.rates import METHODS, goals, rate, shortfalls
from parity.selftest.records import Records
from parity.selftest.result import Declared, Seeds, SelfTest, from_json, read, to_json
from parity.selftest.trial import HARNESS, WATCHED, Trial, margin_of, run_trial
from parity.session import Session
from parity.settings import Settings


@cache
def session(**options):
    return Session(Settings(**options))


@pytest.mark.parametrize(
    ("point", "found"),
    [
        ("visual.blocks.2.mlp.fc1", {"visual.blocks.2.mlp.fc1", "visual.blocks.2.mlp"}),
        ("visual.blocks.2.mlp", {"visual.blocks.2.mlp", "visual.blocks.2"}),
        ("visual.merger.mlp.0", {"visual.merger.mlp.0", "visual.merger"}),
        ("visual.merger", {"visual.merger"}),
        ("language_model.rotary_emb.cos",
         {"language_model.rotary_emb.cos", "language_model.rotary_emb.sin"}),
        ("language_model.position_ids", {"language_model.position_ids"}),
        ("processor.pixel_values", {"processor.pixel_values"}),
    ],
)  # fmt: skip
def test_a_fault_is_at_its_point_or_the_smallest_module_around_it(point, found):
    assert own(point, session().declared) == found


def judged(*names, truth="visual.blocks.2.mlp.fc1"):
    return outcome(names, own(truth, session().declared) if truth else ())


def test_an_accusation_is_exact_if_the_first_name_is_right():
    fc1, mlp, block = (f"visual.blocks.2{end}" for end in (".mlp.fc1", ".mlp", ""))
    assert judged(fc1) == Outcome(fc1, True, 0)
    assert judged(mlp) == Outcome(mlp, True, 0)
    assert judged(block) == Outcome(block, False, 1)
    assert judged(fc1, mlp, "lm_head") == Outcome(fc1, True, 1)
    assert judged("lm_head", fc1) == Outcome("lm_head", False, 1)
    assert judged() == Outcome(None, False, 0)
    assert not judged().detected
    assert judged("lm_head", truth=None) == Outcome("lm_head", False, 1), "nothing is at fault"


def row(point, verdict, firing=0):
    return Row("c", "fp32", "pynative", 0, point, "text", Kind.FLOAT, firing, verdict, "")


def test_who_suffers_is_not_blamed_and_a_point_is_blamed_once():
    verdicts = {f"p{n}": verdict for n, verdict in enumerate(Verdict)}
    rows = [row(point, verdict) for point, verdict in verdicts.items()]
    wanted = [p for p, v in verdicts.items() if v not in (Verdict.PASS, Verdict.VICTIM)]
    assert blamed([*rows, *rows]) == wanted


HIT, MISS = Outcome("lm_head", True, 0), Outcome(None, False, 0)


def trial(fault="head", dtype="fp32", mine=HIT, others=MISS, **changes):
    outcomes = {HARNESS: mine, **{one.name: others for one in BASELINES}}
    made = Trial(fault, dtype, "text-only", "d", outcomes, (), "row", 12.5, "", 1.0)
    return replace(made, **changes)


def result(*trials, hidden=None, **changes):
    about = Declared("lm_head", "about", "somewhere", hidden or {})
    names = {t.fault for t in trials if t.fault}
    made = SelfTest(
        {"command": "c", "date": "d", "versions": "v", "machine": "m"},
        tuple(dict.fromkeys(t.dtype for t in trials)), dict.fromkeys(names, about), trials,
    )  # fmt: skip
    return replace(made, **changes)


FAITHFUL = trial(None, mine=MISS, digest="faithful")
ALARM = trial(None, mine=Outcome("lm_head", False, 1), digest="faithful", case="long-text")


def test_rates_count_what_can_be_seen():
    found = result(trial(), trial("b", mine=Outcome("x", False, 1)), trial("c", mine=MISS),
                   FAITHFUL, ALARM)  # fmt: skip
    one = rate(found, HARNESS, "fp32")
    assert (one.visible, one.detected, one.exact, one.runs, one.alarms) == (3, 2, 1, 2, 1)
    hidden = {n: replace(d, hidden={"fp32": "why"}) for n, d in found.faults.items()}
    nobody = rate(replace(found, faults=hidden), HARNESS, "fp32")
    assert (nobody.visible, nobody.detected) == (0, 0)


def failing(found):
    return [goal.text for goal in goals(found) if not goal.met]


def test_goals_are_met_by_all_and_by_95_percent_of_narrow_dtypes():
    good = [trial(f"f{n}", "bf16") for n in range(20)]
    bad = trial("bad", "bf16", mine=MISS)
    assert failing(result(*good, bad, FAITHFUL)) == []
    assert len(failing(result(*good[:18], bad, FAITHFUL))) == 2
    fp32 = [replace(t, dtype="fp32") for t in (*good, bad)]
    assert [text.split(",")[0] for text in failing(result(*fp32, FAITHFUL))] == [
        "fp32: visible faults detected", "fp32: visible faults localised exactly",
    ]  # fmt: skip


def test_a_false_alarm_is_counted_wherever_it_is_raised():
    assert failing(result(trial(), FAITHFUL)) == []
    assert failing(result(trial(), FAITHFUL, ALARM)) == ["no false alarm"]
    assert failing(result(trial())) == ["no false alarm"], "nothing was run"
    seeds = (Seeds("fp32", 20, 160, 1),)
    assert failing(result(trial(), FAITHFUL, seeds=seeds)) == ["no false alarm"]


def test_enough_faults_have_to_be_named_when_all_were_planted():
    every = [trial(name) for name in catalogue()]
    seeds = {"seeds": (Seeds("fp32", 20, 160, 0),)}
    assert failing(result(*every, FAITHFUL, **seeds)) == ["20 faults named"]
    named = [replace(t, suggestion="a transposed weight") for t in every]
    enough = (*named[:20], *every[20:], FAITHFUL)
    assert failing(result(*enough, **seeds)) == []
    assert failing(result(*enough)) == ["20 seeds in every dtype"]
    assert failing(result(*enough, seeds=(Seeds("fp32", 19, 152, 0),))) == [
        "20 seeds in every dtype"
    ]


def test_what_falls_short_is_named():
    other = Outcome("visual.merger", False, 2)
    found = result(
        trial("missed", mine=MISS, margin=0.4), trial("elsewhere", mine=other),
        trial("more", mine=Outcome("lm_head", True, 1), beyond=("visual.merger",)), trial("good"),
        FAITHFUL, ALARM,
    )  # fmt: skip
    held = (Seeds("bf16", 20, 160, 1, ("lm_head in decoding, seed 3",)),)
    assert "lm_head in decoding, seed 3" in table.full(replace(found, seeds=held))
    told = {one.fault: f"{one.what}: {one.reason}" for one in shortfalls(found)}
    assert told == {
        "missed": "missed: lm_head reaches 0.4 of its gate",
        "elsewhere": "found elsewhere: blames visual.merger before lm_head",
        "more": "blames 1 more: visual.merger",
        "none": "false alarm in long-text: blames lm_head",
    }
    assert all(name in table.full(found) for name in told)
    (stale,) = shortfalls(result(trial(), FAITHFUL, hidden={"fp32": "an epsilon"}))
    assert (stale.what, stale.reason) == ("found, and declared hidden", "an epsilon")


def test_the_exit_status():
    assert status(result(trial(), FAITHFUL)) == 0
    assert status(result(trial(mine=MISS), FAITHFUL)) == 1
    assert status(result(trial(), FAITHFUL, broken=("a: b",))) == 2
    idle = trial(mine=MISS, digest=FAITHFUL.digest)
    assert status(result(idle, FAITHFUL)) == 2, "the fault changes nothing"
    nobody = {"fp32": "an epsilon under the rounding"}
    assert status(result(idle, FAITHFUL, hidden=nobody)) == 0, "and is not meant to"


@cache
def planted(fault, case="text-only", dtype="fp32"):
    one = session(candidate=WATCHED)
    return run_trial(one, dtype, fault, [c for c in one.cases if c.name == case])


def test_a_fault_is_found_at_its_point_with_its_margin():
    found = planted("attn-bias-dropped")
    assert found.outcomes[HARNESS] == Outcome(catalogue()["attn-bias-dropped"].point, True, 0)
    assert found.margin > 100
    assert set(found.outcomes) == set(METHODS)
    faithful = planted(None)
    assert not faithful.outcomes[HARNESS].detected
    assert faithful.digest != found.digest


def test_a_fault_that_changes_nothing_is_an_error_in_the_fault(monkeypatch):
    real = catalogue()["attn-bias-dropped"]
    monkeypatch.setitem(catalogue(), "idle", replace(real, name="idle", make=lambda same: same))
    found = SelfTest({}, ("fp32",), {"idle": Declared(real.point, "", "", {})},
                     (planted("idle"), planted(None)))  # fmt: skip
    assert list(found.idle()) == [planted("idle")]
    acting = replace(found, trials=(planted("attn-bias-dropped"), planted(None)))
    acting = replace(acting, faults={"attn-bias-dropped": found.faults["idle"]})
    assert not list(acting.idle())


def test_a_fault_is_looked_for_in_its_cases_until_it_shows():
    """Text does not pass the merger."""
    one = session(candidate=WATCHED)
    cases = [next(c for c in one.cases if c.name == name) for name in ("text-only", "single-image")]
    found = run_trial(one, "fp32", "gelu-tanh-merger", cases)
    assert found.case == "single-image"
    assert found.outcomes[HARNESS].exact


def measured(*rows):
    """Rows as (verdict, used share of the gate or nothing, mismatches)."""
    made = []
    for verdict, used, mismatches in rows:
        found = None if used is None else SimpleNamespace(worst=("row", SimpleNamespace(used=used)))
        made.append(replace(row("p", verdict), local=found, mismatches=mismatches))
    return margin_of(made)


def test_a_margin_is_the_worst_ratio_or_a_word():
    passed, guilty, shape = Verdict.PASS, Verdict.GUILTY, Verdict.SHAPE
    assert measured((passed, 0.4, None)) == ("row", 0.4)
    assert measured((passed, 0.4, None), (guilty, 7.0, None)) == ("row", 7.0)
    assert measured((passed, None, 0), (guilty, None, 3)) == ("equality", None)
    assert measured((passed, None, 0), (shape, None, None)) == ("shape", None)
    assert measured((Verdict.NONFINITE, math.inf, None)) == ("nonfinite", None)
    assert measured() == ("", None)


def test_the_plan_covers_every_fault_in_every_dtype():
    one = session(dtypes=("fp32", "bf16"))
    tasks = fault_tasks(one, select_faults([]))
    assert {(task.fault, task.dtype) for task in tasks} == {
        (name, dtype) for name in catalogue() for dtype in ("fp32", "bf16")
    }
    assert [task.dtype for task in tasks] == sorted((t.dtype for t in tasks), reverse=True)
    for task in tasks:
        fault = catalogue()[task.fault]
        seen = task.dtype in fault.dtypes
        assert task.cases == (fault.cases if seen else fault.cases[:1])
    assert len(faithful_tasks(one, [c.name for c in one.cases])) == 2 * len(one.cases)
    with pytest.raises(ParityError, match="no fault is named 'nonsense'"):
        select_faults(["nonsense"])


@pytest.fixture
def records(tmp_path):
    return Records(tmp_path, session())


TASK = Task("head", "fp32", ("text-only",))


def test_a_finished_trial_is_kept(records):
    assert records.read(TASK) is None
    full = trial(mine=Outcome("a", False, 2), beyond=("a", "b"), suggestion="s")
    records.write(TASK, full)
    assert records.read(TASK) == full
    assert records.read(replace(TASK, dtype="bf16")) is None


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"key": 1, "trial": {}}', "[" * 100_000, None])
def test_a_record_that_is_damaged_or_of_other_sources_is_made_again(records, text):
    records.write(TASK, trial())
    path = next(Path(records.folder).iterdir())
    if text is None:
        text = path.read_text().replace(records.key(TASK), "0" * 64)
    path.write_text(text)
    assert records.read(TASK) is None


def test_the_key_of_a_record_covers_sources_gates_inputs_and_the_fault(records, monkeypatch):
    keys = {records.key(TASK), records.key(replace(TASK, fault="other")),
            records.key(replace(TASK, dtype="fp16")),
            records.key(replace(TASK, cases=("long-text",)))}  # fmt: skip
    assert len(keys) == 4
    for name in ("sources_hash", "file_hash"):
        with monkeypatch.context() as patch:
            patch.setattr(f"parity.selftest.records.{name}", lambda *_: "changed")
            assert Records(records.folder, session()).key(TASK) not in keys


def test_the_file_reads_back_as_it_was():
    found = result(trial(beyond=("x",), margin=None), trial("b", "bf16"), FAITHFUL,
                   hidden={"bf16": "why"}, seeds=(Seeds("fp32", 20, 160, 1, ("p",)),),
                   broken=("a: b",))  # fmt: skip
    assert from_json(to_json(found), Path("x")) == found


@pytest.mark.parametrize("damage", ['"format": 2', '"format": 1, "x"', "nothing", '"outcomes": 3'])
def test_a_file_that_is_none_is_one_clear_error(damage):
    text = to_json(result(trial(), FAITHFUL))
    old = '"outcomes": {' if "outcomes" in damage else '"format": 1'
    with pytest.raises(ParityError, match=r"x\.json"):
        from_json(text.replace(old, damage) if damage != "nothing" else "nothing", Path("x.json"))


def test_the_table_says_what_was_counted():
    off = Outcome("visual.merger", False, 1)
    found = result(trial(), trial("b|ar", mine=MISS), trial("c", mine=off), FAITHFUL)
    lines = table.summary(found).splitlines()
    assert lines[0] == "| found, placed exactly; false alarms | fp32, 3 faults |"
    assert "| **this harness** | 66 %, 33 %; 0 of 1 |" in lines
    assert len(lines) == 2 + len(METHODS)
    text = table.full(found)
    assert "12.5 x, row" in text
    assert "b\\|ar" in text
    assert "**missed**" in text


def test_a_share_is_never_rounded_up_to_all():
    assert table.percent(399, 400) == "99 %"
    assert table.percent(400, 400) == "100 %"
    assert table.percent(0, 0) == "-"


def test_the_block_takes_its_place_and_nothing_else():
    text = f"before\n{readme.BEGIN}\nold\n{readme.END}\nafter\n"
    new = readme.replaced(text, "new\nlines")
    assert new == f"before\n{readme.BEGIN}\nnew\nlines\n{readme.END}\nafter\n"
    assert readme.current(new) == "new\nlines"
    assert readme.replaced(new, "new\nlines") == new
    for bad in ("nothing", readme.BEGIN, f"{readme.END}{readme.BEGIN}", text + text):
        with pytest.raises(ParityError, match="README"):
            readme.replaced(bad, "x")


def test_the_documents_are_written_together(tmp_path, monkeypatch):
    monkeypatch.setattr(readme, "ROOT", tmp_path)
    monkeypatch.setattr(readme, "README", tmp_path / "README.md")
    monkeypatch.setattr(readme, "DOCS", tmp_path / "docs")
    (tmp_path / "README.md").write_text(f"a\n{readme.BEGIN}\n{readme.END}\nb\n")
    found = result(trial(), FAITHFUL)
    readme.write_documents(found)
    assert readme.current((tmp_path / "README.md").read_text()) == readme.block(found)
    assert read(tmp_path / "docs" / "selftest.json") == found
    assert (tmp_path / "docs" / "selftest.md").read_text() == table.full(found)
    assert sorted(path.name for path in tmp_path.rglob("*")) == [
        "README.md", "docs", "selftest.json", "selftest.md",
    ]  # fmt: skip


def test_the_readme_shows_the_last_run():
    found = read(readme.RECORD)
    assert readme.current(readme.README.read_text()) == readme.block(found)
    assert (readme.DOCS / "selftest.md").read_text() == table.full(found)
    changed = replace(found, trials=found.trials[1:])
    assert readme.block(changed) != readme.block(found), "a trial less would be noticed"


def test_the_last_run_was_of_todays_faults_in_every_dtype():
    found = read(readme.RECORD)
    assert list(found.faults) == list(catalogue())
    pairs = [(t.fault, t.dtype) for t in found.planted]
    assert sorted(pairs) == sorted((name, dtype) for name in catalogue() for dtype in found.dtypes)
    for name, one in found.faults.items():
        assert one.point == catalogue()[name].point
        assert dict(one.hidden) == dict(catalogue()[name].hidden)
    cases = {case.name for case in session().cases}
    assert {(t.case, t.dtype) for t in found.faithful} == {
        (c, d) for c in cases for d in found.dtypes
    }


def test_the_csv_has_a_line_for_each_method():
    from parity.selftest.csv_table import COLUMNS, to_csv

    lines = to_csv(result(trial(), FAITHFUL)).splitlines()
    assert lines[0] == ",".join(COLUMNS)
    assert len(lines) == 1 + 2 * len(METHODS)
    assert lines[1].startswith("head,lm_head,fp32,text-only,1,parity,1,1,lm_head,0,row,12.5")
    assert json.dumps(lines[2]).count(",") == len(COLUMNS) - 1


def test_no_fault_is_hidden_by_declaration_alone():
    """What stands out by the rule that gates are fitted by has to be caught."""
    found = set()
    for dtype in PRECISIONS:
        content = read_gates_file(gates_path(Settings().gates, "CPU", dtype))
        for name, margin in content.faults.items():
            if not margin.seen and margin.ratio > LEAST * margin.faithful:
                found.add((name, dtype))
    assert not found
