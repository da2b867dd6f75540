"""The dtype ledger: each model is told by its errors, and no other error passes for one."""

import json
from dataclasses import replace

import numpy as np
import pytest

from parity.core.arithmetic import FLOAT16_SUMS, FUSED, HF32, SATURATING, Arithmetic
from parity.core.dtype_ledger import saturated, used
from parity.core.numerics import FORMATS
from parity.core.rows import RunResult, Verdict
from parity.core.stats import Gate, Truth, compare
from parity.core.verdict import judge
from parity.kernel_ledger import with_arithmetic
from parity.kernels import arithmetic
from parity.report.ledger import ledger_view
from parity.report.rows_csv import to_csv
from parity.report.rows_io import read_json, to_json
from parity.report.terminal import culprit
from parity.session import Session
from parity.settings import Settings
from parity.tests.report_runs import failing, row

TOLD = Arithmetic(HF32, 0.999, 1.2e-4, 1.1e-4)


def rows_of(case, dtype, **more):
    """Judged, and told in which arithmetic; what to try is left out, which takes longer."""
    session = Session(Settings(cases=(case,), dtypes=(dtype,), **more))
    evidence = session.evidence(session.cases[0], dtype)
    rows = judge(session.schedule(session.cases[0]), evidence)
    return with_arithmetic(session, rows, evidence), session


def told(rows):
    """Points by what they are said to be computed in."""
    found = {}
    for one in rows:
        if one.arithmetic is not None:
            found.setdefault(one.arithmetic.name, set()).add(one.point)
    return found


def with_role(session, *roles):
    return {point.name for point in session.points if point.role in roles}


PRODUCTS = ("linear", "head", "patch_embed")
ATTENTION = ("vision_attention", "text_attention")


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["fp32", "fp16", "bf16", "ascend-mixed"])
def test_the_faithful_port_computes_as_declared(dtype):
    rows, _ = rows_of("single-image", dtype)
    assert told(rows) == {}


RECOGNISED = [
    ("hf32-matmul", "fp32", HF32, PRODUCTS + ATTENTION),
    ("hf32-conv", "fp32", HF32, ("patch_embed",)),
    ("fp16-operands", "fp32", "float16 operands", PRODUCTS + ATTENTION),
    ("ascend-910a", "fp32", "float16 operands", PRODUCTS + ATTENTION),
    ("fp16-accumulation", "fp16", FLOAT16_SUMS, PRODUCTS),
    ("flash-attention", "fp16", FUSED, ATTENTION),
    ("ascend-910b", "bf16", FUSED, ATTENTION),
    ("flash-attention", "ascend-mixed", FUSED, ATTENTION),
]


def test_hf32_is_told_at_every_product_with_the_evidence():
    rows, session = rows_of("single-image", "fp32", numerics="hf32-matmul")
    assert told(rows) == {HF32: with_role(session, *PRODUCTS, *ATTENTION)}
    for one in rows:
        if one.arithmetic is not None:
            assert one.arithmetic.share > 0.98
            assert 2.0**-16 < one.arithmetic.error < 2.0**-11
            assert one.verdict is Verdict.GUILTY, "told, and not excused"


@pytest.mark.slow
def test_whole_blocks_are_told_too_which_is_all_that_graph_mode_shows():
    rows, _ = rows_of("single-image", "fp32", numerics="hf32-matmul", level="block")
    blocks = {
        one.point for one in rows if one.point.rpartition(".")[0].endswith(("blocks", "layers"))
    }
    assert blocks | {"visual.merger", "visual.patch_embed", "lm_head"} == told(rows)[HF32]


@pytest.mark.slow
def test_a_whole_run_says_it_and_blames_all_the_same():
    session = Session(Settings(cases=("text-only",), numerics="hf32-matmul"))
    rows = session.run(session.cases[0], "fp32")
    head = next(one for one in rows if one.point == "lm_head")
    assert head.arithmetic is not None
    assert head.arithmetic.name == HF32
    assert head.verdict is Verdict.GUILTY


@pytest.mark.slow
@pytest.mark.parametrize(("model", "dtype", "name", "roles"), RECOGNISED)
def test_every_model_is_recognised_where_it_acts_and_nowhere_else(model, dtype, name, roles):
    rows, session = rows_of("left-padded-batch", dtype, numerics=model)
    assert told(rows) == {name: with_role(session, *roles)}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "dtype"),
    [("ln-eps", "fp32"), ("rms-eps", "fp32"), ("gelu-tanh-merger", "fp32"), ("gqa-tile", "fp32"),
     ("scale-padded-head", "fp16"), ("softmax-low-precision", "bf16"), ("cast-conv", "fp32")],
)  # fmt: skip
def test_a_bug_is_no_arithmetic(fault, dtype):
    """All but the last, which is one: the patch embedding in float16."""
    rows, _ = rows_of("single-image", dtype, plant=fault)
    assert any(one.verdict is Verdict.GUILTY for one in rows)
    expected = {"float16 operands": {"visual.patch_embed"}} if fault == "cast-conv" else {}
    assert told(rows) == expected


@pytest.mark.slow
def test_sums_are_told_by_size_where_the_order_is_another(monkeypatch):
    """A device may add 64 products before it rounds: no number is predicted, the size still is."""
    monkeypatch.setattr("parity.numerics_models.accumulation.STEP", 64)
    rows, session = rows_of("single-image", "fp16", numerics="fp16-accumulation")
    assert told(rows).keys() <= {FLOAT16_SUMS}
    monkeypatch.setattr("parity.numerics_models.accumulation.STEP", 8)
    rows, session = rows_of("single-image", "fp16", numerics="fp16-accumulation")
    assert told(rows) == {FLOAT16_SUMS: with_role(session, *PRODUCTS)}
    assert min(one.arithmetic.share for one in rows if one.arithmetic) < 0.5


def test_one_coarse_product_is_no_sum_in_float16():
    """A majority of a case's products has to be so: one is a bug."""
    measured = next(one.local for one in failing().rows if one.local is not None)
    bench = type("Bench", (), {"points": Session(Settings()).points})
    rows = [replace(row(0, point.name), local=measured) for point in bench.points]
    products = [n for n, point in enumerate(bench.points) if point.role in PRODUCTS]
    sums = dict.fromkeys(products, (1.0, TOLD))
    assert arithmetic._by_majority(sums, rows, bench).keys() == set(products)
    assert arithmetic._by_majority({products[0]: (1.0, TOLD)}, rows, bench) == {}
    assert arithmetic._by_majority(dict.fromkeys(products, (0.3, TOLD)), rows, bench) == {}


def overflowing(candidate):
    """A float16 row whose reference has two infinities."""
    reference = np.array([[np.inf, 1, -np.inf, 2]], np.float32)
    found = compare(
        np.array([candidate], np.float32),
        Truth(reference, np.zeros_like(reference)),
        FORMATS["float16"],
        Gate(2.0, 2.0, 2.0, 2.0),
    )
    return replace(row(0, "a"), local=found, end_to_end=found, reference_dtype="float16",
                   verdict=Verdict.NONFINITE)  # fmt: skip


def test_saturation_is_told_by_what_is_at_the_end_in_place_of_infinities():
    clipped = overflowing([65504, 1, -65504, 2])
    assert arithmetic._saturating(clipped) == Arithmetic(SATURATING, 1.0, 2.0, 2.0)
    half = overflowing([65504, 1, -np.inf, 2])
    assert arithmetic._saturating(half).share == 0.5
    for other in ([np.inf, 1, -np.inf, 2], [7, 1, 8, 2], [np.nan, 1, np.nan, 2]):
        assert arithmetic._saturating(overflowing(other)) is None
    assert arithmetic._saturating(replace(clipped, reference_dtype="bfloat16")) is None
    (counts,) = saturated([clipped])
    assert (counts.candidate, counts.reference) == (2, 2)
    assert (counts.candidate_nonfinite, counts.reference_nonfinite) == (0, 2)
    assert saturated([replace(clipped, reference_dtype="float32")]) == []


def test_the_ledger_counts_points_and_names_the_switch():
    result = failing()
    first = replace(result.rows[0], arithmetic=TOLD)
    rows = [first, replace(first, firing=1), *result.rows[1:]]
    (found,) = used(rows)
    assert (found.firings, found.points) == (2, (first.point,))
    precision = {"hf32 matmul": "off", "hf32 convolution": "on", "precision mode": "x"}
    shown = RunResult(rows, {"precision": precision}, ledger=LEDGER)
    note = next(note for note in ledger_view(shown).notes if "HF32" in note.text)
    assert f"2 firings of 1 point were computed as HF32, first {first.point}" in note.text
    assert "hf32 matmul off, hf32 convolution on" in note.means
    assert "99.9 %" in note.means
    model = RunResult(rows, {"precision": precision, "numerics model": "hf32-conv"}, ledger=LEDGER)
    assert any("numerics model: hf32-conv" in n.means for n in ledger_view(model).notes)
    assert not any("HF32" in n.text for n in ledger_view(replace(shown, rows=result.rows)).notes)
    assert any("computed as HF32" in line for line in culprit(first))


LEDGER = {"runs": [{"case": "a", "dtype": "fp32", "declared": 1, "reference": 1, "free": 1,
                    "forced_declared": 1, "forced": 1}]}  # fmt: skip


def test_it_is_kept_in_both_tables(tmp_path):
    result = failing()
    result.rows[0] = replace(result.rows[0], arithmetic=TOLD)
    path = tmp_path / "rows.json"
    path.write_text(to_json(result))
    assert read_json(path).rows[0].arithmetic == TOLD
    assert read_json(path).rows[1].arithmetic is None
    assert json.loads(path.read_text())["rows"][0]["arithmetic"]["name"] == HF32
    header, first = to_csv(result).splitlines()[:2]
    cells = dict(zip(header.split(","), first.split(","), strict=False))
    assert "arithmetic.name" in cells
    assert ",HF32," in first


def test_a_chip_without_bfloat16_leaves_its_rows_unsupported():
    session = Session(Settings(cases=("single-image",), numerics="ascend-910a"))
    rows = session.run(session.cases[0], "bf16")
    assert len(rows) == len(session.schedule(session.cases[0]))
    assert {one.verdict for one in rows} == {Verdict.UNSUPPORTED}
    assert "910A (Atlas training) has no bfloat16" in rows[0].message
    result = RunResult(rows)
    assert not result.passed
    assert result.counts["UNSUPPORTED"] == len(rows)


def test_what_a_candidate_does_not_offer_is_not_told():
    """Without its kernels there is no workbench, and rows stay as they are."""
    session = Session(Settings(candidate="parity.tests.odd_candidates:Silent"))
    rows = failing().rows
    evidence = type("E", (), {"mode": "pynative", "precision": type("P", (), {"name": "fp32"})})
    assert with_arithmetic(session, rows, evidence) is rows
