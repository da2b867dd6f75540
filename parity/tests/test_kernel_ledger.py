"""The operator ledger on a real bundle and this device."""

import json
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from parity import kernel_ledger
from parity.core.errors import ParityError
from parity.core.rows import RunResult
from parity.kernels import ledger as ledger_module
from parity.kernels.primitives import TRUTHS
from parity.kernels.samples import LIMIT
from parity.kernels.table import lines
from parity.report.rows_io import result_from_dict, to_json
from parity.session import Session
from parity.settings import Settings
from parity.tests.test_cli import parity
from parity.workers.worker import measured_kernels

FIELDS = {"primitive", "dtype", "result", "device", "role", "case", "point", "elements",
          "mean_ulp", "max_ulp", "ratio"}  # fmt: skip


@cache
def session(case="single-image"):
    return Session(Settings(cases=(case,), dtypes=("fp32", "fp16", "ascend-mixed")))


@cache
def ledger():
    return kernel_ledger.ledger_of(session())


def rows(**wanted):
    return [row for row in ledger() if all(row[key] == value for key, value in wanted.items())]


def one(primitive, dtype, role):
    (found,) = rows(primitive=primitive, dtype=dtype, role=role)
    return found


def test_every_primitive_is_measured_in_every_dtype():
    assert {frozenset(row) for row in ledger()} == {frozenset(FIELDS)}
    for dtype in ("fp32", "fp16", "ascend-mixed"):
        wanted = set(TRUTHS) - ({"cast"} if dtype == "fp32" else set())
        assert {row["primitive"] for row in rows(dtype=dtype)} == wanted
    keys = [(row["primitive"], row["dtype"], row["point"]) for row in ledger()]
    assert len(set(keys)) == len(keys)


def test_every_kind_of_module_with_a_primitive_is_in_it():
    roles = {row["role"] for row in rows(dtype="fp32")}
    assert roles == {point.role for point in session().declared} - {
        "other", "embedding", "vision_block", "text_block"
    }  # fmt: skip


def test_what_is_measured_is_bounded_and_not_nothing():
    # Two products in attention are added up, of every segment of the vision tower.
    assert all(30 < row["elements"] <= 2 * LIMIT for row in ledger())


def test_known_kernels_of_this_device_are_where_they_were_measured():
    """On MindSpore's CPU backend its exponential is coarse; erf, sine and cosine are not."""
    for role in ("text_mlp", "vision_mlp", "text_attention", "vision_attention"):
        assert one("exp", "fp32", role)["ratio"] > 10
    assert one("silu", "fp32", "text_mlp")["ratio"] > 4
    assert one("erf", "fp32", "merger")["ratio"] < 1
    for row in rows(primitive="sin") + rows(primitive="cos"):
        assert row["device"] == "host"
        assert row["max_ulp"] <= 0.5001


def test_half_precision_is_rounded_once_where_the_port_rounds():
    for row in rows(dtype="fp16", result="float16"):
        assert row["ratio"] < 1
    assert one("silu", "fp16", "text_mlp")["result"] == "float16"
    assert one("softmax", "ascend-mixed", "text_attention")["result"] == "float16"
    assert one("matmul", "ascend-mixed", "text_attention")["result"] == "float16"
    assert one("silu", "ascend-mixed", "text_mlp")["result"] == "bfloat16"
    assert one("rsqrt", "fp16", "rms_norm")["result"] == "float32"


def test_padding_is_a_number_in_every_dtype():
    """Rows that may look nowhere are masked by a number that float16 does not have."""
    padded = Session(Settings(cases=("left-padded-batch",), dtypes=("ascend-mixed",)))
    found = kernel_ledger.ledger_of(padded)
    assert {row["primitive"] for row in found} >= {"softmax", "exp"}
    assert all(row["ratio"] < 100 for row in found)


def test_a_fault_in_the_port_is_no_kernel(monkeypatch):
    """The device's own operators are measured, whatever the port makes of them."""
    from qwen2vl_ms import attention, ops

    before = ledger()
    for name in ("linear", "gelu", "quick_gelu", "silu", "layer_norm", "rms_norm", "cast"):
        monkeypatch.setattr(ops, name, lambda *args: args[0] * 2)
    monkeypatch.setattr(ops, "_erf", lambda x: x)
    monkeypatch.setattr(ops, "_sigmoid", lambda x: x)
    monkeypatch.setattr(attention, "softmax", lambda x: x)
    again = kernel_ledger.ledger_of(
        Session(replace(session().settings, dtypes=("fp32",)))
    )  # fmt: skip
    assert again == [row for row in before if row["dtype"] == "fp32"]


def test_what_is_too_large_is_left_out(monkeypatch):
    monkeypatch.setattr(ledger_module, "LARGEST", 2000)
    found = kernel_ledger.ledger_of(Session(replace(session().settings, dtypes=("fp32",))))
    assert {row["role"] for row in found} == {"rotary"}


def test_a_wrong_kernel_is_seen(monkeypatch):
    from parity.adapters import mindspore_kernels

    kernels = dict(mindspore_kernels.KERNELS)
    monkeypatch.setattr(mindspore_kernels, "KERNELS", kernels)
    kernels["erf"] = lambda x: x.tanh()
    found = kernel_ledger.ledger_of(Session(replace(session().settings, dtypes=("fp32",))))
    assert [row["primitive"] for row in found if row["ratio"] > 1e5] == ["erf"]


def test_a_kernel_that_the_device_lacks_is_said(monkeypatch):
    from parity.adapters import mindspore_kernels

    def absent(x):
        raise RuntimeError("Unsupported op [Erf] on CPU")

    kernels = {**mindspore_kernels.KERNELS, "erf": absent}
    monkeypatch.setattr(mindspore_kernels, "KERNELS", kernels)
    found = kernel_ledger.ledger_of(Session(replace(session().settings, dtypes=("fp32",))))
    (row,) = [row for row in found if row["primitive"] == "erf"]
    assert row["device"] == "CPU: not supported"
    assert row["elements"] == 0
    assert row["ratio"] != row["ratio"]
    assert lines(found)[1].split()[0] == "erf"
    assert {r["primitive"] for r in found} >= {"exp", "matmul", "softmax"}


def test_it_goes_into_the_files_of_a_report_and_comes_back():
    result = RunResult([], kernels=ledger())
    assert result_from_dict(json.loads(to_json(result))).kernels == ledger()


def test_the_table_has_the_coarsest_kernel_of_a_dtype_first():
    text = lines(ledger())
    assert len(text) == len(ledger()) + 1
    assert max(map(len, text)) <= 100
    assert text[0].split()[0] == "primitive"
    assert text[1].split()[:2] == ["exp", "fp32"]
    ratios = [float(line.split()[-1]) for line in text[1:] if line.split()[1] == "fp32"]
    assert ratios == sorted(ratios, reverse=True)


def test_a_candidate_that_offers_no_kernels_has_no_ledger(monkeypatch):
    class Silent:
        pass

    monkeypatch.setattr(kernel_ledger, "load_by_name", lambda *args: Silent)
    assert kernel_ledger.ledger_of(session("text-only")) == []


def test_the_command_measures_and_says_how_to_read_it():
    done = parity("kernels", "--case", "text-only", "--dtype", "fp32")
    assert done.returncode == 0, done.stderr
    assert "visual" not in done.stdout
    assert "text_mlp" in done.stdout
    taught = parity("kernels", "--help")
    assert "override" in taught.stdout


@pytest.mark.parametrize(
    ("options", "named"),
    [(("--dtype", "fp8"), "fp8"), (("--case", "nothing"), "nothing"),
     (("--device", "Abacus"), "Abacus")],
)  # fmt: skip
def test_the_command_refuses_what_is_not_there(options, named):
    done = parity("kernels", *options)
    assert done.returncode == 2
    assert done.stderr.count("error:") == 1
    assert named in done.stderr


def test_angles_are_those_of_the_tables():
    """The vision tower's: all of the rows' frequencies, then all of the columns'."""
    from parity.kernels.tables import angles
    from parity.subjects.modules import read_config

    found = session().references.open(session().cases[0], "fp32")
    config = read_config(session().settings.checkpoint)
    for name, function in (("cos", np.cos), ("sin", np.sin)):
        point = next(p for p in session().declared if p.name == f"visual.rotary_pos_emb.{name}")
        angle = angles(found, point, config).astype(np.float64)  # [N, 2, f / 2]
        table = found.tensor(found.points[point.name][0].value)  # [N, hs]
        half = function(angle).reshape(len(table), -1)
        np.testing.assert_allclose(table[:, : half.shape[1]], half, atol=1e-6)


def test_a_run_without_a_ledger_says_so_and_fails(monkeypatch):
    """What was compared is worth a report all the same."""

    def broken(session, dtype):
        raise ParityError("the device is gone")

    assert measured_kernels(session(), "fp32").not_compared == []
    monkeypatch.setattr(kernel_ledger, "ledger_in", broken)
    found = measured_kernels(session(), "fp32")
    assert (found.kernels, found.not_compared) == ([], ["the operator ledger: the device is gone"])
