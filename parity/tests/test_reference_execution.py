"""How the reference is called: a second time, with a prompt in parts, with a marked mask."""

from functools import cache

import numpy as np
import pytest

from parity.adapters.torch_inputs import reference_inputs
from parity.core.errors import ParityError
from parity.core.numerics import precision
from parity.core.store import BundleWriter
from parity.session import Session
from parity.settings import Settings

CASES = ("second-prompt", "chunked-prefill", "marked-mask", "text-only")


@cache
def session():
    return Session(Settings(cases=CASES))


def case(name):
    return next(case for case in session().cases if case.name == name)


@cache
def reference():
    from parity.adapters.torch_reference import TorchReference

    return TorchReference(session().settings.checkpoint, precision("fp32"))


def inputs(call):
    return reference_inputs(call, session().settings.checkpoint)


def recorded(calls, **options):
    """What is recorded of ``calls``; only whole blocks, which is enough here."""
    points = [point for point in session().declared if point.level == "block"]
    writer = BundleWriter({})
    reference().record([inputs(call) for call in calls], points, writer, blocks=False, **options)
    return writer


def test_a_second_call_is_what_it_would_be_on_a_model_of_its_own():
    """The reference works out its rope deltas anew, so that nothing has to be reset between."""
    first, second = case("second-prompt").calls
    both = recorded([first, second], steps=1)
    alone = [recorded([call], steps=1) for call in (first, second)]
    assert both.tokens == [writer.tokens[0] for writer in alone]
    for name, firings in both.points.items():
        assert firings == [f for writer in alone for f in writer.points[name]], name
    deltas = [int(both.tensor(f.value).item()) for f in both.points["rope_deltas"]]
    assert deltas[0] != deltas[1], "deltas that are alike cannot show a stale one"


def generated(name, size):
    """Tokens, and what the decoder's norm gives at each forward, of ``generate`` itself."""
    import torch

    seen, model, call = [], reference().model, case(name)
    norm = model.model.language_model.norm
    handle = norm.register_forward_hook(lambda module, args, output: seen.append(output.numpy()))
    tensors = {key: torch.from_numpy(value) for key, value in inputs(call).items()}
    count = call.decode_steps + 1
    try:
        with torch.no_grad():
            output = model.generate(
                **tensors, do_sample=False, max_new_tokens=count, min_new_tokens=count,
                prefill_chunk_size=size,
            )  # fmt: skip
    finally:
        handle.remove()
    return output[:, -count:-1].tolist(), seen


def test_a_prompt_in_parts_is_what_generate_makes_of_it():
    """Embedding at once, and one head at the end, change no bit of what the decoder computes."""
    from parity.subjects.qwen2vl import part_length

    name = "chunked-prefill"
    length = inputs(case(name))["input_ids"].shape[1]
    writer = recorded([case(name)], steps=case(name).decode_steps, chunks=case(name).chunks)
    tokens, hidden = generated(name, part_length(length, case(name).chunks))
    assert writer.tokens == [tokens]
    found = [writer.tensor(f.value) for f in writer.points["language_model.norm"]]
    for own, theirs in zip(found, hidden, strict=True):
        assert np.array_equal(own, theirs)
    assert [hidden.shape[1] for hidden in found] == [14, 14, length - 28, 1, 1]


def test_the_parts_cut_the_image():
    """Otherwise positions that start anew with each part could pass."""
    from parity.subjects.qwen2vl import part_length

    kinds = inputs(case("chunked-prefill"))["mm_token_type_ids"][0]
    size = part_length(len(kinds), case("chunked-prefill").chunks)
    cuts = range(size, len(kinds), size)
    assert any(kinds[cut - 1] == kinds[cut] == 1 for cut in cuts)


def test_the_truth_of_a_prompt_in_parts_is_that_of_the_whole():
    """In float64 the parts differ from the whole by float64's rounding only."""
    whole, parts = (recorded([case("chunked-prefill")], chunks=n) for n in (1, 3))
    (one,), (other,) = whole.points["lm_head"], parts.points["lm_head"]
    truths = [
        w.tensor(f.value).astype(np.float64) + w.tensor(f.end_to_end)
        for w, f in ((whole, one), (parts, other))
    ]
    size = np.abs(truths[0]).max()
    assert np.abs(truths[0] - truths[1]).max() < 1e-12 * size
    assert np.abs(whole.tensor(one.value) - truths[0]).max() > 1e-9 * size


def test_a_text_in_parts():
    writer = recorded([case("text-only")], steps=1, chunks=2)
    assert "rope_deltas" not in writer.points
    positions = [writer.tensor(f.value) for f in writer.points["language_model.position_ids"]]
    joined = np.concatenate(positions, axis=-1)
    assert np.array_equal(joined, np.broadcast_to(np.arange(joined.shape[-1]), joined.shape))


def test_a_prompt_that_is_too_short_for_its_parts_is_refused():
    with pytest.raises(ParityError, match="cannot be fed in 30 parts"):
        recorded([case("text-only")], chunks=30)


def test_a_mask_is_marked_with_the_number_of_the_case():
    call = case("marked-mask")
    given = inputs(call)["attention_mask"]
    assert set(given.ravel().tolist()) == {2}
    assert given.dtype == np.int64


def test_the_reference_takes_any_mark_for_a_real_token():
    from dataclasses import replace

    marked = case("marked-mask")
    two, one = (recorded([call]) for call in (marked, replace(marked, mask_value=1)))
    for name in ("lm_head", "language_model.position_ids", "language_model.attention_mask"):
        assert two.points[name] == one.points[name]
