"""What to try: the right mistake is named for planted ones, and nothing where none is known."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from parity.core.rows import PYNATIVE, Verdict
from parity.faults import catalogue as faults
from parity.hypotheses import catalogue, fit, matches, suggest, trials, tried
from parity.hypotheses.hypothesis import Alternative, Hypothesis
from parity.hypotheses.pixels import picture_values
from parity.hypotheses.rows import MOST, WRONG, failure, tried_on, with_suggestions
from parity.session import Session
from parity.settings import Settings

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
IMAGE = {
    "rescale-twice": "pixels-rescaled-twice",
    "channels-bgr": "pixels-bgr",
    "resize-transposed": "grid-hw-swapped",
    "patch-raster": "pixels-raster",
    "placeholders-unmerged": "tokens-per-patch",
    "vision-positions-swapped": "patches-hw-swapped",
    "vision-positions-raster": "patches-raster",
    "rope-1d": "positions-1d",
    "rope-after-tokens": "positions-after-tokens",
    "rope-text-row": "mask-of-time",
    "rope-vision-hw": "vision-rope-hw-swapped",
    "rope-theta-vision": "vision-rope-theta-text",
    "rope-section-order": "mrope-order-twh",
    "rope-section-doubled": "mrope-cut-after-doubling",
    "rope-theta-text": "mrope-theta-vision",
    "rope-table-interleaved": "mrope-paired",
    "patch-one-kernel": "patch-frame-0",
    "cast-conv": "operands-output-float16",
    "conv-hf32": "operands-hf32",
    "ln-eps": "layer-norm-eps-1e-05",
    "ln-not-loaded": "layer-norm-not-loaded",
    "quick-gelu-as-silu": "activation-silu",
    "quick-gelu-as-gelu": "activation-erf-gelu",
    "scale-padded-head": "scale-padded-128",
    "merger-norm-after": "merge-norm-joint",
    "merger-order": "merge-rows",
    "merger-columns": "merge-by-column",
    "scatter-order": "rows-permuted",
}
TEXT = {
    "rotate-interleaved": "rotate-interleaved",
    "scale-missing": "scale-missing",
    "gqa-tile": "gqa-regrouped",
    "mask-polarity": "mask-inverted",
    "weight-untransposed": "weight-transposed",
    "rms-plus-one": "rms-norm-weight-plus-1",
    "rms-mean-subtracted": "rms-norm-mean-subtracted",
    "mlp-gelu": "activation-erf-gelu",
    "mlp-gate-up-swapped": "gate-up-swapped",
    "matmul-hf32": "operands-hf32",
    "residual-of-norm": "residual-normed-attention",
    "head-tied": "head-tied",
}
OTHERS = {
    "alpha-composited": ("left-padded-batch", "alpha-on-white"),
    "padding-right": ("left-padded-batch", "tokens-padded-right"),
    "rope-left-pad": ("left-padded-batch", "positions-mask-ignored"),
    "mask-padding-visible": ("left-padded-batch", "mask-padding-seen"),
    "scatter-batch": ("left-padded-batch", "rows-repeated"),
    "scatter-transposed": ("left-padded-batch", "rows-permuted"),
    "patch-temporal": ("odd-video", "pixels-axes-fcrw-early"),
    "odd-frames": ("odd-video", "grid-frame-dropped"),
    "placeholders-video": ("odd-video", "tokens-image-for-video"),
    "rope-temporal-const": ("odd-video", "positions-constant-time"),
    "rope-temporal-seconds": ("odd-video", "positions-time-times-2"),
    "vit-cu-seqlens-frame": ("odd-video", "segments-per-video"),
    "vit-no-mask": ("two-images", "segments-one"),
    "vit-mask-additive": ("two-images", "segments-additive-others"),
    "resize-bounds": ("photograph", "grid-unbounded"),
    "resample-filter": ("photograph", "resample-bilinear"),
    "rope-deltas-stale": ("second-prompt", "positions-deltas-stale"),
    "rope-chunk-prefill": ("chunked-prefill", "positions-not-cut"),
    "rope-mask-eq-1": ("marked-mask", "positions-mask-ones"),
    "rope-cache-offset": ("decoding", "positions-cache-length"),
    "rope-deltas-lost": ("decoding", "positions-cache-length"),
    "rope-offset-twice": ("decoding", "positions-prompt-twice"),
    "kv-cache-dtype": ("decoding", "cache-bfloat16"),
    "cache-slot-overwritten": ("decoding", "cache-overwritten"),
    "cache-unwritten-visible": ("decoding", "cache-unwritten"),
}
SLOW = (
    {name: ("single-image", wanted) for name, wanted in IMAGE.items()}
    | {name: ("text-only", wanted) for name, wanted in TEXT.items()}
    | OTHERS
)
"""The same, tried on request."""
NARROW = {
    "rope-low-precision": ("long-text", "bf16", "mrope-angles-bfloat16"),
    "rope-inv-freq-rounded": ("single-image", "bf16", "vision-rope-frequencies-bfloat16"),
    "rope-vision-table-rounded": ("single-image", "bf16", "output-bfloat16"),
    "mask-fp16-inf": ("text-only", "fp16", "mask-reset"),
}
"""What shows in narrow dtypes only, with the dtype."""


@cache
def session(fault, case, dtype="fp32"):
    """A run, and what its rows were judged from."""
    seen = []
    settings = Settings(cases=(case,), dtypes=(dtype,), plant=fault)
    found = Session(settings, observe=seen.append)
    found.run(found.cases[0], dtype)
    return found, seen[0]


def rows(fault, case, dtype="fp32"):
    return session(fault, case, dtype)[0].results[case, dtype, PYNATIVE]


def failures(fault, case, dtype="fp32"):
    """The wrong points of a run."""
    kept, evidence = session(fault, case, dtype)
    points = {point.name: point for point in kept.declared}
    return [
        failure(row, evidence, points[row.point], kept.cases[0], kept.settings.checkpoint)
        for row in rows(fault, case, dtype)
        if row.verdict in WRONG
    ]


def check_named(fault, case, wanted, dtype="fp32"):
    first = failures(fault, case, dtype)[0]
    assert first.point.name == faults()[fault].point
    found = matches(first)
    assert found[0].hypothesis.name == wanted
    guilty = next(row for row in rows(fault, case, dtype) if row.verdict in WRONG)
    assert guilty.suggestions == suggest(trials(first))
    assert guilty.suggestions[0].startswith(found[0].hypothesis.sentence)
    assert found[0].error * 10 < found[0].without


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_named(fault):
    check_named(fault, *FAULTS[fault])


@pytest.mark.slow
@pytest.mark.parametrize("fault", SLOW)
def test_so_is_every_other_that_is_known(fault):
    check_named(fault, *SLOW[fault])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "wanted", "part"),
    [("attn-bias-dropped", "bias-dropped", "language_model.layers.2.self_attn.k_proj"),
     ("rms-eps", "rms-norm-eps-1e-05", "language_model.layers.1.input_layernorm"),
     ("mlp-gelu", "activation-erf-gelu", "")],
)  # fmt: skip
def test_a_block_that_is_looked_at_as_a_whole_is_explained_too(fault, wanted, part):
    seen = []
    settings = Settings(cases=("text-only",), plant=fault, level="block")
    found = Session(settings, observe=seen.append)
    guilty = next(row for row in found.run(found.cases[0], "fp32") if row.verdict in WRONG)
    point = next(point for point in found.points if point.name == guilty.point)
    best = matches(failure(guilty, seen[0], point, found.cases[0], settings.checkpoint))[0]
    assert best.hypothesis.name == wanted
    assert best.detail == (f"in {part}" if part else "")
    assert guilty.suggestions[0] == best.text


@pytest.mark.slow
@pytest.mark.parametrize("fault", NARROW)
def test_so_is_one_that_shows_in_narrow_dtypes_only(fault):
    case, dtype, wanted = NARROW[fault]
    check_named(fault, case, wanted, dtype)


def test_at_least_twenty_faults_are_named():
    assert len(FAULTS | SLOW) >= 20
    assert set(FAULTS | SLOW | NARROW) <= set(faults())


def test_nothing_is_suggested_for_a_faithful_port():
    for row in rows(None, "single-image"):
        assert row.verdict is Verdict.PASS
        assert row.suggestions == ()


def wrong_value(change, point="language_model.layers.1.mlp.down_proj", dtype="fp32"):
    """The failure of a faithful run, one of whose values was changed by hand."""
    kept, evidence = session(None, "text-only", dtype)
    found = next(one for one in kept.declared if one.name == point)
    tap = evidence.forced.taps[point][0]
    changed = replace(tap, value=np.asarray(change(tap.value.copy()), tap.value.dtype))
    taps = evidence.forced.taps | {point: [changed]}
    evidence = replace(evidence, forced=replace(evidence.forced, taps=taps))
    row = next(row for row in rows(None, "text-only", dtype) if row.point == point)
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
    assert suggest(trials(unknown)) == ()


def test_a_value_of_a_narrow_dtype_is_not_called_rounded_to_it():
    """Right values are, so that it explains nothing of the few that are wrong."""
    unknown = wrong_value(one_wrong, dtype="bf16")
    assert unknown.wrong is not None
    assert suggest(trials(unknown)) == ()


def test_a_value_that_is_rounded_is():
    halves = wrong_value(lambda x: x.astype(np.float16))
    assert matches(halves)[0].hypothesis.name == "output-float16"


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
    given = [*several, good]
    looked = tried_on(given, evidence, kept.declared, case, kept.settings.checkpoint)
    found = with_suggestions(given, looked)
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
