"""A coarse kernel and a bug at the same place: only the kernel is explained, and both fail."""

import mindspore as ms
import pytest
from mindspore import ops as framework

from parity.core.points import STAGES
from parity.core.rows import Verdict
from parity.core.stats import Gate
from parity.core.tolerance import Gates, load_gates
from parity.faults import catalogue, find
from parity.faults.fault import in_layer
from parity.kernels.workbench import Workbench
from parity.session import Session
from parity.settings import Settings
from qwen2vl_ms import attention, text

MLP = "language_model.layers.0.mlp"


@pytest.fixture(scope="module", autouse=True)
def device():
    from parity.adapters.mindspore_device import set_device

    set_device("CPU")


def narrow(dtype, limit):
    """The gates of ``dtype`` with another limit of the local ratio."""
    known = load_gates(dtype)
    local = dict.fromkeys(known.roles["local"], Gate(limit, limit, limit, limit))
    return Gates({**known.roles, "local": local})


def judged(case="text-only", dtype="fp32", limit=None, stages=("preprocessing", "text"), **given):
    """Everything that is at fault in a run, by point."""
    session = Session(Settings(cases=(case,), dtypes=(dtype,), **given))
    session.gates = None if limit is None else narrow(dtype, limit)
    rows = session.run(session.cases[0], dtype, stages)
    return {row.point: row for row in rows if row.verdict not in (Verdict.PASS, Verdict.VICTIM)}


def in_mlp(activation):
    """``Qwen2MLP.construct`` of layer 0 with another activation."""

    def faulty(self, x):
        gate = self.gate_proj(x)
        return self.down_proj(activation(gate.astype(ms.float32)).astype(gate.dtype)
                              * self.up_proj(x))  # fmt: skip

    return in_layer(".layers.0.", faulty)(text.Qwen2MLP.construct)


def silu_by_tanh(x):
    return x * ((framework.tanh(x * 0.5) + 1.0) * 0.5)


def silu_by_exp(x):
    return x / (framework.exp(-x) + 1.0)


def softmax_by_exp(scores):
    wide = scores.astype(ms.float32)
    powers = framework.exp(wide - wide.max(axis=-1, keepdims=True))
    return (powers / powers.sum(axis=-1, keepdims=True)).astype(scores.dtype)


def test_a_coarse_kernel_is_named_and_fails_all_the_same(monkeypatch):
    monkeypatch.setattr(text.Qwen2MLP, "construct", in_mlp(silu_by_tanh))
    found = judged()
    assert list(found) == [MLP]
    row = found[MLP]
    assert row.verdict is Verdict.GUILTY
    assert row.kernel.startswith("tanh: ")
    assert "times the rounding of float32 on CPU; accounts for " in row.kernel
    assert row.kernel in row.message
    assert "override" in row.message
    assert int(row.kernel.split()[-5]) > 95


def test_an_override_with_a_reason_accepts_it(monkeypatch, tmp_path):
    """Of the module, and of what its error shows at end to end."""
    monkeypatch.setattr(text.Qwen2MLP, "construct", in_mlp(silu_by_tanh))
    path = tmp_path / "overrides.toml"
    path.write_text('[[override]]\npoint = "language_model.*"\nk = 500\nreason = "coarse tanh"\n')
    assert judged(overrides=path) == {}


def test_the_exponential_inside_is_named(monkeypatch):
    monkeypatch.setattr(text.Qwen2MLP, "construct", in_mlp(silu_by_exp))
    row = judged(limit=6)[MLP]
    assert row.verdict is Verdict.GUILTY
    assert row.kernel.startswith("exp: ")


def test_so_it_is_in_a_softmax(monkeypatch):
    monkeypatch.setattr(attention, "softmax", softmax_by_exp)
    found = judged(limit=3)
    named = [row.kernel for point, row in found.items() if point.endswith("self_attn")]
    assert named
    assert all(kernel.startswith("exp: ") for kernel in named)


def test_the_ports_own_activation_shows_the_exponential_inside():
    """What the largest faithful ratios of fp32 are made of."""
    assert judged(limit=6)[MLP].kernel.startswith("exp: ")


def test_blocks_are_explained_as_a_whole(monkeypatch):
    """At block level nothing inside a block is seen, and it is computed from its own input."""
    monkeypatch.setattr(text.Qwen2MLP, "construct", in_mlp(silu_by_tanh))
    row = judged(limit=12, level="block")["language_model.layers.0"]
    assert row.kernel.startswith("tanh: ")


def test_a_kernel_that_the_device_lacks_explains_nothing(monkeypatch):
    from parity.adapters import mindspore_kernels

    def absent(x):
        raise RuntimeError("Unsupported op on CPU")

    kernels = {**mindspore_kernels.KERNELS, "exp": absent, "sigmoid": absent, "silu": absent}
    monkeypatch.setattr(mindspore_kernels, "KERNELS", kernels)
    assert judged(limit=6)[MLP].kernel is None


def test_a_decoding_step_is_explained_too():
    session = Session(Settings(cases=("decoding",)), gates=narrow("fp32", 4))
    rows = session.run(session.cases[0], "fp32", ("preprocessing", "text", "decoding"))
    assert any(row.firing and row.kernel and row.kernel.startswith("exp") for row in rows)


@pytest.mark.parametrize("bug", ["gelu-tanh-merger", "ln-eps", "scale-padded-head"])
def test_a_bug_in_the_vision_tower_is_not_explained(bug):
    found = judged("single-image", stages=("preprocessing", "vision"), plant=bug)
    assert [row.verdict for row in found.values()] == [Verdict.GUILTY]
    assert [row.kernel for row in found.values()] == [None]


@pytest.mark.parametrize("bug", ["rms-eps", "attn-bias-dropped"])
def test_a_bug_in_the_decoder_is_not_explained(bug):
    found = judged(plant=bug)
    assert [row.verdict for row in found.values()] == [Verdict.GUILTY]
    assert [row.kernel for row in found.values()] == [None]


def test_what_has_no_primitives_is_not_explained():
    """Features in another order: what reaches the decoder is no arithmetic at all."""
    found = judged("two-images", plant="scatter-order")
    assert list(found) == ["language_model.inputs_embeds"]
    assert found["language_model.inputs_embeds"].kernel is None


@pytest.mark.parametrize(
    "bug",
    [
        lambda x: silu_by_tanh(x) * 1.0001,
        lambda x: silu_by_tanh(x * 1.0001),
        lambda x: framework.gelu(x, approximate="tanh"),
    ],
)
def test_a_bug_under_a_coarse_kernel_is_not_explained(monkeypatch, bug):
    monkeypatch.setattr(text.Qwen2MLP, "construct", in_mlp(bug))
    row = judged()[MLP]
    assert row.verdict is Verdict.GUILTY
    assert row.kernel is None


def test_a_kernel_that_is_not_coarse_enough_explains_nothing(monkeypatch):
    """The tanh kernel's own error, a tenth of it, does not account for the whole."""
    monkeypatch.setattr(
        text.Qwen2MLP,
        "construct",
        in_mlp(lambda x: framework.silu(x) + 10 * (silu_by_tanh(x) - framework.silu(x))),
    )
    assert judged()[MLP].kernel is None


def test_in_a_run_without_guilt_nothing_is_computed_again(monkeypatch):
    def never(*args, **options):
        raise AssertionError("a module was computed again")

    monkeypatch.setattr(Workbench, "compute", never)
    assert judged() == {}
    with pytest.raises(AssertionError, match="a module was computed again"):
        judged(plant="rms-eps")


def test_the_worst_rows_are_looked_into_as_far_as_the_time_goes(monkeypatch):
    from parity.kernels import explain

    asked = []
    original = explain.explain
    monkeypatch.setattr(
        explain, "explain", lambda row, *rest: asked.append(row.point) or original(row, *rest)
    )
    monkeypatch.setattr(explain, "LARGEST", 30_000)
    found = judged(limit=3)
    worst = max(found.values(), key=lambda row: row.local.worst[1].used)
    assert asked[0] == worst.point
    assert len(set(asked)) < len(found)
    unasked = [row.kernel for row in found.values() if row.point not in asked]
    assert set(unasked) == {None}


@pytest.mark.slow
@pytest.mark.parametrize("name", catalogue())
def test_no_planted_fault_is_explained(name):
    """Not even where it looks like one: products or softmax in lower precision."""
    cases = find(name).cases
    found = judged("text-only" if "text-only" in cases else cases[0], stages=STAGES, plant=name)
    assert [row.kernel for row in found.values() if row.kernel] == []
