"""The port in every precision and in graph mode: what is right passes, what is wrong is found.

Gates are the committed ones; `make parity` runs every case, here the small ones are enough.
"""

import mindspore as ms
import ml_dtypes
import numpy as np
import pytest

from parity.core.numerics import PRECISIONS
from parity.core.rows import GRAPH, Kind, Verdict
from parity.session import Session
from parity.settings import Settings

LOW = [name for name in PRECISIONS if name != "fp32"]


def rows_of(dtype, case="text-only", **options):
    session = Session(Settings(cases=(case,), **options))
    return session.run(session.cases[0], dtype)


def blamed(rows):
    harmless = (Verdict.PASS, Verdict.VICTIM)
    return {row.point: row.verdict for row in rows if row.verdict not in harmless}


@pytest.mark.parametrize("dtype", LOW)
def test_the_port_passes(dtype):
    rows = rows_of(dtype, "single-image")
    assert blamed(rows) == {}
    assert all(row.verdict is Verdict.PASS for row in rows)
    assert {row.dtype for row in rows} == {dtype}
    floats = [row for row in rows if row.kind is Kind.FLOAT]
    assert {row.candidate_dtype for row in floats} == {PRECISIONS[dtype].torch}
    assert {row.reference_dtype for row in floats} == {PRECISIONS[dtype].torch}
    # In float32 or with other roundings it would not be this near.
    assert max(row.local.whole.ratio for row in floats) < 2


@pytest.mark.parametrize(
    ("dtype", "fault", "point"),
    [
        ("bf16", "gqa-tile", "language_model.layers.1.self_attn"),
        ("fp16", "attn-bias-dropped", "language_model.layers.2.self_attn.k_proj"),
        ("ascend-mixed", "head-vocabulary-shift", "lm_head"),
    ],
)
def test_a_planted_fault_is_charged_to_its_own_point(dtype, fault, point):
    assert blamed(rows_of(dtype, plant=fault)) == {point: Verdict.GUILTY}


@pytest.mark.parametrize(
    ("dtype", "fault", "point"),
    [("bf16", "quick-gelu-as-gelu", "visual.blocks.2.mlp"),
     ("fp16", "scale-padded-head", "visual.blocks.1.attn")],
)  # fmt: skip
def test_a_planted_fault_of_the_vision_tower_is_found(dtype, fault, point):
    session = Session(Settings(cases=("single-image",), plant=fault))
    rows = session.run(session.cases[0], dtype, ("preprocessing", "vision"))
    seen = {row.point: row.verdict for row in rows if row.verdict is not Verdict.PASS}
    assert {p for p, verdict in seen.items() if verdict is not Verdict.VICTIM} == {point}


def test_a_table_that_is_not_cast_is_told_by_its_dtype(monkeypatch):
    from qwen2vl_ms import rope

    original = rope.Qwen2VLRotaryEmbedding.construct

    def wide(self, position_ids):
        return tuple(table.astype(ms.float32) for table in original(self, position_ids))

    monkeypatch.setattr(rope.Qwen2VLRotaryEmbedding, "construct", wide)
    found = blamed(rows_of("bf16"))
    assert found["language_model.rotary_emb.cos"] is Verdict.DTYPE
    assert found["language_model.rotary_emb.sin"] is Verdict.DTYPE


def test_a_norm_that_adds_up_in_bf16_is_found(monkeypatch):
    """The reference's norms compute in float32; a sum in bfloat16 stops growing before its end."""
    from qwen2vl_ms import ops

    def coarse(x, weight, eps):
        rows = x.astype(ms.float32).asnumpy().reshape(-1, x.shape[-1])
        total = np.zeros(len(rows), ml_dtypes.bfloat16)
        for column in (rows * rows).T:
            total += column.astype(ml_dtypes.bfloat16)
        scale = 1 / np.sqrt(total.astype(np.float32) / rows.shape[1] + eps)
        normed = ops.rounded(ms.Tensor(rows * scale[:, None]), x.dtype)
        return ops.cast(normed * weight, x.dtype).reshape(x.shape)

    monkeypatch.setattr(ops, "rms_norm", coarse)
    found = blamed(rows_of("bf16"))
    assert found["language_model.norm"] is Verdict.GUILTY
    assert all(point.endswith("norm") for point in found)


def test_a_fault_in_graph_mode_is_charged_to_its_block(monkeypatch):
    from qwen2vl_ms import ops

    def larger(x, kernel=None):
        return x * 1.01

    monkeypatch.setattr(ops, "silu", larger)
    found = blamed(rows_of("fp32", modes=(GRAPH,)))
    assert set(found) == {f"language_model.layers.{n}" for n in range(3)}
