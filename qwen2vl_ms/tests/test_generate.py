"""Generation on the trained checkpoint against the reference's own ``generate``."""

from __future__ import annotations

import re
import signal
from typing import Any

import mindspore as ms
import numpy as np
import pytest
import torch
import transformers

from qwen2vl_ms import Qwen2VLError, Qwen2VLForConditionalGeneration, Qwen2VLProcessor
from qwen2vl_ms.generate import GenerationResult, StopReason, generate, generate_with_info
from qwen2vl_ms.generation_config import GenerationConfig
from qwen2vl_ms.generation_prompt import token_types
from qwen2vl_ms.streaming import TextStreamer
from qwen2vl_ms.tests import conversations, tiny
from qwen2vl_ms.tests.conversations import ANSWERS, CASES, CLIP, FIVE, FOLDER, NARROW, PAIR, TEXT

END, END_OF_TEXT = 756, 754  # <|im_end|>, <|endoftext|>
COUNT = 8


@pytest.fixture(scope="module")
def processor() -> Any:
    return Qwen2VLProcessor.from_pretrained(FOLDER)


@pytest.fixture(scope="module")
def model() -> Any:
    tiny.start()
    return Qwen2VLForConditionalGeneration.from_pretrained(FOLDER)


@pytest.fixture(scope="module")
def reference() -> Any:
    return transformers.Qwen2VLForConditionalGeneration.from_pretrained(
        FOLDER, dtype=torch.float32, attn_implementation="eager"
    ).eval()


def theirs(reference: Any, arrays: dict[str, Any], **settings: Any) -> list[list[int]]:
    settings = {"do_sample": False, "max_new_tokens": COUNT, **settings}
    tensors = {name: torch.from_numpy(np.asarray(value)) for name, value in arrays.items()}
    return reference.generate(**tensors, **settings).tolist()  # type: ignore[no-any-return]


def ours(model: Any, arrays: dict[str, Any], **settings: Any) -> GenerationResult:
    return generate_with_info(model, **arrays, **{"max_new_tokens": COUNT, **settings})


def ids(result: GenerationResult) -> list[list[int]]:
    return result.sequences.asnumpy().tolist()  # type: ignore[no-any-return]


@pytest.mark.parametrize("case", CASES)
def test_greedy(model: Any, reference: Any, processor: Any, case: str) -> None:
    arrays = conversations.inputs(processor, CASES[case])
    result = ours(model, arrays)
    assert ids(result) == theirs(reference, arrays)
    assert result.sequences.dtype == ms.int32
    assert set(result.stop_reasons) == {StopReason.END_TOKEN}


def test_other_pictures_give_another_answer(model: Any, reference: Any, processor: Any) -> None:
    """So that the comparison above would see a wrong picture."""
    arrays = conversations.inputs(processor, [FIVE])
    assert ids(ours(model, arrays | {"pixel_values": arrays["pixel_values"][::-1].copy()})) != (
        theirs(reference, arrays)
    )


def test_answers_are_right(model: Any, processor: Any) -> None:
    for row, answer in ANSWERS.items():
        result = ours(model, conversations.inputs(processor, [row]))
        assert processor.batch_decode(list(result.new_tokens), skip_special_tokens=True) == [answer]


def test_repetition_penalty(model: Any, reference: Any, processor: Any) -> None:
    """Padding does not count as having occurred, images and question do."""
    arrays = conversations.inputs(processor, [FIVE, TEXT])
    settings = {"repetition_penalty": 1.4, "eos_token_id": END}
    penalised = ids(ours(model, arrays, **settings))
    assert penalised == theirs(reference, arrays, **settings)
    assert penalised != ids(ours(model, arrays, eos_token_id=END))


def test_chunked_prefill(model: Any, processor: Any) -> None:
    """Chunks begin and end inside of images and padding; the last one is shorter."""
    arrays = conversations.inputs(processor, CASES["left-padded batch"])
    whole = ids(ours(model, arrays))
    assert arrays["input_ids"].shape[1] % 13
    for chunk_size in (13, 1000):
        assert ids(ours(model, arrays, chunk_size=chunk_size)) == whole


def test_a_batch_is_its_rows(model: Any, processor: Any) -> None:
    rows = CASES["left-padded batch"]
    together = ours(model, conversations.inputs(processor, rows))
    alone = [ours(model, conversations.inputs(processor, [row])) for row in rows]
    assert together.new_tokens == tuple(one.new_tokens[0] for one in alone)
    assert len({len(tokens) for tokens in together.new_tokens}) > 1
    length = max(map(len, together.new_tokens))
    for row, tokens in zip(ids(together), together.new_tokens, strict=True):
        assert row[-length:] == [*tokens, *[END_OF_TEXT] * (length - len(tokens))]


def test_two_generations_do_not_mix(model: Any, processor: Any) -> None:
    first, second = (conversations.inputs(processor, [row]) for row in (PAIR, CLIP))
    alone = ids(ours(model, first))
    other = ids(ours(model, second))
    assert ids(ours(model, first)) == alone
    assert ids(ours(model, second)) == other


def test_stop_tokens(model: Any, reference: Any, processor: Any) -> None:
    arrays = conversations.inputs(processor, [FIVE])
    tokens = ours(model, arrays).new_tokens[0]
    assert (len(tokens), tokens[-1]) == (6, END)
    stopped = ours(model, arrays, stop=tokens[2])
    assert stopped.new_tokens[0] == tokens[:3]
    assert stopped.stop_reasons == (StopReason.END_TOKEN,)
    assert ours(model, arrays, stop=[tokens[3], 5]).new_tokens[0] == tokens[:4]
    several = [tokens[1], END]
    assert ids(ours(model, arrays, eos_token_id=several)) == theirs(
        reference, arrays, eos_token_id=several
    )
    unending = ours(model, arrays, eos_token_id=[])
    assert (len(unending.new_tokens[0]), unending.stop_reasons) == (COUNT, (StopReason.LENGTH,))


def test_lengths(model: Any, processor: Any) -> None:
    arrays = conversations.inputs(processor, [FIVE])
    prompt = arrays["input_ids"].shape[1]
    assert ours(model, arrays, max_new_tokens=2).sequences.shape == (1, prompt + 2)
    result = generate_with_info(model, **arrays, max_length=prompt + 3, cache_length=prompt + 9)
    assert result.sequences.shape == (1, prompt + 3)
    assert result.prefill_seconds > 0
    assert len(result.step_seconds) == 2
    assert min(result.step_seconds) > 0


def test_sampling_is_reproducible(model: Any, processor: Any) -> None:
    arrays = conversations.inputs(processor, [PAIR, FIVE, FIVE])
    hot = {"do_sample": True, "temperature": 3.0, "eos_token_id": [], "max_new_tokens": 4}
    first = ours(model, arrays, seed=3, **hot)
    assert ids(ours(model, arrays, seed=3, **hot)) == ids(first)
    assert ids(ours(model, arrays, seed=4, **hot)) != ids(first)
    assert first.seeds == (3, 4, 5)
    assert first.new_tokens[1] != first.new_tokens[2]
    fresh = ours(model, arrays, **hot)
    assert ids(ours(model, arrays, seed=fresh.seeds, **hot)) == ids(fresh)
    alone = ours(model, conversations.inputs(processor, [FIVE]), seed=5, **hot)
    assert alone.new_tokens[0] == first.new_tokens[2]


def test_sampling_among_one_token_is_greedy(model: Any, processor: Any) -> None:
    arrays = conversations.inputs(processor, [FIVE])
    greedy = ids(ours(model, arrays))
    assert ids(ours(model, arrays, do_sample=True, top_k=1)) == greedy
    assert ids(ours(model, arrays, do_sample=True, top_p=0.0)) == greedy
    assert ids(ours(model, arrays, do_sample=True, temperature=1e-3)) == greedy


def test_the_checkpoints_settings_are_used(model: Any, processor: Any) -> None:
    arrays = conversations.inputs(processor, [FIVE])
    config = GenerationConfig(max_new_tokens=3, eos_token_id=(END,))
    assert len(generate_with_info(model, **arrays, generation_config=config).new_tokens[0]) == 3
    given = generate_with_info(model, **arrays, generation_config=config, max_new_tokens=2)
    assert len(given.new_tokens[0]) == 2
    assert model.generation_config == GenerationConfig.from_pretrained(FOLDER)


def test_streamed_text_is_the_answer(
    model: Any, processor: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    arrays = conversations.inputs(processor, [FIVE])
    pieces: list[str] = []
    streamer = TextStreamer(processor, pieces.append)
    for _ in range(2):
        pieces.clear()
        result = ours(model, arrays, streamer=streamer)
        decoded = processor.batch_decode(list(result.new_tokens), skip_special_tokens=True)
        assert ["".join(pieces)] == decoded
        assert len(pieces) == 5
    tokenizer = transformers.AutoTokenizer.from_pretrained(FOLDER)
    huggingface = transformers.TextStreamer(tokenizer, skip_prompt=True, skip_special_tokens=True)
    ours(model, arrays, streamer=huggingface)
    assert [capsys.readouterr().out.removesuffix("\n")] == decoded


def test_a_function_sees_every_row_of_every_step(model: Any, processor: Any) -> None:
    steps: list[list[list[int]]] = []
    arrays = conversations.inputs(processor, [FIVE, TEXT])
    result = ours(model, arrays, streamer=steps.append)
    rows = [tuple(token for step in steps for token in step[row]) for row in range(2)]
    assert tuple(rows) == result.new_tokens
    assert steps[-1] == [[END], []]


def test_an_interrupt_leaves_nothing_behind(model: Any, processor: Any) -> None:
    arrays = conversations.inputs(processor, [FIVE])
    whole = ids(ours(model, arrays))
    pieces: list[str] = []
    streamer = TextStreamer(processor, lambda piece: (pieces.append(piece), interrupt()))

    def interrupt() -> None:
        if len(pieces) == 2:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        ours(model, arrays, streamer=streamer)
    assert len(pieces) == 2
    assert ids(ours(model, arrays, streamer=streamer)) == whole
    assert "".join(pieces[2:]) == processor.batch_decode(
        [whole[0][arrays["input_ids"].shape[1] :]], skip_special_tokens=True
    )[0]  # fmt: skip


def test_token_types_are_found_where_a_processor_gives_none(model: Any, processor: Any) -> None:
    arrays = conversations.inputs(processor, CASES["image and video"])
    types = arrays.pop("mm_token_type_ids")
    config = model.config
    found = token_types(arrays["input_ids"], config.image_token_id, config.video_token_id)
    np.testing.assert_array_equal(found, types)
    assert set(np.unique(types)) == {0, 1, 2}
    assert ids(ours(model, arrays)) == ids(ours(model, arrays | {"mm_token_type_ids": types}))


def test_tensors_and_positional_prompts(model: Any, processor: Any) -> None:
    arrays = conversations.inputs(processor, [NARROW])
    tensors = {name: ms.Tensor(value) for name, value in arrays.items()}
    for name, value in tensors.items():
        if value.dtype == ms.int64:
            tensors[name] = value.to(ms.int32)
    sequences = generate(model, tensors.pop("input_ids"), **tensors, max_new_tokens=COUNT)
    assert sequences.asnumpy().tolist() == ids(ours(model, arrays))


WRONG: dict[str, dict[str, Any]] = {
    "unknown generation setting 'max_new_token' (3)": {"max_new_token": 3},
    "num_beams is 2, which is not implemented": {"num_beams": 2},
    "stop holds 9999: it has to be token ids, whole numbers from 0 to 767": {"stop": 9999},
    "stop holds 'x'": {"stop": ["x"]},
    "eos_token_id holds 768": {"eos_token_id": 768},
    "seed is -1": {"seed": -1, "do_sample": True},
    "cache_length is 40: a prompt of 41 tokens and 8 new ones need 48": {"cache_length": 40},
    "streamer is a int": {"streamer": 1},
    "input_ids has shape (3,): it has to be [batch, tokens]": {"input_ids": np.arange(3)},
}


@pytest.mark.parametrize("message", WRONG)
def test_refused(model: Any, processor: Any, message: str) -> None:
    arrays = conversations.inputs(processor, [FIVE])
    with pytest.raises(Qwen2VLError, match=re.escape(message)):
        ours(model, **{"arrays": arrays | WRONG[message]})


def test_padding_in_a_wrong_place(model: Any, processor: Any) -> None:
    arrays = conversations.inputs(processor, CASES["left-padded text"])
    mask = arrays["attention_mask"]
    with pytest.raises(Qwen2VLError, match=r"row 0 of attention_mask ends with padding.*left"):
        ours(model, arrays | {"attention_mask": mask[:, ::-1]})
    with pytest.raises(Qwen2VLError, match="attention_mask is missing, and row 0 begins"):
        ours(model, {"input_ids": arrays["input_ids"]})


def test_a_prompt_longer_than_the_cache(model: Any, processor: Any) -> None:
    arrays = conversations.inputs(processor, [FIVE])
    with pytest.raises(Qwen2VLError, match=r"41.*40|40.*41"):
        model(**arrays, cache=model.make_cache(1, 40))


def test_logits_that_are_not_finite(model: Any, processor: Any) -> None:
    arrays = conversations.inputs(processor, [FIVE])
    broken = arrays | {"pixel_values": np.full_like(arrays["pixel_values"], np.nan)}
    with pytest.raises(Qwen2VLError, match="the logits of row 0 after 0 new tokens are not finite"):
        ours(model, broken)
