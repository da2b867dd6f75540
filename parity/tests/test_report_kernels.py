"""The operator ledger on the page."""

import dataclasses

from parity.report.html import render
from parity.report.kernels import kernel_table
from parity.tests.report_runs import passing
from parity.tests.test_report_html import Page


def entry(primitive="exp", dtype="fp32", ratio=32.4, **changes):
    return {
        "primitive": primitive, "dtype": dtype, "result": "float32", "device": "CPU",
        "role": "text_mlp", "case": "single-image", "point": "language_model.layers.1.mlp",
        "elements": 31488, "mean_ulp": 5.46, "max_ulp": 41.8, "ratio": ratio, **changes,
    }  # fmt: skip


def test_a_primitive_shows_its_worst_kind_of_module_in_each_dtype():
    rows = [
        entry("erf", ratio=0.5), entry("exp", ratio=3.0, role="vision_mlp"),
        entry("exp", ratio=32.4), entry("exp", "bf16", 1.5), entry("exp", "bf16", 0.7),
    ]  # fmt: skip
    table = kernel_table(rows)
    assert table.dtypes == ("fp32", "bf16")
    assert [line.primitive for line in table.lines] == ["exp", "erf"]
    wide, narrow = table.lines[0].cells
    assert (wide.ratio, wide.ulp, wide.where) == ("32.4", "41.8", "text_mlp, float32, CPU")
    assert narrow.ratio == "1.5"
    assert table.lines[1].cells[1] is None


def test_what_is_not_a_number_is_the_worst():
    """As files hold it: JSON has no NaN."""
    table = kernel_table([entry("exp", ratio=500.0), entry("erf", ratio="nan", max_ulp="inf")])
    assert [line.primitive for line in table.lines] == ["erf", "exp"]
    assert (table.lines[0].cells[0].ratio, table.lines[0].cells[0].ulp) == ("nan", "inf")


def test_the_page_shows_it_where_there_is_one():
    without = Page(render(passing()))
    shown = Page(render(dataclasses.replace(passing(), kernels=[entry()])))
    assert "kernels" not in without.ids
    assert "#kernels" not in without.links
    assert "kernels" in shown.ids
    assert "#kernels" in shown.links
    assert "32.4, 41.8 ULP" in shown.text("td")


def test_nothing_in_it_can_break_out_of_the_page():
    evil = "<script>alert(1)</script>"
    strange = dict.fromkeys(entry(), evil)
    text = render(dataclasses.replace(passing(), kernels=[strange, {}]))
    assert "<script>alert" not in text
    Page(text)
