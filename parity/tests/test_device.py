"""What a device is: npu-smi's tables, the names of chips, the probe and the switches."""

import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from parity.__main__ import app
from parity.core.errors import ParityError
from parity.device.chips import CHIPS, chip_of, lacking, resolved
from parity.device.choice import check_device, index_of, select_device
from parity.device.npu_smi import read_npu_smi, run_npu_smi
from parity.device.probe import lines, probe
from parity.settings import Settings
from parity.tests.npu_smi_samples import DUO_310P3, HALVES_910C, SAMPLES, UNABLE

ROOT = Path(__file__).parents[2]
ROWS = [line for text, _, _ in SAMPLES.values() for line in text.splitlines()]


@pytest.mark.parametrize("name", SAMPLES)
def test_a_real_table_is_read_whole(name):
    text, driver, chips = SAMPLES[name]
    found = read_npu_smi(text)
    assert found.version == driver
    assert [(c.npu, c.chip, c.name, c.health, c.memory) for c in found.chips] == chips


@pytest.mark.parametrize("text", [*UNABLE, "", "\0", "|" * 10_000, "| 0 910A | OK | 1 |\n"])
def test_what_is_no_table_has_no_chips(text):
    assert read_npu_smi(text).chips == ()


@given(st.text())
def test_any_text_is_read_without_an_error(text):
    read_npu_smi(text)


@settings(max_examples=200)
@given(st.lists(st.sampled_from(ROWS) | st.text(max_size=80), max_size=12))
def test_rows_out_of_order_invent_no_chip(rows):
    """Whatever stands between two rows: a chip needs both, one right below the other."""
    for chip in read_npu_smi("\n".join(rows)).chips:
        pairs = [(one, two) for one, two in itertools.pairwise(rows)
                 if f" {chip.name} " in one and chip.bus in two]  # fmt: skip
        assert pairs or any("\n" in row or "\r" in row for row in rows)


def test_a_row_that_is_cut_off_is_not_a_chip():
    kept = [
        line for line in DUO_310P3.splitlines() if "0000:01:00.0    | 0            1412" not in line
    ]
    assert len(read_npu_smi("\n".join(kept)).chips) == 1


@pytest.mark.parametrize(
    ("visible", "index", "chip"),
    [("", 0, 0), ("", 1, 1), ("", 2, None), ("1", 0, 1), ("1", 1, None), ("1,0", 1, 0),
     ("7", 0, None), ("x", 0, 0), ("9" * 5000, 0, 0)],
)  # fmt: skip
def test_a_device_is_found_among_those_the_process_may_see(visible, index, chip):
    found = read_npu_smi(HALVES_910C).of_device(index, {"ASCEND_RT_VISIBLE_DEVICES": visible})
    assert (found and found.chip) == chip


@pytest.mark.parametrize(
    ("name", "chip"),
    [
        ("910A", "910A"), ("Ascend910A", "910A"), ("Ascend910ProB", "910A"),
        ("910PremiumA", "910A"), ("Ascend910B", "910A"), ("ascend910", "910A"),
        ("910B3", "910B"), ("Ascend910B4-1", "910B"), ("910B2C", "910B"), ("ascend910b", "910B"),
        ("Ascend910", "910C"), ("Ascend910_9392", "910C"), ("ascend910_93", "910C"),
        ("310P3", "310P"), ("Ascend310P3", "310P"), ("ascend310p", "310P"),
        ("310B4", None), ("Ascend950PR_9599", None), ("", None), ("unknown", None), ("none", None),
    ],
)  # fmt: skip
def test_every_name_of_a_chip_leads_to_its_family(name, chip):
    found = chip_of(name)
    assert (found and found.name) == chip


def test_bfloat16_is_lacking_exactly_where_chips_are_old():
    lack = {chip.name: [d for d in ("fp32", "fp16", "bf16", "ascend-mixed") if lacking(chip, d)]
            for chip in CHIPS}  # fmt: skip
    old = ["bf16", "ascend-mixed"]
    assert lack == {"910A": old, "910B": [], "910C": [], "310P": old}
    assert lacking(None, "bf16") is None
    assert "910A (Atlas training) has no bfloat16" in str(lacking(chip_of("910A"), "bf16"))


def test_what_a_chip_does_by_default_is_named():
    facts = {"soc": "ascend910b", "overflow mode": "default", "hf32 matmul": "off"}
    assert resolved(facts) == {**facts, "overflow mode": "default (INFNAN_MODE)"}
    old = resolved({**facts, "soc": "ascend910", "overflow mode": "INFNAN_MODE"})
    assert old["overflow mode"] == "SATURATION_MODE", "it has no other"
    assert old["hf32 matmul"] == "none (not on 910A)"
    assert resolved({"soc": "none", "overflow mode": "none"})["overflow mode"] == "none"


def fake_npu_smi(folder, text, status=0):
    program = folder / "npu-smi"
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{text}END\nexit {status}\n")
    program.chmod(0o755)


def test_the_program_is_run_and_its_message_passed_on(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    fake_npu_smi(tmp_path, HALVES_910C)
    assert len(run_npu_smi().chips) == 2
    fake_npu_smi(tmp_path, UNABLE[0], status=1)
    with pytest.raises(ParityError, match=r"shows no chip: dcmi model initialized failed.*-8020"):
        run_npu_smi()


def test_the_probe_tells_what_it_found_and_why_the_device_cannot_be_used(tmp_path, monkeypatch):
    """There is a chip, as npu-smi says, and no CANN to reach it with."""
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    fake_npu_smi(tmp_path, SAMPLES["warning-910A"][0])
    found = probe("Ascend:1", "mindspore", {})
    assert found.facts["chip"] == "910A"
    assert found.facts["health"] == "Warning"
    assert found.facts["driver"] == "23.0.rc1.b070"
    assert found.facts["dtypes"] == "fp32, fp16"
    assert any("bf16: 910A" in one for one in found.missing)
    assert found.unusable is not None
    assert "Ascend" in found.unusable
    assert "family    910A (Atlas training)" in "\n".join(lines(found))
    absent = probe("Ascend:7", "mindspore", {})
    assert any("none is device 7" in one for one in absent.missing)
    assert absent.facts["dtypes"] == "unknown"


def test_the_command_ends_with_2_and_the_reason_if_the_device_cannot_be_used():
    done = CliRunner().invoke(app, ["device", "--device", "Ascend:0"])
    assert done.exit_code == 2
    assert "error: device 'Ascend:0' cannot be used" in done.output
    works = CliRunner().invoke(app, ["device"])
    assert works.exit_code == 0, works.output
    assert "dtypes            fp32, fp16, bf16, ascend-mixed" in works.output


@pytest.mark.parametrize("name", ["Ascend:x", "Ascend:", "CPU:-1", "Ascend:²"])
def test_a_device_s_number_is_a_number(name):
    with pytest.raises(ParityError, match="number"):
        index_of(name)


def test_what_cpu_has_not_is_refused():
    for asked, message in ((("matmul",), "--numerics hf32"), (("mul",), "unknown HF32 switch")):
        with pytest.raises(ParityError, match=message):
            check_device(Settings(hf32=asked))
    check_device(Settings(device="Ascend:0", hf32=("matmul", "conv")))

    class Silent:
        """A candidate that selects its device itself."""

    select_device(Silent, Settings())
    with pytest.raises(ParityError, match="select_device"):
        select_device(Silent, Settings(device="Ascend:0", hf32=("conv",)))


SWITCHES = """
from mindspore import _c_expression
from mindspore.device_context.ascend import op_precision
from parity.adapters import mindspore_device as device

class Switches(dict):
    # MindSpore makes this object with its Ascend plugin, which needs CANN. Its Python side is real.
    def __getattr__(self, name):
        if name.startswith("is_"):
            return lambda: name[3:].removesuffix("_configured") in self
        if name.startswith("set_"):
            return lambda value: self.__setitem__(name[4:], value)
        return lambda: self.get(name, "")
    @classmethod
    def get_instance(cls):
        return only

only = Switches()
_c_expression.AscendOpPrecisionConf = op_precision.AscendOpPrecisionConf = Switches
op_precision._is_supported = lambda: True
device._switch({first})
device._switch(None)
facts = device._ascend()
print(facts["hf32 matmul"], facts["hf32 convolution"], facts["precision mode"])
print(device.device_facts("Ascend:0")["deterministic"])
try:
    device._switch({{"matmul"}} if "matmul" not in ({first} or ()) else ())
except RuntimeError as error:
    print("refused:", error)
"""


@pytest.mark.parametrize(
    ("first", "told"),
    [("None", "off off"), ("('matmul', 'conv')", "on on"), ("('conv',)", "off on")],
)
def test_switches_are_set_once_and_read_back_from_mindspore(first, told):
    done = subprocess.run([sys.executable, "-c", SWITCHES.format(first=first)], cwd=ROOT, text=True,
                          capture_output=True, check=True)  # fmt: skip
    lines = done.stdout.splitlines()
    assert lines[:2] == [f"{told} must_keep_origin_dtype", "on"]
    assert lines[2].startswith("refused:"), "MindSpore sets each switch once"
