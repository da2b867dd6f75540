"""The ledger of what was compared, and comparisons that would pass and prove nothing."""

import re
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from parity.core.coverage import Coverage, cover, coverages, ledger
from parity.core.errors import ParityError
from parity.core.numerics import precision
from parity.core.points import Point
from parity.core.rows import Kind, RunResult, Verdict
from parity.core.trace import Tap
from parity.core.vacuous import is_constant, vacuous
from parity.core.verdict import Evidence, judge
from parity.report.html import render
from parity.report.ledger import ledger_view
from parity.report.terminal import summary_lines
from parity.tests.report_runs import row
from parity.tests.toy_model import ATTN, GATES, MODEL, PADDING, SCHEDULE, Run, arrival, value, write

ROOT = Path(__file__).parent.parent.parent
PROMPT = [firing for firing in SCHEDULE if firing.index == 0]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return write(tmp_path_factory.mktemp("toy") / "bundle")


@pytest.fixture
def fresh(tmp_path):
    """A bundle of its own, to be spoiled."""
    return write(tmp_path / "bundle")


def evidence(run):
    return Evidence("toy", precision("fp32"), GATES, run.bundle, run.free, run.forced,
                    padding=PADDING)  # fmt: skip


def covered(run, schedule=SCHEDULE, every=SCHEDULE):
    found = evidence(run)
    return cover(schedule, every, found, judge(schedule, found))


def make_constant(run, name, number, index=0):
    """The reference, and a candidate that agrees with it."""
    value(run.bundle, name, index)[...] = number
    for trace in (run.free, run.forced):
        trace.taps[name][index].value[...] = number


def test_a_whole_run_is_counted_on_both_sides(bundle):
    found = covered(Run(bundle))
    assert found == Coverage(
        "toy", "fp32", declared=len(SCHEDULE), reference=len(SCHEDULE), free=len(SCHEDULE),
        forced_declared=2 * len(MODEL), forced=2 * len(MODEL), padding=3,
        no_token_figure=found.no_token_figure, no_channel_figure=found.no_channel_figure,
    )  # fmt: skip
    assert found.left_out == []


def test_what_a_side_lacks_is_counted(bundle):
    run = Run(bundle)
    run.free.taps[ATTN].pop()
    run.forced.taps.pop(ATTN)
    found = covered(run)
    assert (found.declared - found.free, found.forced_declared - found.forced) == (1, 2)


def test_single_tokens_have_no_worst_one(bundle):
    prompt = covered(Run(bundle), PROMPT)
    whole = covered(Run(bundle))
    assert prompt.no_token_figure == prompt.no_channel_figure == 0
    assert whole.no_token_figure == 0  # two rows of one token each
    assert whole.no_channel_figure == 2 * sum(p.kind is not Kind.DISCRETE for p in MODEL)


def test_stages_that_were_not_asked_for_are_named(bundle):
    only = [firing for firing in SCHEDULE if firing.stage == "preprocessing"]
    assert covered(Run(bundle), only).stages_left_out == ["positions", "text", "decoding"]


@pytest.mark.parametrize("number", [0.0, -3.5])
@pytest.mark.parametrize("name", ["head", ATTN, "rotary.cos"])
def test_a_constant_reference_proves_nothing(fresh, number, name):
    run = Run(fresh)
    for role in ("local", "end_to_end"):
        setattr(fresh.points[name][0], role, None)
    make_constant(run, name, number)
    rows = run.judge()
    assert rows.blamed == {(name, 0): Verdict.EMPTY}
    assert f"are {number:g} in the reference" in rows[(name, 0)].message
    found = covered(run)
    assert found.constant == found.constant_in_candidate == [name]


def test_a_reference_that_is_constant_but_for_its_padding_proves_nothing(fresh):
    run = Run(fresh)
    for role in ("local", "end_to_end"):
        setattr(fresh.points["head"][0], role, None)
    make_constant(run, "head", 2)
    value(fresh, "head")[0, 0] = 7  # a padding token
    assert run.judge().blamed == {("head", 0): Verdict.EMPTY}
    value(fresh, "head")[0, 3, 1] = 2.5  # a real one
    run.free.taps["head"][0].value[0, 3, 1] = run.forced.taps["head"][0].value[0, 3, 1] = 2.5
    assert run.judge().blamed == {}


def test_a_constant_candidate_is_counted_and_guilty(bundle):
    run = Run(bundle)
    tap = run.forced.taps["head"][0]
    run.forced.taps["head"][0] = replace(tap, value=np.zeros_like(tap.value))
    assert run.judge().blamed == {("head", 0): Verdict.GUILTY}
    assert covered(run).constant_in_candidate == ["head"]
    assert covered(run).constant == []


def test_what_proves_nothing_explains_nothing(fresh):
    run = Run(fresh)
    fresh.points["embed"][0].local = None
    fresh.points["embed"][0].end_to_end = None
    make_constant(run, "embed", 0)
    tap = run.free.taps["head"][0]
    run.free.taps["head"][0] = replace(tap, value=tap.value + 1)
    assert run.judge().blamed == {("embed", 0): Verdict.EMPTY, ("head", 0): Verdict.DRIFT}


@pytest.mark.parametrize("which", ["free", "forced"])
def test_memory_shared_with_the_reference_never_passes(bundle, which):
    run = Run(bundle)
    own = value(bundle, ATTN)
    getattr(run, which).taps[ATTN][0] = Tap(own[:], "float32")
    rows = run.judge()
    assert rows.blamed == {(ATTN, 0): Verdict.EMPTY}
    assert "compared with itself" in rows[(ATTN, 0)].message
    assert covered(run).shared == [ATTN]
    getattr(run, which).taps[ATTN][0] = Tap(own.copy(), "float32")
    assert run.judge().blamed == {}


def test_memory_shared_at_an_input_never_passes(bundle):
    run = Run(bundle)
    run.forced.arrivals[("blocks.0.mlp", 0)] = Tap(arrival(bundle, "blocks.0.mlp"), "float32")
    assert run.judge().blamed == {("blocks.0", 0): Verdict.EMPTY}
    assert covered(run).shared == ["blocks.0.mlp"]


def test_what_is_not_finite_on_both_sides_is_named(fresh):
    run = Run(fresh)
    for array in (value(fresh, ATTN), *(t.taps[ATTN][0].value for t in (run.free, run.forced))):
        array[0, 5, 3] = np.inf
    with np.errstate(invalid="ignore"):
        assert covered(run).not_finite == [ATTN]


def test_what_the_record_holds_more_of_than_is_declared_is_not_compared(bundle):
    found = covered(Run(bundle), PROMPT, PROMPT)
    assert set(found.undeclared) == {point.name for point in MODEL}
    assert "holds more of head than is declared" in found.left_out[-1]


@pytest.mark.parametrize(
    ("array", "constant"),
    [
        (np.zeros((2, 3)), True), (np.full(100, 7.0), True), (np.ones(1), False),
        (np.zeros(0), False), (np.array([np.nan, 1, np.nan]), False),
        (np.full(4, np.nan), True), (np.full(4, np.inf), True),
        (np.append(np.zeros(99), 1e-30), False), (np.array([0.0, -0.0]), True),
    ],
)  # fmt: skip
def test_one_number_throughout(array, constant):
    assert is_constant(array) is constant


def test_what_may_be_constant_by_nature():
    ones = np.ones((1, 1, 8), np.float32)
    table = Point("rotary.cos", "text", Kind.TABLE, "rotary", role="rotary")
    assert vacuous(table, ones, [], None) is None
    assert vacuous(replace(table, role="linear"), ones, [], None)
    assert vacuous(replace(table, role="other", kind=Kind.DISCRETE), ones, [], None) is None


def entry(**changes):
    return replace(Coverage("photo", "fp32", 9, 9, 9, 7, 7), **changes)


def shown(*entries, **counts):
    return RunResult([row(0, "a")], ledger=ledger(entries, **counts))


def test_the_cost_of_rounding_weights_is_taken_from_the_head(fresh):
    schedule = [
        replace(f, point=replace(f.point, role="head")) if f.point.name == "head" else f
        for f in SCHEDULE
    ]
    fresh.points["embed"][0].weight_rounding = 0.5
    assert covered(Run(fresh), schedule).weight_rounding == 0.0
    for firing, cost in zip(fresh.points["head"], (2e-4, 1e-4), strict=True):
        firing.weight_rounding = cost
    assert covered(Run(fresh), schedule).weight_rounding == 2e-4
    fresh.points["head"][1].weight_rounding = float("nan")
    assert np.isnan(covered(Run(fresh), schedule).weight_rounding)


def rounding_notes(*costs):
    runs = [Coverage(f"case {n}", dtype, 1, 1, 1, 1, 1, weight_rounding=cost)
            for n, (dtype, cost) in enumerate(costs)]  # fmt: skip
    notes = ledger_view(RunResult([row(0, "a")], ledger=ledger(runs))).notes
    return [note.text for note in notes if "rounding" in note.text]


def test_the_cost_of_rounding_weights_is_told_where_there_is_one():
    assert rounding_notes(("fp32", 0.0), ("bf16", 0.0)) == []
    told = rounding_notes(("fp32", 0.0), ("fp16", 1e-5), ("fp16", 1.2e-4), ("bf16", 0.0031))
    assert told == [
        "rounding the weights to fp16 alone moves the logits by 1.2e-4",
        "rounding the weights to bf16 alone moves the logits by 0.0031",
    ]
    for costs in ((float("nan"), 1.0), (1.0, float("nan"))):
        assert "by NaN" in rounding_notes(*(("fp16", cost) for cost in costs))[0]


def test_the_ledger_reads_back_and_a_damaged_one_is_refused():
    one = entry(overridden={"lm_head": "coarse exp"}, constant=["a"], repeated=True)
    assert coverages(ledger([one])) == [one]
    with pytest.raises(ParityError, match="ledger is damaged"):
        coverages({"runs": [asdict(one) | {"more": 1}]})


def test_the_report_shows_the_ledger():
    found = shown(
        entry(constant=["visual.merger"], no_token_figure=4, overridden={"lm_head": "coarse exp"}),
        entry(dtype="bf16", repeated=True, stages_left_out=["text"], free=8),
        tests={"selected": 5, "deselected": 3, "passed": 4, "skipped": 1}, not_shown=2,
    )  # fmt: skip
    view = ledger_view(found)
    assert view.summary == (
        "Of 18 declared firings, the reference has 18 and the candidate's free run 17; its forced "
        "run 14 of 14."
    )
    texts = [note.text for note in view.notes]
    assert texts[0] == "1 firing constant in the reference: visual.merger"
    assert "lm_head judged by an override" in texts
    assert {"3 tests deselected", "1 test skipped", "2 rows compared and not shown"} <= set(texts)
    assert [note.text for note in view.notes if note.fails] == texts[:1]
    terminal = " ".join(" ".join(summary_lines(found)).split())
    assert "Of 18 declared firings" in terminal
    assert "visual.merger" in terminal
    page = render(found)
    assert "What was compared" in page
    assert "coarse exp" in page
    assert ledger_view(RunResult([row(0, "a")])) is None


def test_the_real_port_has_nothing_to_hide():
    from parity.session import Session
    from parity.settings import Settings

    session = Session(Settings(cases=("text-only",)))
    rows = session.run(session.cases[0], "fp32")
    (found,) = session.covered
    assert found.declared == found.reference == found.free == len(rows)
    assert found.forced == found.forced_declared < found.declared
    assert (found.constant, found.shared, found.undeclared, found.left_out) == ([], [], [], [])


def pytest_run(tmp_path, *arguments):
    command = [sys.executable, "-m", "pytest", "parity/suites", "-p", "no:cacheprovider", "-q",
               "--case", "text-only", "--report", str(tmp_path / "report"), *arguments]  # fmt: skip
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("workers", [(), ("-n", "2")])
def test_a_skipped_parity_test_fails_the_run(tmp_path, workers):
    """Somebody's skip would otherwise leave a green run."""
    (tmp_path / "somebody.py").write_text(
        "import pytest\n"
        "def pytest_collection_modifyitems(items):\n"
        "    for item in items:\n"
        "        if 'lm_head' in item.nodeid:\n"
        "            item.add_marker(pytest.mark.skip(reason='flaky'))\n"
    )
    command = ("-k", "head or embed", "-p", "somebody", *workers)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(tmp_path))
        done = pytest_run(tmp_path, *command)
    assert done.returncode == 1, done.stdout
    assert "1 selected tests skipped: flaky" in done.stdout
    assert re.search(r"\d+ tests deselected", done.stdout)


def test_choosing_points_to_look_at_hides_no_failure(tmp_path):
    command = [sys.executable, "-m", "parity", "run", "--case", "text-only", "--point", "lm_head",
               "--plant", "rms-eps", "--report", str(tmp_path / "report")]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stdout
    assert "First guilty: language_model.layers.1.input_layernorm" in done.stdout
    assert "rows compared and not shown" in " ".join(done.stdout.split())
