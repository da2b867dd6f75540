"""The figure: every point is in it, at its height, and it can be read without colour or sight."""

import math
import re

import pytest

from parity.core.rows import Kind, RunResult, Verdict
from parity.report.axes import BOTTOM, LEFT, RIGHT, TOP, Scale, layout
from parity.report.figure import draw
from parity.report.view import view
from parity.tests.report_runs import GUILTY_POINT, case_rows, comparison, odd_numbers, row


def drawn(rows):
    depth = view(RunResult(rows)).depths[0]
    return depth.panels[0], str(draw(depth.panels[0], depth.scale))


def places(svg, name):
    """Where the marks of a series are."""
    path = re.search(rf'<path class="{name}" d="([^"]*)"', svg)
    return [tuple(map(float, at)) for at in re.findall(r"[ML]([-\d.]+) ([-\d.]+)", path[1])]


def test_both_series_hold_every_point():
    rows = case_rows("a", "fp32", GUILTY_POINT)
    _, svg = drawn(rows)
    assert len(places(svg, "local")) == len(rows)
    assert len(places(svg, "end-line")) == sum(one.end_to_end is not None for one in rows)


def test_the_local_series_dips_after_the_guilty_point_and_the_other_stays_up():
    rows = case_rows("a", "fp32", GUILTY_POINT)
    one, svg = drawn(rows)
    gate = Scale.of(one.points).y(1)
    at = [point.name for point in one.points].index(GUILTY_POINT)
    heights = [y for _, y in places(svg, "local")]
    assert heights[at] < gate
    assert all(y > gate for n, y in enumerate(heights) if n != at)
    ends = dict(places(svg, "end-line"))
    xs = layout(one).xs
    below = [x for x, y in ends.items() if y > gate]
    assert all(x < xs[at] or rows_kind(rows, xs, x) is Kind.TABLE for x in below)


def rows_kind(rows, xs, x):
    """Kind of the row that is drawn nearest to ``x``."""
    return min(zip(xs, rows, strict=True), key=lambda item: abs(item[0] - x))[1].kind


def test_points_run_to_the_right_inside_the_axes():
    one, _ = drawn(case_rows("a", "fp32"))
    found = layout(one)
    assert list(found.xs) == sorted(found.xs)
    assert found.xs[0] > LEFT
    assert found.xs[-1] < RIGHT
    for band, (left, right) in zip(one.bands, found.edges, strict=True):
        assert all(left < x < right for x in found.xs[band.first : band.stop])
    assert found.edges[-1][1] == pytest.approx(RIGHT)


@pytest.mark.parametrize("use", [1e-9, 1e-3, 0.1, 1.0, 42.0, 1e12])
def test_any_figure_is_within_the_axes_and_higher_is_worse(use):
    one = view(RunResult([row(0, "a", local=comparison(use * 8))])).panels[0]
    scale = Scale.of(one.points)
    order = [scale.y(0), scale.y(use), scale.y(math.inf)]
    assert TOP <= order[2] < order[1] < order[0] <= BOTTOM
    assert scale.y(0) > scale.y(1) > scale.y(math.inf)
    assert (scale.y(use) < scale.y(1)) == (use > 1)
    assert len(scale.decades()) <= 10
    assert 0 in scale.decades()


def test_what_has_no_finite_figure_is_off_the_scale_and_not_out_of_sight():
    one, svg = drawn(odd_numbers().rows)
    assert [point.local for point in one.points] == [
        math.inf, math.inf, 0.0, math.inf, math.inf, math.inf,
    ]  # fmt: skip
    assert svg.count('<a class="fault"') == 5
    assert "off scale" in svg
    for where in re.findall(r' (?:d|x|y|cx|cy|width|data-x)="([^"]*)"', svg):
        assert not re.search("nan|inf", where)


def test_a_missing_figure_breaks_the_end_to_end_line():
    rows = [row(n, name) for n, name in enumerate("abcdef")]
    rows[2] = row(2, "c", end_to_end=None)
    rows[4] = row(4, "e", end_to_end=None)
    _, svg = drawn(rows)
    line = re.search(r'<path class="end-line" d="([^"]*)"', svg)[1]
    assert (line.count("M"), line.count("L")) == (1, 1), "a and b"
    lonely = re.search(r'<path class="end" d="([^"]*)"', svg)[1]
    assert lonely.count("M") == 2, "d and f have no neighbour to be joined to"


def test_the_first_fault_is_named_and_every_one_marked():
    rows = [row(n, f"visual.blocks.{n}", Verdict.GUILTY) for n in range(3)]
    _, svg = drawn(rows)
    assert svg.count('<a class="fault"') == 3
    assert re.findall(r'<text class="name[^>]*>([^<]*)', svg) == ["visual.blocks.0 GUILTY"]
    for n in range(3):
        assert f'aria-label="visual.blocks.{n}: GUILTY"' in svg


def test_it_describes_itself():
    rows = case_rows("two-images", "fp32", GUILTY_POINT)
    _, svg = drawn(rows)
    assert 'role="group"' in svg
    assert '<title id="panel-1-t">Error along depth: two-images, fp32</title>' in svg
    described = re.search(r'<desc id="panel-1-d">([^<]*)', svg)[1]
    assert f"First at fault: {GUILTY_POINT}, GUILTY." in described
    assert "Largest local ratio: 5,211 against a gate of 8" in described
    assert 'aria-labelledby="panel-1-t panel-1-d"' in svg


def test_the_gate_s_number_is_named_only_where_all_share_it():
    _, one = drawn([row(0, "a"), row(1, "b")])
    assert "gate: ratio 8" in one
    assert "reference: 1" in one
    _, mixed = drawn([row(0, "a"), row(1, "b", local=comparison(1.0, 4.0))])
    assert "gate: ratio" not in mixed
    assert ">gate</text>" in mixed


def test_stages_and_modules_are_labelled():
    _, svg = drawn(case_rows("a", "fp32"))
    for stage in ("preprocessing", "vision", "positions", "text", "decoding"):
        assert f">{stage}</text>" in svg
    assert ">blocks.0</text>" in svg
    assert ">layers.0</text>" in svg


def test_one_point_and_many_points_and_many_bands_are_drawn():
    _, one = drawn([row(0, "a")])
    assert len(places(one, "local")) == 1
    rows = [row(n, f"p.{n}", stage=f"stage-{n % 7}") for n in range(700)]
    found, svg = drawn(rows)
    assert len(found.bands) == 700
    assert len(places(svg, "local small")) == 700


def test_what_lies_under_the_axis_is_said_to():
    _, svg = drawn([row(0, "a", local=comparison(1e-7))])
    assert ">&lt;= 0.001</text>" in svg
    _, svg = drawn([row(0, "a", local=comparison(1e-7), end_to_end=comparison(1e9))])
    assert ">&lt;= 0.001</text>" in svg
    _, svg = drawn([row(0, "a", local=comparison(0.1))])
    assert "&lt;=" not in svg
