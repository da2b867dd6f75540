"""Every verdict on a toy model: what leads to it, and that it is withheld where it should be.

Who is charged with what lies between points is in ``test_attribution.py``.
"""

from dataclasses import replace

import numpy as np
import pytest

from parity.core.gates_file import SCOPES
from parity.core.points import Firing
from parity.core.rows import Kind, Verdict
from parity.core.stats import Gate
from parity.core.tolerance import Gates
from parity.core.trace import Tap
from parity.tests.toy_model import (
    ATTN,
    BLOCKS,
    FLOATS,
    GATE,
    GRID,
    KEYS,
    MODEL,
    PADDING,
    PIXELS,
    QKV,
    SCHEDULE,
    Run,
    faithful,
    module,
    spoil,
    spoil_from,
    value,
    write,
)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return write(tmp_path_factory.mktemp("toy") / "bundle")


@pytest.fixture
def run(bundle):
    return Run(bundle)


def test_a_good_port_passes_everywhere(run):
    rows = run.judge()
    assert list(rows) == KEYS
    assert [row.order for row in rows.values()] == list(range(len(KEYS)))
    assert {row.verdict for row in rows.values()} == {Verdict.PASS}
    assert {row.message for row in rows.values()} == {""}


def test_a_row_says_what_was_compared(run):
    rows = run.judge()
    block, step = rows[("blocks.0", 0)], rows[("blocks.0", 1)]
    assert (block.case, block.dtype, block.stage, step.stage) == ("toy", "fp32", "text", "decoding")
    assert (block.shape, block.candidate_shape) == ((2, 8, 16), (2, 8, 16))
    assert (block.reference_dtype, block.candidate_dtype) == ("float32", "float32")
    assert (block.excluded_rows, step.excluded_rows) == (3, 0)
    assert block.local.update is not None
    assert block.end_to_end.update is not None
    assert rows[("embed", 0)].local.update is None
    assert rows[("ids", 0)].mismatches == rows[(PIXELS, 0)].mismatches == 0
    assert rows[(PIXELS, 0)].local is rows[(PIXELS, 0)].end_to_end is None


def test_no_row_is_lost_or_made_up(run):
    assert list(run.judge(BLOCKS)) == [(f.point.name, f.index) for f in BLOCKS]
    assert run.judge([]) == {}


def test_a_leaf_that_is_wrong_on_clean_inputs_is_guilty(run):
    spoil(run.forced, QKV)
    rows = run.judge()
    assert rows.blamed == {(QKV, 0): Verdict.GUILTY}
    assert rows.causes == {}
    row = rows[(QKV, 0)]
    assert "largest difference is" in row.message
    assert not row.local.ok
    assert row.end_to_end.ok


def test_a_wrong_integer_between_modules_is_guilty_and_counted(run):
    spoil(run.forced, "ids")
    rows = run.judge()
    assert rows.blamed == {("ids", 0): Verdict.GUILTY}
    assert rows[("ids", 0)].mismatches == 12


@pytest.mark.parametrize("trace", ["free", "forced"])
def test_a_point_that_does_not_occur_is_missing(run, trace):
    getattr(run, trace).taps.pop(ATTN)
    rows = run.judge()
    assert rows.blamed[(ATTN, 0)] is Verdict.MISSING
    assert rows[(ATTN, 0)].message == "it occurred 0 times, the reference's 2 times"


def test_a_point_that_occurs_too_seldom_is_missing_where_it_ends(run):
    for trace in (run.free, run.forced):
        trace.taps[ATTN].pop()
    rows = run.judge()
    assert rows.blamed == {(ATTN, 1): Verdict.MISSING}
    assert rows[(ATTN, 1)].message == "it occurred 1 times, the reference's 2 times"


def test_what_the_reference_did_not_produce_is_missing(run):
    rows = run.judge([*SCHEDULE, Firing(module("unheard-of"), 0), Firing(module("head"), 2)])
    missing = [("unheard-of", 0), ("head", 2)]
    assert rows.blamed == dict.fromkeys(missing, Verdict.MISSING)
    assert {rows[key].message for key in missing} == {"the reference did not produce it"}


@pytest.mark.parametrize("times", [1, 3])
def test_a_point_that_occurs_too_often_is_extra(run, times):
    run.forced.taps[ATTN] += run.forced.taps[ATTN][:1] * times
    rows = run.judge()
    assert rows.blamed == {(ATTN, 1): Verdict.EXTRA}
    often = f"it occurred {2 + times} times, the reference's 2 times"
    assert rows[(ATTN, 1)].message == often


def test_another_shape(run):
    spoil(run.forced, ATTN, change=lambda x: x.swapaxes(1, 2))
    spoil(run.free, ATTN, change=lambda x: x.swapaxes(1, 2))
    rows = run.judge()
    row = rows[(ATTN, 0)]
    assert rows.blamed == {(ATTN, 0): Verdict.SHAPE}
    assert (row.shape, row.candidate_shape) == ((2, 8, 16), (2, 16, 8))
    assert row.message == "shape [2, 16, 8], the reference's is [2, 8, 16]"


def test_another_shape_end_to_end_only_is_no_drift(run):
    spoil_from(run.free, ATTN)
    spoil(run.free, ATTN, change=lambda x: x[:1])
    rows = run.judge()
    assert rows.blamed == {(ATTN, 0): Verdict.SHAPE}
    assert set(rows.causes) == {ATTN}


@pytest.mark.parametrize("trace", ["free", "forced"])
def test_another_dtype(run, trace):
    for dtype, blamed in (("float16", {(ATTN, 0): Verdict.DTYPE}), ("float32", {})):
        getattr(run, trace).taps[ATTN][0] = Tap(value(run.bundle, ATTN).copy(), dtype)
        assert run.judge().blamed == blamed


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("trace", ["free", "forced"])
def test_what_is_not_finite(run, trace, bad):
    spoil(getattr(run, trace), ATTN, change=lambda x: np.where(np.arange(16) == 7, bad, x))
    assert run.judge().blamed == {(ATTN, 0): Verdict.NONFINITE}


def test_nothing_but_padding_is_empty(run):
    run.options["padding"] = np.zeros((2, 8), bool)
    empty = {(p.name, 0) for p in MODEL if p.kind is not Kind.DISCRETE}
    assert run.judge().blamed == dict.fromkeys(empty, Verdict.EMPTY)


def garbage(mask):
    """A change that writes NaN to the tokens of ``mask``."""
    return lambda x: np.where(mask[..., None], np.float32(np.nan), x)


def test_padding_is_not_compared(run):
    for name, index in FLOATS:
        if index == 0:
            spoil(run.forced, name, change=garbage(~PADDING))
            spoil(run.free, name, change=garbage(~PADDING))
            run.arrive(name, change=garbage(~PADDING))
    assert run.judge().blamed == {}
    run.options["padding"] = None
    assert set(run.judge().blamed.values()) == {Verdict.NONFINITE}


@pytest.mark.parametrize("token", [(0, 3), (0, 7), (1, 0)])
def test_every_real_token_is_compared(run, token):
    mask = np.zeros_like(PADDING)
    mask[token] = True
    spoil(run.forced, ATTN, change=garbage(mask))
    assert run.judge().blamed == {(ATTN, 0): Verdict.NONFINITE}


def test_no_token_of_a_decoding_step_is_padding(run):
    spoil(run.forced, ATTN, 1, garbage(np.array([[True], [False]])))
    assert run.judge().blamed == {(ATTN, 1): Verdict.NONFINITE}


def test_a_decoding_step_is_judged_on_its_own(run):
    spoil(run.forced, ATTN, 1)
    spoil_from(run.free, (ATTN, 1))
    rows = run.judge()
    assert rows.blamed == {(ATTN, 1): Verdict.GUILTY}
    assert rows[(ATTN, 0)].verdict is Verdict.PASS
    assert rows[(ATTN, 1)].stage == "decoding"
    assert {index for _, index in rows.victims} == {1}


def test_an_update_that_a_large_residual_hides_is_found(run):
    """The block's value is right to 1 in 1e6, and what it added is not."""
    before, after = value(run.bundle, "embed"), value(run.bundle, "blocks.0")
    for trace in (run.free, run.forced):
        spoil(trace, "blocks.0", change=lambda x: x + np.float32(3e-6) * (after - before))
    row = run.judge()[("blocks.0", 0)]
    assert row.verdict is Verdict.GUILTY
    assert row.local.update.ratio > row.local.update.gate


def test_an_update_is_counted_from_what_the_candidate_itself_had(run):
    """A block that copies its wrong input to its output has added nothing wrong."""
    error = np.float32(1e-2)
    for name in ("embed", "blocks.0"):
        spoil(run.free, name, change=lambda x: x + error)
    assert run.judge()[("blocks.0", 0)].end_to_end.update.ratio < 5
    run.free = faithful(run.bundle)
    spoil(run.free, "blocks.0", change=lambda x: x + error)
    assert run.judge()[("blocks.0", 0)].end_to_end.update.ratio > 1000


def test_an_update_is_judged_against_the_truths_own(tmp_path):
    """A candidate that is the truth itself has made no error, however far off the reference is."""
    run = Run(write(tmp_path / "bundle", end_to_end=1e-4))
    for name in ("embed", "blocks.0"):
        residual = run.bundle.tensor(run.bundle.get(name, 0).end_to_end)
        spoil(run.free, name, change=lambda x, residual=residual: x + residual)
    assert run.judge()[("blocks.0", 0)].end_to_end.update.ratio < 0.01


@pytest.fixture(scope="module")
def coarse(tmp_path_factory):
    """A reference whose blocks, run in one piece, are far from its modules run one by one."""
    folder = tmp_path_factory.mktemp("coarse") / "bundle"
    return write(folder, local_block=1e-3, arrival=1e-3)


def test_block_level_has_a_truth_of_its_own(coarse):
    """An error the size of the reference's own, which is larger where whole blocks are run."""
    for level, blamed in (("block", {}), ("module", {("blocks.0", 0): Verdict.GUILTY})):
        run = Run(coarse, level=level)
        spoil(run.forced, "blocks.0", change=lambda x: x * np.float32(1 + 1e-3))
        assert run.judge(BLOCKS).blamed == blamed


def test_at_block_level_what_arrives_is_exact(coarse):
    """Nothing inside a block is replaced then, so that no rounding lies between two of them."""
    for level, blamed in (("block", {("blocks.1", 0): Verdict.GUILTY}), ("module", {})):
        run = Run(coarse, level=level)
        run.arrive("blocks.1")
        assert run.judge(BLOCKS).blamed == {}
        run.arrive("blocks.1", change=lambda x: x * np.float32(1 + 1e-3))
        assert run.judge(BLOCKS).blamed == blamed


def test_the_floor_end_to_end_is_the_references_own_error_there(run, tmp_path):
    for bundle, blamed in ((run.bundle, {("head", 0): Verdict.DRIFT}),
                           (write(tmp_path / "bundle", end_to_end=1e-4), {})):  # fmt: skip
        drifted = Run(bundle)
        spoil(drifted.free, "head", change=lambda x: x * np.float32(1 + 1e-4))
        assert drifted.judge().blamed == blamed


TIGHT = Gate(1e-9, 1e-9, 1e-9, 1e-9)
TABLES = {("rotary.cos", 0), ("rotary.cos", 1)}


@pytest.mark.parametrize("scope", ["local", "end_to_end"])
def test_each_scope_has_its_own_gate(run, scope):
    run.options["gates"] = Gates({s: {"other": TIGHT if s == scope else GATE} for s in SCOPES})
    expected = {"local": {*FLOATS, *TABLES}, "end_to_end": {("rotary.cos", 0)}}[scope]
    verdict = Verdict.DRIFT if scope == "end_to_end" else Verdict.GUILTY
    assert run.judge().blamed == dict.fromkeys(expected, verdict)


def test_each_role_has_its_own_gate(run):
    roles = {scope: {"other": GATE, "head": TIGHT} for scope in SCOPES}
    run.options["gates"] = Gates(roles)
    schedule = [replace(f, point=replace(f.point, role="head")) if f.point.name == "head" else f
                for f in SCHEDULE]  # fmt: skip
    assert run.judge(schedule).blamed == {("head", i): Verdict.GUILTY for i in (0, 1)}
    assert run.judge().blamed == {}


def test_what_a_processor_point_is_made_of_explains_it(run):
    spoil(run.free, GRID)
    assert run.judge().blamed == {(GRID, 0): Verdict.GUILTY}
    spoil(run.free, PIXELS)
    rows = run.judge()
    row = rows[(PIXELS, 0)]
    assert rows.blamed == {(GRID, 0): Verdict.GUILTY}
    assert (row.verdict, row.cause, row.mismatches) == (Verdict.VICTIM, GRID, 96)
    assert row.message.startswith(f"explained by {GRID}. 96 of 96 values differ")


def test_a_processor_point_is_not_explained_by_what_it_is_not_made_of(run):
    spoil(run.free, PIXELS)
    assert run.judge().blamed == {(PIXELS, 0): Verdict.GUILTY}
    independent = [Firing(replace(f.point, depends=()), f.index) for f in SCHEDULE]
    spoil(run.free, GRID)
    assert set(run.judge(independent).blamed) == {(GRID, 0), (PIXELS, 0)}
