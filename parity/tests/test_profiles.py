"""Where an error is, from the numbers the verdict is made of."""

import math
from dataclasses import replace

import numpy as np
import pytest

from parity.core.compared import Compared
from parity.core.detail import MERGED, PATCHES, SHARE, TOKENS, Cells
from parity.core.numerics import FORMATS, precision
from parity.core.points import Point
from parity.core.profiles import BINS, HIGHEST, LOWEST, differing, profile, side, spacing
from parity.core.rows import Kind
from parity.core.stats import Gate, Truth
from parity.core.store import ReferenceFiring
from parity.core.trace import Tap
from parity.places import MOST, coarser, ids_of

GATE = Gate(whole=5, row=6, column=7, update=5)
POINT = Point("p", "text", Kind.FLOAT, "p", forced=("*",))


def compared(candidate, reference, residual=None, keep=None, point=POINT):
    tap = Tap(candidate, str(candidate.dtype))
    return Compared(point, ReferenceFiring("", "float32"), tap, Truth(reference, residual),
                    precision("fp32"), GATE, keep=keep)  # fmt: skip


def noisy(shape=(2, 10, 32), seed=0):
    """A reference, its residual, and a candidate as good as it."""
    rng = np.random.default_rng(seed)
    reference = rng.standard_normal(shape).astype(np.float32)
    small = [(rng.standard_normal(shape) * 3e-8).astype(np.float32) for _ in range(2)]
    return reference + small[0], reference, small[1]


def test_the_worst_token_and_channel_are_the_verdicts():
    candidate, reference, residual = noisy()
    candidate[1, 3, 7] += 1e-3
    value = compared(candidate, reference, residual)
    found, judged = side(value, "local", None), value.examine().comparison
    assert found.tokens.worst == judged.row.index == 13
    assert found.channels.worst == judged.column.index == 7
    assert found.tokens.ratios[13] == pytest.approx(judged.row.ratio, rel=1e-2)
    assert found.channels.ratios[7] == pytest.approx(judged.column.ratio, rel=1e-2)
    assert (found.tokens.gate, found.channels.gate) == (6, 7)


def test_padding_has_no_ratio_and_keeps_the_others_in_place():
    candidate, reference, residual = noisy()
    candidate[0, 1] += 1  # padding: nobody's result
    candidate[1, 3, 7] += 1e-3
    keep = np.ones((2, 10), bool)
    keep[0, :4] = False
    cells = Cells(TOKENS, "", 0.0, (None,) * 20, rows=2)
    found = side(compared(candidate, reference, residual, keep), "local", cells)
    assert found.tokens.ratios[:4] == found.cells.values[:4] == (None,) * 4
    assert found.tokens.worst == 13
    assert max(one for one in found.cells.values if one is not None) == found.cells.values[13]


def test_nan_is_the_worst():
    candidate, reference, residual = noisy()
    candidate[0, 2, 5] = np.nan
    found = side(compared(candidate, reference, residual), "local", None)
    assert found.tokens.worst == 2
    assert math.isnan(found.tokens.ratios[2])
    assert found.histogram.candidate_nonfinite == 1
    assert found.histogram.reference_nonfinite == 0


def test_every_value_is_in_one_bin():
    candidate, reference, residual = noisy()
    found = side(compared(candidate, reference, residual), "local", None).histogram
    for counts, exact, odd in (
        (found.candidate, found.candidate_exact, found.candidate_nonfinite),
        (found.reference, found.reference_exact, found.reference_nonfinite),
    ):
        assert sum(counts) + exact + odd == candidate.size
        assert len(counts) == HIGHEST - LOWEST + 1


@pytest.mark.parametrize(("ulps", "place"), [(1.0, 0), (4.0, 2), (7.0, 2), (2.0**30, HIGHEST)])
def test_an_error_is_counted_in_its_own_bin(ulps, place):
    reference = np.ones((8, 4), np.float32)
    candidate = (reference + np.float64(ulps) * 2.0**-23).astype(np.float32)
    found = side(compared(candidate, reference), "local", None).histogram
    assert found.unit == "ULP of float32"
    assert found.candidate[place - LOWEST] == reference.size
    assert found.reference_exact == reference.size


def test_spacing_is_numpys():
    values = np.array([1.0, 1.5, 1e-30, 3e38, 1e-45, 0.0])
    wanted = np.spacing(np.abs(values).astype(np.float32)).astype(float)
    assert spacing(values, FORMATS["float32"]).tolist() == wanted.tolist()


def test_many_channels_are_brought_together_by_their_largest():
    ratios = np.ones(1000)
    ratios[701] = 50.0
    found = profile("channel", ratios, 7.0)
    assert len(found.ratios) <= BINS
    assert found.width * len(found.ratios) >= found.count == 1000
    assert found.worst == 701
    assert found.ratios[701 // found.width] == 50.0
    assert sum(one == 50.0 for one in found.ratios) == 1


def test_integers_that_differ_are_shared_out_to_their_tokens():
    exact = replace(POINT, kind=Kind.DISCRETE)
    ids = np.arange(30).reshape(3, 2, 5)
    other = ids.copy()
    other[0, 1, 2] += 1
    shares = differing(compared(other, ids, point=exact), 10)
    assert shares.tolist() == [0] * 7 + [1 / 3] + [0] * 2
    mask = np.ones((2, 1, 5, 5), bool)
    hidden = mask.copy()
    hidden[1, 0, 4, :2] = False
    shares = differing(compared(hidden, mask, point=exact), 10)
    assert shares.tolist() == [0] * 9 + [0.4]
    tokens = np.arange(10).reshape(2, 5)
    cells = Cells(TOKENS, "", 0.0, (None,) * 10, rows=2)
    found = side(compared(tokens + (tokens == 3), tokens, point=exact), "end to end", cells)
    assert found.cells.values == (0, 0, 0, 1, 0, 0, 0, 0, 0, 0)
    assert (found.cells.measure, found.histogram, found.tokens) == (SHARE, None, None)


def test_too_many_patches_are_drawn_as_merged_ones():
    values = tuple(float(n) for n in range(MOST * 4))
    found = coarser(Cells(PATCHES, "ratio", 5.0, values), 2)
    assert found.layout == MERGED
    assert found.values[:3] == (3.0, 7.0, 11.0)
    few = Cells(PATCHES, "ratio", 5.0, values[:8])
    assert coarser(few, 2) is few


def test_ids_are_kept_where_they_differ():
    cells = Cells(TOKENS, "", 0.0, (None,) * 10, rows=2)
    point = Point("language_model.position_ids", "positions", Kind.DISCRETE, "r")
    ids = np.arange(30).reshape(3, 2, 5)
    assert ids_of(cells, point, ids, ids.copy()) is None
    found = ids_of(cells, point, ids, ids + (ids == 12))
    assert found.axes == ("t", "h", "w")
    assert found.reference[1] == tuple(range(10, 20))
    assert found.candidate[1][2] == 13
    assert ids_of(cells, POINT, ids, ids + 1) is None
