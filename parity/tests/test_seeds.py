"""Seeds: other inputs in the same shapes, other weights with a massive channel, both repeatable."""

import hashlib
import json

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

from parity.core.cases import load_cases
from parity.core.errors import ParityError
from parity.seeds import RANDOM, TRAINED, seeded, weights_of
from parity.seeds_weights import MASSIVE, VALUE_BIAS, representable
from parity.session import Session
from parity.settings import Settings

SEED = 2


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    return seeded(Settings(), SEED, tmp_path_factory.mktemp("seed"))


@pytest.fixture(scope="module")
def weights(settings):
    return load_file(settings.checkpoint / "model.safetensors")


def hashes(folder):
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_seed_0_is_the_cases_as_they_are(tmp_path):
    assert seeded(Settings(), 0, tmp_path) == Settings()
    assert list(tmp_path.iterdir()) == []


def test_every_second_seed_has_random_weights(tmp_path):
    assert [weights_of(seed) for seed in range(5)] == [TRAINED, TRAINED, RANDOM, TRAINED, RANDOM]
    assert seeded(Settings(), 1, tmp_path).checkpoint == Settings().checkpoint


def test_a_seed_gives_the_same_files_and_another_seed_others(settings, tmp_path):
    folder = settings.cases_file.parent
    for seed, same in ((SEED, True), (SEED + 2, False)):
        again = seeded(Settings(), seed, tmp_path / str(seed)).cases_file.parent
        assert (hashes(again) == hashes(folder)) is same


def test_cases_keep_their_structure(settings):
    old, new = load_cases(Settings().cases_file), load_cases(settings.cases_file)
    assert list(old) == list(new)
    for name, case in old.items():
        seeded_case = new[name]
        assert (case.rows, case.modalities, case.decode_steps, case.max_pixels) == (
            seeded_case.rows, seeded_case.modalities, seeded_case.decode_steps,
            seeded_case.max_pixels,
        )  # fmt: skip
        assert case.messages != seeded_case.messages
        for one, other in zip(case.files, seeded_case.files, strict=True):
            with Image.open(one) as a, Image.open(other) as b:
                assert (a.size, a.mode) == (b.size, b.mode)
                assert np.std(np.asarray(b)) > 20, "a picture, not a plain colour"


def test_a_video_moves_a_little_from_frame_to_frame(settings):
    frames = load_cases(settings.cases_file)["odd-video"].files
    first, second = (np.asarray(Image.open(path), dtype=float) for path in frames[:2])
    other = np.asarray(Image.open(load_cases(settings.cases_file)["single-image"].files[0]))
    assert 0 < np.abs(first - second).mean() < np.abs(first - other[: len(first), :112]).mean()


def test_a_text_has_as_many_tokens_at_least(settings):
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(settings.checkpoint / "tokenizer.json"))
    old, new = (load_cases(path)["long-text"].prompts[0][0].text
                for path in (Settings().cases_file, settings.cases_file))  # fmt: skip
    counts = [len(tokenizer.encode(text).ids) for text in (old, new)]
    assert counts[0] <= counts[1] <= 1.3 * counts[0]


def test_both_sides_are_given_inputs_they_read_alike(settings):
    """The port's processor makes the tokens and patches of every seeded case."""
    from parity.adapters.mindspore_candidate import MindSporeCandidate

    candidate = MindSporeCandidate.__new__(MindSporeCandidate)
    candidate.checkpoint = settings.checkpoint
    for case in Session(settings).cases:
        inputs = candidate.preprocess(case)
        assert inputs["input_ids"].shape[0] == case.rows
        assert ("pixel_values" in inputs) == ("image" in case.modalities)


def test_weights_have_the_checkpoints_names_and_shapes(weights):
    source = Settings().checkpoint
    index = json.loads((source / "model.safetensors.index.json").read_text())["weight_map"]
    assert set(weights) == set(index)
    assert all(np.isfinite(weight).all() for weight in weights.values())


def test_weights_are_numbers_of_both_narrow_dtypes_near_what_was_drawn(weights):
    for weight in weights.values():
        assert (weight.view(np.uint32) & 0xFFFF == 0).all(), "bfloat16"
        assert (weight.astype(np.float16).astype(np.float32) == weight).all()
    assert np.mean(weights["lm_head.weight"] == 0) < 0.01
    drawn = np.random.default_rng(0).standard_normal(1000, dtype=np.float32)
    drawn = drawn[np.abs(drawn) > 1e-3]
    assert np.abs(representable(drawn) / drawn - 1).max() <= 2**-8
    assert representable(np.float32([1 + 2**-8 + 2**-20, -(1 + 2**-9)])).tolist() == [1 + 2**-7, -1]


def test_one_channel_of_the_stream_is_made_massive_and_the_norms_after_it_make_up_for_it(weights):
    assert weights["model.layers.0.self_attn.v_proj.bias"][0] == VALUE_BIAS
    rows = weights["model.layers.0.self_attn.o_proj.weight"]
    channel = int(np.argmax(np.abs(rows).max(axis=1)))
    assert rows[channel].sum() * VALUE_BIAS == pytest.approx(MASSIVE, rel=2**-8)
    before = weights["model.layers.0.input_layernorm.weight"]
    for name in ("model.layers.0.post_attention_layernorm", "model.layers.2.input_layernorm",
                 "model.norm"):  # fmt: skip
        after = weights[f"{name}.weight"]
        others = np.delete(after, channel)
        assert after[channel] * np.sqrt(512) == pytest.approx(1, rel=2**-8)
        assert 100 < np.median(others) < 1000
        assert others.min() > 50 > before.max()


@pytest.mark.parametrize("lost", ["config.json", "tokenizer.json"])
def test_a_checkpoint_that_lacks_something(tmp_path, lost):
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    for path in Settings().checkpoint.iterdir():
        if path.name != lost:
            (folder / path.name).symlink_to(path)
    with pytest.raises(ParityError, match=lost):
        seeded(Settings(checkpoint=folder), SEED, tmp_path / "seed")


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["fp32", "fp16", "bf16"])
def test_the_stream_is_massive_and_nothing_overflows_fp16(settings, dtype):
    """Measured on what the reference records."""
    session = Session(settings)
    case = next(case for case in session.cases if case.name == "text-only")
    bundle = session.references.open(case, dtype)
    for name, firings in bundle.points.items():
        largest = max(float(np.abs(bundle.tensor(f.value)).max()) for f in firings)
        assert np.isfinite(largest), name
        assert largest < 65504 / 4, name
        if name in ("language_model.layers.0", "language_model.layers.2"):
            assert 0.8 * MASSIVE < largest < 1.2 * MASSIVE
        if name.endswith(
            ("layers.1.self_attn", "layers.1.mlp", "layernorm", "language_model.norm")
        ):
            assert 0.1 < largest < 100, f"{name} matters to what follows"
