"""What to try: the right mistake is named for planted ones, and nothing where none is known."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from parity.core.rows import Verdict
from parity.faults import catalogue as faults
from parity.hypotheses import catalogue, fit, matches, suggest, tried
from parity.hypotheses.hypothesis import Alternative, Hypothesis
from parity.hypotheses.pixels import picture_values
from parity.hypotheses.rows import MOST, WRONG, failure, with_suggestions
from parity.session import Session, Settings

FAULTS = {
    "mean-std": ("single-image", "pixels-half"),
    "patch-flatten": ("single-image", "patch-axes-fcrw"),
    "qkv-order": ("single-image", "qkv-per-head"),
    "gelu-tanh-merger": ("single-image", "activation-tanh-gelu"),
    "rope-interleaved": ("single-image", "mrope-interleaved"),
    "rms-eps": ("text-only", "rms-norm-eps-1e-05"),
    "attn-bias-dropped": ("text-only", "bias-dropped"),
    "head-vocabulary-shift": ("text-only", "channels-shifted"),
}
"""Faults with a case in which they show, and the hypothesis that has to come first."""
SLOW = {
    "patch-raster": ("single-image", "pixels-raster"),
    "rope-1d": ("single-image", "positions-1d"),
    "ln-eps": ("single-image", "layer-norm-eps-1e-05"),
    "scale-padded-head": ("single-image", "scale-padded-128"),
    "quick-gelu-as-gelu": ("single-image", "activation-erf-gelu"),
    "scatter-order": ("single-image", "rows-permuted"),
    "patch-temporal": ("odd-video", "pixels-axes-fcrw-early"),
    "resize-bounds": ("photograph", "grid-unbounded"),
    "resample-filter": ("photograph", "resample-bilinear"),
    "vit-no-mask": ("two-images", "segments-one"),
    "vit-cu-seqlens-frame": ("odd-video", "segments-per-video"),
    "rope-left-pad": ("left-padded-batch", "positions-mask-ignored"),
    "rope-temporal-const": ("odd-video", "positions-constant-time"),
    "rope-deltas-lost": ("decoding", "positions-cache-length"),
    "mask-padding-visible": ("left-padded-batch", "mask-padding-seen"),
}
"""The same, tried on request."""


@cache
def candidate():
    """One port for all, since none of the faults here is in its loading."""
    return Session(Settings()).candidate("fp32")


@cache
def session(fault, case):
    """A run in fp32, and what its rows were judged from."""
    seen = []
    found = Session(Settings(cases=(case,), plant=fault), observe=seen.append)
    found._loaded = ("fp32", candidate())
    found.run(found.cases[0], "fp32")
    return found, seen[0]


def rows(fault, case):
    return session(fault, case)[0].results[case, "fp32"]


def failures(fault, case):
    """The wrong points of a run."""
    kept, evidence = session(fault, case)
    points = {point.name: point for point in kept.declared}
    return [
        failure(row, evidence, points[row.point], kept.cases[0], kept.settings.checkpoint)
        for row in rows(fault, case)
        if row.verdict in WRONG
    ]


def check_named(fault, case, wanted):
    first = failures(fault, case)[0]
    assert first.point.name == faults()[fault].point
    found = matches(first)
    assert found[0].hypothesis.name == wanted
    guilty = next(row for row in rows(fault, case) if row.verdict in WRONG)
    assert guilty.suggestions == suggest(first)
    assert guilty.suggestions[0].startswith(found[0].hypothesis.sentence)
    assert found[0].error * 10 < found[0].without


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_named(fault):
    check_named(fault, *FAULTS[fault])


@pytest.mark.slow
@pytest.mark.parametrize("fault", SLOW)
def test_so_is_every_other_that_is_known(fault):
    check_named(fault, *SLOW[fault])


def test_at_least_twenty_faults_are_named():
    assert len(FAULTS | SLOW) >= 20
    assert set(FAULTS | SLOW) <= set(faults())


def test_nothing_is_suggested_for_a_faithful_port():
    for row in rows(None, "single-image"):
        assert row.verdict is Verdict.PASS
        assert row.suggestions == ()


def wrong_value(change, point="language_model.layers.1.mlp.down_proj"):
    """The failure of a faithful run, one of whose values was changed by hand."""
    kept, evidence = session(None, "text-only")
    found = next(one for one in kept.declared if one.name == point)
    tap = evidence.forced.taps[point][0]
    changed = replace(tap, value=np.asarray(change(tap.value.copy()), tap.value.dtype))
    taps = evidence.forced.taps | {point: [changed]}
    evidence = replace(evidence, forced=replace(evidence.forced, taps=taps))
    row = next(row for row in rows(None, "text-only") if row.point == point)
    return failure(row, evidence, found, kept.cases[0], kept.settings.checkpoint)


def noisy(value):
    return value * (1 + 1e-3 * np.random.default_rng(0).standard_normal(value.shape))


def one_wrong(value):
    value[0, 3, 5] += 1
    return value


@pytest.mark.parametrize("change", [noisy, one_wrong, lambda x: x**2, lambda x: x + np.arange(512)])
def test_an_unknown_mistake_gets_no_suggestion(change):
    unknown = wrong_value(change)
    assert unknown.wrong is not None
    assert suggest(unknown) == ()


def test_a_right_value_has_nothing_wrong():
    right = wrong_value(lambda x: x)
    assert right.wrong is None
    assert matches(right) == []


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        (lambda x: -x, "sign-flipped"),
        (lambda x: x * 1.01, "scaled"),
        (lambda x: x + 0.25, "offset"),
        (lambda x: np.roll(x, 3, axis=1), "rows-permuted"),
        (lambda x: x[:, ::-1], "rows-reversed"),
        (lambda x: x[..., ::-1], "channels-reversed"),
        (lambda x: x.swapaxes(1, 2).reshape(x.shape), "transposed"),
        (lambda x: x * 0, "zero"),
    ],
)
def test_what_a_wrong_value_looks_like_is_said(change, wanted):
    names = [match.hypothesis.name for match in matches(wrong_value(change))]
    assert wanted in names[:3]


@pytest.mark.parametrize("case", ["single-image", "text-only"])
def test_a_hypothesis_that_says_the_truth_never_fits(case):
    for fault in [name for name, (where, _) in FAULTS.items() if where == case][-4:]:
        for found in failures(fault, case):
            truth = Hypothesis("truth", "what is right", ("*",), lambda f: f.wrong.truth)
            near = Hypothesis("near", "almost right", ("*",), lambda f: f.wrong.truth * (1 + 1e-12))
            assert fit(truth, found) is None
            assert fit(near, found) is None


def test_one_that_says_what_the_candidate_has_fits_exactly():
    found = failures("gelu-tanh-merger", "single-image")[0]
    same = Hypothesis("same", "the same", ("*",), lambda f: Alternative(f.wrong.candidate, "by 2"))
    match = fit(same, found)
    assert match.error == 0
    assert match.text == "the same (by 2): this gives the candidate's values exactly"


def test_nan_and_other_shapes_never_fit_and_an_exception_ends_nothing():
    found = failures("gelu-tanh-merger", "single-image")[0]
    value = found.wrong.candidate.copy()
    value[0, 0] = np.nan

    def broken(_):
        raise ValueError("shapes")

    for answer in (lambda f: value, lambda f: value[:1], lambda f: None):
        assert fit(Hypothesis("odd", "", ("*",), answer), found) is None
    assert tried(Hypothesis("broken", "", ("*",), broken), found) is None


def test_names_are_unique_for_a_role_and_sentences_are_there():
    names = [(hypothesis.name, hypothesis.where) for hypothesis in catalogue()]
    assert len(names) == len(set(names))
    assert all(hypothesis.sentence and hypothesis.where for hypothesis in catalogue())


def test_every_place_that_a_hypothesis_names_exists():
    from fnmatch import fnmatchcase

    points = session(None, "single-image")[0].declared
    roles = {point.role for point in points}
    for hypothesis in catalogue():
        for where in hypothesis.where:
            known = where in roles or any(fnmatchcase(point.name, where) for point in points)
            assert known, (hypothesis.name, where)


def test_only_the_first_points_are_looked_into():
    kept, evidence = session("gelu-tanh-merger", "single-image")
    good = next(row for row in rows(None, "single-image") if row.point == "visual.merger")
    bad = next(row for row in rows("gelu-tanh-merger", "single-image") if row.suggestions)
    several = [replace(bad, order=order, suggestions=()) for order in range(3)]
    case = kept.cases[0]
    found = with_suggestions(
        [*several, good], evidence, kept.declared, case, kept.settings.checkpoint
    )
    assert [bool(row.suggestions) for row in found] == [True, False, False, False]
    assert MOST == 3


def test_the_pictures_are_what_the_reference_makes_of_them():
    """So a filter is told from another by the filter alone."""
    found = failures("mean-std", "single-image")[0]
    right = picture_values(found, "BICUBIC")
    np.testing.assert_allclose(right, found.wrong.reference, rtol=0, atol=1e-6)


def test_looking_takes_little_time():
    found = failures("qkv-order", "single-image")[0]
    assert matches(found, seconds=0.0) == []
