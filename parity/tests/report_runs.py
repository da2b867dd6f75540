"""Runs made by hand, for the tests of the report."""

from __future__ import annotations

import dataclasses
import math

from parity.core.modes import side_by_side
from parity.core.nonfinite import NonFinite
from parity.core.rows import GRAPH, PYNATIVE, Comparison, Kind, Row, RunResult, Slice, Verdict
from parity.core.standards import Standards

GATES = {"fp32": 8.0, "fp16": 6.0, "bf16": 6.0}
CASES = (
    "single-image", "two-images", "left-padded-batch", "odd-video", "text-only", "photograph",
    "long-text", "decoding",
)  # fmt: skip
GUILTY_POINT = "visual.blocks.1.attn"


def points(blocks: int = 4, layers: int = 4) -> list[tuple[str, str, Kind]]:
    """Points of a small Qwen2-VL in execution order, with stage and kind."""
    found = [
        ("input_ids", "preprocessing", Kind.DISCRETE),
        ("image_grid_thw", "preprocessing", Kind.DISCRETE),
        ("pixel_values", "preprocessing", Kind.EXACT),
        ("visual.patch_embed", "vision", Kind.FLOAT),
        ("visual.rotary_pos_emb", "vision", Kind.TABLE),
    ]
    for n in range(blocks):
        for part in ("norm1", "attn", "norm2", "mlp", ""):
            found.append((f"visual.blocks.{n}.{part}".rstrip("."), "vision", Kind.FLOAT))
    found += [
        ("visual.merger.ln_q", "vision", Kind.FLOAT),
        ("visual.merger", "vision", Kind.FLOAT),
        ("position_ids", "positions", Kind.DISCRETE),
        ("inputs_embeds", "text", Kind.EXACT),
        ("language_model.rotary_emb", "text", Kind.TABLE),
    ]
    inside = (
        "input_layernorm", "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj",
        "self_attn.o_proj", "self_attn", "post_attention_layernorm", "mlp", "",
    )  # fmt: skip
    for n in range(layers):
        for part in inside:
            found.append((f"language_model.layers.{n}.{part}".rstrip("."), "text", Kind.FLOAT))
    found += [("language_model.norm", "text", Kind.FLOAT), ("lm_head", "text", Kind.FLOAT)]
    return found + [(f"step.{n}.logits", "decoding", Kind.FLOAT) for n in range(1, 6)]


STANDARDS = Standards(
    open_operator=True, dual_max=1.2, dual_mean=1.1, dual_rms=1.05, dual_l1=True, dual_l2=True
)


def explained(**figures: object) -> dict[str, object]:
    """The figures of a comparison on which no verdict depends; ``figures`` replaces some."""
    usual: dict[str, object] = {
        "compared": 81920, "mean_relative": 4.1e-8, "max_relative": 2.2e-3, "mean_ulp": 0.41,
        "max_ulp": 212.0, "cosine": 0.9999999, "rtol": 3.5e-7, "saturated": 0,
        "reference_saturated": 0, "standards": STANDARDS,
    }  # fmt: skip
    return usual | figures


def comparison(ratio: float, gate: float = 8.0, update: bool = False) -> Comparison:
    """A comparison whose worst slice is token 17 with this ratio."""
    floor = 6.1e-8

    def part(share: float, index: int | None) -> Slice:
        return Slice(ratio * share, ratio * share * floor, floor, gate, index)

    return Comparison(
        whole=part(0.4, None),
        row=part(1.0, 17),
        column=part(0.7, 201),
        update=part(0.5, None) if update else None,
        max_abs=abs(ratio) * 3.1e-7,
        max_index=(0, 17, 201),
        reference_value=0.73125401,
        candidate_value=0.73125401 + ratio * 3.1e-7,
        nonfinite=0,
        **explained(),  # type: ignore[arg-type]
    )


def row(order: int, point: str, verdict: Verdict = Verdict.PASS, **changes: object) -> Row:
    """A row with figures that fit its verdict; ``changes`` replaces fields."""
    kind = changes.get("kind", Kind.FLOAT)
    dtype = str(changes.get("dtype", "fp32"))
    gate = GATES.get(dtype, 8.0)
    wave = 1.1 + 0.5 * math.sin(order * 1.7) + 0.004 * order
    local = {Verdict.GUILTY: 5210.0 + wave}.get(verdict, wave)
    ends = {Verdict.GUILTY: 1480.0, Verdict.VICTIM: 390.0 + 9 * wave, Verdict.DRIFT: 1.9 * gate}
    base = Row(
        case="single-image", dtype="fp32", mode=PYNATIVE, order=order, point=point, stage="vision",
        kind=Kind.FLOAT, firing=0, verdict=verdict, message=_message(verdict),
        cause=GUILTY_POINT if verdict is Verdict.VICTIM else None, shape=(1, 256, 320),
        candidate_shape=(1, 256, 320), reference_dtype=dtype, candidate_dtype=dtype,
    )  # fmt: skip
    if kind in (Kind.FLOAT, Kind.TABLE):
        block = point.split(".")[-1].isdigit()
        base = dataclasses.replace(
            base,
            local=comparison(local, gate, block),
            end_to_end=comparison(ends.get(verdict, wave + 0.01 * order), gate, block),
        )
    else:
        base = dataclasses.replace(base, mismatches=0)
    return dataclasses.replace(base, **changes)  # type: ignore[arg-type]


def _message(verdict: Verdict) -> str:
    """What the harness might say."""
    known = {
        Verdict.PASS: "Within the gate: worst token 17, 0.19 of it used.",
        Verdict.GUILTY: "On clean inputs token 17 is off by 3.2e-4 of its length, 5,211 times "
        "what the reference itself is off by; the gate is 8.",
        Verdict.VICTIM: "Right on clean inputs; end to end token 17 is off by 2.4e-5.",
        Verdict.DRIFT: "Right on clean inputs; end to end 15.2 times the floor, the gate is 8.",
    }
    return known.get(verdict, f"{verdict.value.lower()}: declared (1, 256, 320), got (1, 255, 320)")


def case_rows(case: str, dtype: str, guilty: str | None = None, drift: bool = False) -> list[Row]:
    """Rows of one case, all passing, or with what follows ``guilty`` its victims."""
    rows: list[Row] = []
    spoilt = False
    for order, (point, stage, kind) in enumerate(points()):
        verdict = Verdict.PASS
        if point == guilty:
            verdict, spoilt = Verdict.GUILTY, True
        elif spoilt and kind is Kind.FLOAT:
            verdict = Verdict.VICTIM
        elif drift and order > 60 and kind is Kind.FLOAT:
            verdict = Verdict.DRIFT
        firing = int(point.split(".")[1]) if stage == "decoding" else 0
        padded = 3 if case == "left-padded-batch" else 0
        rows.append(
            row(order, point, verdict, case=case, dtype=dtype, stage=stage, kind=kind,
                firing=firing, excluded_rows=padded)
        )  # fmt: skip
    return rows


PROVENANCE: dict[str, object] = {
    "command": "python -m parity run --all",
    "commit": "3f1c9e2 (clean)",
    "started": "2026-01-17T03:12:44Z",
    "seconds": 148.2,
    "reference": {"framework": "torch 2.13.0", "transformers": "5.23.0", "attention": "eager"},
    "candidate": {"framework": "mindspore 2.10.0", "device": "Ascend 910B"},
    "bundle": "sha256:8d0f5ad0c1be66",
    "seeds": [0, 1, 2],
    "threads": 2,
    "checkpoint": "fixtures/qwen2vl-tiny",
}


def passing() -> RunResult:
    """Every case in three dtypes, nothing wrong."""
    rows = [one for case in CASES for dtype in GATES for one in case_rows(case, dtype)]
    return RunResult(rows, dict(PROVENANCE))


def failing() -> RunResult:
    """One guilty point that three cases show, drift in another, and a few other verdicts."""
    rows: list[Row] = []
    for case in CASES:
        for dtype in GATES:
            broken = case in ("two-images", "photograph", "odd-video")
            rows += case_rows(
                case,
                dtype,
                GUILTY_POINT if broken else None,
                (case, dtype) == ("long-text", "fp16"),
            )
    rows[-1] = dataclasses.replace(
        rows[-1], verdict=Verdict.MISSING, local=None, end_to_end=None, candidate_shape=None,
        message="Declared to fire 5 times and fired 4 times.",
    )  # fmt: skip
    return RunResult(rows, dict(PROVENANCE), ["odd-video in bf16, decoding: no cache on device"])


def odd_numbers() -> RunResult:
    """NaN, infinite, zero and negative-zero figures, a zero gate, and discrete mismatches."""
    whole = Slice(math.nan, math.nan, 0.0, 8.0)
    unusable = Standards(None, math.nan, math.inf, 0.0, False, False)
    more = explained(
        compared=0, max_ulp=math.inf, cosine=math.nan, standards=unusable, saturated=7,
        reference_saturated=2,
        candidate_nonfinite=NonFinite(3, 4, 5, (0,)), reference_nonfinite=NonFinite(0, 0, 1, (9,)),
    )  # fmt: skip
    broken = Comparison(whole, None, None, None, math.inf, (0,), -0.0, -math.inf, 12, **more)
    exact = Comparison(
        Slice(0.0, 0.0, 0.0, 0.0), None, None, None, 0.0, (), 1.0, 1.0, 0, **explained()
    )
    return RunResult([
        row(0, "input_ids", Verdict.GUILTY, kind=Kind.DISCRETE, mismatches=3, shape=(1, 96)),
        row(1, "a", Verdict.NONFINITE, local=broken, end_to_end=broken),
        row(2, "b", local=exact, end_to_end=comparison(math.inf)),
        row(3, "c", Verdict.GUILTY, local=comparison(math.inf), end_to_end=None),
        row(4, "d", Verdict.SHAPE, local=None, end_to_end=None, candidate_shape=(1, 255, 320)),
        row(5, "e", Verdict.EXTRA, local=None, end_to_end=None, firing=2),
    ])  # fmt: skip


def big(count: int = 3000) -> RunResult:
    """As many rows as a large run has, a third of them victims."""
    layers = points(12, 8)
    rows: list[Row] = []
    case = 0
    while len(rows) < count:
        name, dtype = CASES[case % len(CASES)], tuple(GATES)[case // len(CASES) % len(GATES)]
        for order, (point, stage, kind) in enumerate(layers):
            verdict = Verdict.GUILTY if point == "visual.blocks.6.attn" else Verdict.PASS
            if case % 2 and kind is Kind.FLOAT and order > 40:
                verdict = Verdict.VICTIM
            rows.append(
                row(order, point, verdict if case % 2 else Verdict.PASS, case=name, stage=stage,
                    dtype=f"{dtype}{case // 24 or ''}", kind=kind)
            )  # fmt: skip
        case += 1
    return RunResult(rows[:count], dict(PROVENANCE))


def both_modes() -> RunResult:
    """Two points in both modes, one of them wrong where it is compiled."""
    rows = []
    for mode in (PYNATIVE, GRAPH):
        for order, point in enumerate(("visual.blocks.0", "visual.blocks.1")):
            wrong = mode == GRAPH and order == 1
            rows.append(
                row(order, point, Verdict.GUILTY if wrong else Verdict.PASS, mode=mode,
                    local_bits=f"{mode if wrong else order}", end_bits=mode, block_gate=8.0,
                    block_ratio=5210.0 if wrong else 1.25)
            )  # fmt: skip
    return RunResult(side_by_side(rows), dict(PROVENANCE))


EVIL_CASE = "</script><img src=x onerror=alert(1)>"


def hostile() -> RunResult:
    """Names that would run a script, were they not escaped, beside plain ones."""
    rows = case_rows("plain", "fp32", GUILTY_POINT)
    for order in range(8):
        rows.append(
            row(order, f'"><script>throw {order}</script>', Verdict.GUILTY, case=EVIL_CASE,
                message="<svg onload='alert(1)'>", stage="' onclick='alert(1)")
        )  # fmt: skip
    return RunResult(rows, {EVIL_CASE: EVIL_CASE}, [EVIL_CASE])
