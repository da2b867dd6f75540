"""Details of real runs: planted faults are found where they are, by the view data alone."""

import json
import re
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from parity.core.cases import Case
from parity.core.detail import (
    PATCHES,
    TOKENS,
    Cells,
    Detail,
    Histogram,
    Profile,
    Side,
    Tried,
)
from parity.core.inputs_shown import InputsShown, Picture
from parity.core.looked_into import MOST, LookedInto, most_urgent, urgency
from parity.core.rows import GRAPH, RunResult, Verdict
from parity.job import result_of
from parity.places import MOST as CELLS
from parity.report.details import details_view
from parity.report.html import render
from parity.report.pictures import SAFE
from parity.report.plain_io import encode
from parity.report.rows_io import result_from_dict, result_to_dict
from parity.repro.line import command_line
from parity.session import Session
from parity.settings import Settings
from parity.show_inputs import LARGEST, thumbnail
from parity.tests.report_runs import row

LARGEST_DETAIL = 20_000
"""Characters of one row's details in JSON: what the page's budget is made from."""


@cache
def session():
    return Session(Settings(cases=("two-images",)), look_into=True)


@cache
def run(fault):
    """The result of one case under a fault; the loaded candidate is shared."""
    settings = replace(session().settings, plant=fault)
    planted = replace(session(), settings=settings, results={}, failures={}, invalid=[],
                      covered=[], looked=LookedInto())  # fmt: skip
    case = planted.cases[0]
    planted.run(case, "fp32")
    return result_of(planted, 0.0)


def detail(fault, point):
    return next(one for one in details_view(run(fault)).items if one.point == point)


@pytest.mark.slow
def test_a_passing_run_keeps_the_row_nearest_to_its_gate():
    (item,) = details_view(run(None)).items
    assert item.verdict == "PASS"
    assert not item.open
    assert re.match(r"Every (patch|token) is within the gate of \d+", item.where)


def test_images_that_see_each_other_are_shown_by_their_boundaries():
    result = run("vit-no-mask")
    first = details_view(result).items[0]
    assert (first.point, first.verdict, first.open) == ("visual.cu_seqlens", "SHAPE", True)
    assert first.integers == ("[0, 32, 80]", "[0, 80]")
    assert first.fitting[0].sentence.startswith("one segment over all pictures")
    assert first.candidate.startswith("vision_cu_seqlens, qwen2vl_ms/positions.py:")
    assert "get_vision_cu_seqlens" in first.reference
    assert first.command.startswith("python -m parity run --case two-images --dtype fp32")
    assert first.command.endswith("--plant vit-no-mask")


def test_positions_that_differ_are_drawn_picture_by_picture():
    item = detail("rope-1d", "language_model.position_ids")
    titles = [block.title for block in item.ids.blocks]
    assert titles[0] == "image 1, pair-wide.png"
    assert any(title.startswith("text, tokens ") for title in titles)
    time, height, width = item.ids.blocks[0].axes
    assert [[cell.reference for cell in line] for line in width.rows] == [[15, 16, 17, 18]] * 2
    assert [[cell.reference for cell in line] for line in height.rows] == [[15] * 4, [16] * 4]
    assert [cell.candidate for cell in time.rows[0]] == [15, 16, 17, 18]
    assert time.differing == 7
    assert item.where.startswith("The error is only from token 16 on.")


@pytest.mark.slow
def test_a_rotary_fault_shows_on_the_picture():
    """Height and width swapped: a patch on the diagonal, whose two numbers are alike, is right."""
    item = detail("rope-vision-hw", "visual.rotary_pos_emb.cos")
    assert item.where.startswith("The error is everywhere but on the diagonal")
    pictures = item.sides[0].pictures
    assert [(one.height, one.width) for one in pictures.pictures] == [(4, 8), (8, 6)]
    for one in pictures.pictures:
        values = np.array(one.values.split(","), float).reshape(one.height, one.width)
        side = min(values.shape)
        assert np.all(np.diag(values[:side, :side]) < 5)
        assert np.all(values[~np.eye(*values.shape, dtype=bool)] > 1000)
    assert item.fitting[0].sentence.startswith("height and width halves swapped")


@pytest.mark.slow
def test_what_is_kept_stays_small_and_reads_back():
    for fault in ("rope-1d", "rope-vision-hw", "vit-no-mask"):
        result = run(fault)
        found = json.loads(json.dumps(result_to_dict(result)))
        assert max(len(json.dumps(one)) for one in found["details"]) < LARGEST_DETAIL
        assert result_from_dict(found) == result
        assert result.inputs.keys() == {"two-images"}
        for picture in result.inputs["two-images"].pictures:
            assert len(picture.data) <= LARGEST
            assert SAFE.fullmatch(picture.data)


def test_the_page_shows_the_layer_the_cause_and_the_command():
    text = render(run("rope-1d"))
    section = text[text.index('id="details"') : text.index('aria-labelledby="points"')]
    for wanted in ("language_model.position_ids", "Likely cause", "1-D positions",
                   "python -m parity run --case two-images", "rope_index, qwen2vl_ms/positions.py:",
                   "Qwen2VLModel.get_rope_index"):  # fmt: skip
        assert wanted in section, wanted


def test_a_page_without_details_has_no_section():
    assert details_view(RunResult([row(0, "a")])) is None
    assert 'id="details"' not in render(RunResult([row(0, "a")]))


def known(order, point, verdict, case="single-image"):
    one = row(order, point, verdict, case=case)
    return one, Detail(one.case, one.dtype, one.mode, point, 0, "linear")


def test_the_first_fault_of_every_case_goes_before_the_second_of_any():
    pairs = [known(n, f"p{n}", Verdict.GUILTY, case) for case in ("a", "b") for n in range(3)]
    pairs.append(known(9, "fine", Verdict.PASS, "c"))
    pairs.insert(0, known(8, "led", Verdict.VICTIM, "a"))
    kept = most_urgent([one for _, one in pairs], [one for one, _ in pairs])
    names = [(one.case, one.point) for one in kept]
    assert names[:4] == [("a", "p0"), ("b", "p0"), ("a", "p1"), ("b", "p1")]
    assert names[-2:] == [("a", "led"), ("c", "fine")]


def test_no_more_are_kept_than_the_budget():
    pairs = [known(n, f"p{n}", Verdict.GUILTY) for n in range(MOST + 20)]
    kept = most_urgent([one for _, one in pairs], [one for one, _ in pairs])
    assert len(kept) == MOST
    assert urgency(pairs[0][0]) == 0


def test_details_of_rows_that_are_not_shown_are_dropped():
    (one, found), (_, other) = known(0, "a", Verdict.GUILTY), known(1, "b", Verdict.GUILTY)
    assert most_urgent([other, found], [one]) == [found]


def test_the_budget_keeps_the_page_small():
    """As many details as are kept, each with as many cells, bins and causes as there can be."""
    profile = Profile("token", 4096, 16, tuple(1e-3 * 1.07**n for n in range(256)), 4095, 5.0)
    counts = tuple(range(1, 30))
    histogram = Histogram("ULP of float32", -4, counts, counts, 0, 0, 0, 0)
    values = tuple(float(f"{1.02**n:.3g}") for n in range(CELLS))
    cells = Cells(PATCHES, "ratio", 5.0, values)
    side = Side("local", "", histogram, profile, replace(profile, axis="channel"), cells)
    tried = tuple(
        Tried(f"h{n}", "a mistake that somebody might have made", False) for n in range(40)
    )
    pairs = [known(n, f"p{n}", Verdict.GUILTY) for n in range(MOST)]
    details = [replace(one, sides=(side, replace(side, scope="end to end", cells=None)),
                       tried=tried) for _, one in pairs]  # fmt: skip
    picture = Picture("image", 0, 0, 0, 0, 32, CELLS // 32, "a.png", "")
    result = RunResult([one for one, _ in pairs], details=details,
                       inputs={"single-image": InputsShown(2, (picture,))})  # fmt: skip
    assert max(len(json.dumps(encode(one))) for one in details) > 0.6 * LARGEST_DETAIL
    added = len(render(result)) - len(render(RunResult(result.rows)))
    print(f"{MOST} details: {added / 1e6:.2f} MB of the page")
    assert all(one.sides[0].pictures for one in details_view(result).items)
    assert added < 1_500_000


def hostile(**cells):
    """A run whose details do not fit its inputs."""
    one, found = known(0, "a", Verdict.GUILTY)
    result = run("rope-1d")
    drawn = Cells(**{"layout": PATCHES, "measure": "ratio", "gate": 5.0, "values": (1.0,)} | cells)
    found = replace(found, sides=(Side("local", cells=drawn),))
    return RunResult([one], details=[found], inputs={one.case: result.inputs["two-images"]})


@pytest.mark.parametrize(
    "cells",
    [
        {},
        {"firing": 99},
        {"layout": TOKENS, "values": (9.0,) * 1000},
        {"layout": TOKENS, "rows": 0},
        {"layout": TOKENS, "start": -4, "values": (9.0,) * 50},
        {"layout": "sideways", "values": (9.0,) * 80},
        {"layout": "merged", "values": (float("nan"),) * 80},
    ],
)
def test_cells_that_fit_no_input_are_not_drawn(cells):
    view = details_view(hostile(**cells))
    assert view.items[0].sides[0].pictures is view.items[0].sides[0].prompt is None
    assert render(hostile(**cells))


@pytest.mark.parametrize(
    "data",
    ["javascript:alert(1)", "https://example.org/a.png", "data:text/html;base64,AAAA",
     'data:image/png;base64,AAAA" onerror="alert(1)', "data:image/svg+xml;base64,AAAA"],
)  # fmt: skip
def test_only_small_pictures_are_put_into_the_page(data):
    result = hostile(values=(9.0,) * 80)
    shown = result.inputs["single-image"]
    pictures = tuple(replace(one, data=data) for one in shown.pictures)
    result.inputs["single-image"] = replace(shown, pictures=pictures)
    view = details_view(result).items[0].sides[0].pictures
    assert [one.data for one in view.pictures] == ["", ""]
    assert data not in render(result)


def test_a_file_that_is_no_picture_has_no_thumbnail(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no picture")
    assert thumbnail(tmp_path / "a.png", 4, 4) == ""
    assert thumbnail(tmp_path / "absent.png", 4, 4) == ""
    assert isinstance(session().cases[0], Case)


def failing(point, verdict=Verdict.GUILTY, firing=0):
    return row(0, point, verdict, case="decoding", dtype="bf16", firing=firing)


def test_the_command_names_what_is_not_as_usual(tmp_path):
    points = {point.name: point for point in session().points}
    usual, merger, ids = Settings(), points["visual.merger"], points["visual.position_ids"]
    plain = command_line(usual, merger, failing("visual.merger"))
    assert plain == (
        "python -m parity repro visual.merger -o repro-visual.merger --case decoding --dtype bf16"
    )
    odd = replace(usual, device="Ascend:0", plant="ln-eps", checkpoint=tmp_path / "a b")
    assert command_line(odd, merger, failing("visual.merger", firing=3)) == (
        f"{plain} --firing 3 --device Ascend:0 --checkpoint '{tmp_path}/a b' --plant ln-eps"
    )
    run_it = "python -m parity run --case decoding --dtype bf16 --point visual."
    mine = replace(usual, candidate="mine.port:Port")
    assert command_line(mine, merger, failing("visual.merger")).startswith(run_it)
    compiled = replace(failing("visual.merger"), mode=GRAPH)
    away = replace(usual, bundle=tmp_path, cases_file=tmp_path / "cases.toml")
    there = f" --bundle {tmp_path}"
    for one in (away, replace(away, checkpoint=tmp_path / "checkpoint")):
        assert command_line(one, merger, failing("visual.merger")) == plain + there
    elsewhere = replace(away, checkpoint=tmp_path.parent)
    assert command_line(elsewhere, merger, failing("visual.merger")) == (
        f"{plain} --checkpoint {tmp_path.parent}{there}"
    )
    assert command_line(usual, merger, compiled) == f"{run_it}merger --mode graph"
    assert command_line(usual, ids, failing("visual.position_ids")).startswith(run_it)
    imitated = replace(usual, numerics="hf32-conv")
    assert command_line(imitated, merger, failing("visual.merger")) == (
        f"{run_it}merger --numerics hf32-conv"
    )
    both = replace(mine, device="Ascend:0", hf32=("matmul", "conv"))
    assert command_line(both, merger, failing("visual.merger")) == (
        f"{run_it}merger --hf32 matmul --hf32 conv --device Ascend:0 --candidate mine.port:Port"
    )


def test_what_is_right_by_itself_is_not_to_be_built_by_itself():
    """Twin: the same module, a victim; its repro would pass."""
    point = next(point for point in session().points if point.name == "visual.merger")
    for verdict in (Verdict.VICTIM, Verdict.DRIFT, Verdict.PASS):
        found = command_line(Settings(), point, failing("visual.merger", verdict))
        assert found.startswith("python -m parity run --case decoding --dtype bf16 --point visual.")
