"""Text while it grows: the pieces are the decoded answer, and never half a character."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models
from transformers.convert_slow_tokenizer import bytes_to_unicode

from qwen2vl_ms import Qwen2VLError
from qwen2vl_ms.streaming import BYTE_OF_CHARACTER, StepReporter, TextStreamer
from qwen2vl_ms.tests import tiny_checkpoint
from qwen2vl_ms.tokenization import Qwen2Tokenizer

FIXED = settings(max_examples=200, deadline=None, derandomize=True, database=None)
PROMPT = np.array([[5, 6, 7]])
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint.write(tmp_path_factory.mktemp("tiny") / "checkpoint")


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> Qwen2Tokenizer:
    return Qwen2Tokenizer.from_pretrained(folder)


def streamed(tokenizer: Any, ids: list[int], **options: Any) -> list[str]:
    """The pieces written while ``ids`` arrive one at a time after a prompt."""
    pieces: list[str] = []
    streamer = TextStreamer(tokenizer, pieces.append, **options)
    streamer.put(PROMPT)
    for token in ids:
        streamer.put(np.array([token]))
    streamer.end()
    return pieces


@FIXED
@given(text=TEXTS)
def test_any_text(tokenizer: Qwen2Tokenizer, text: str) -> None:
    ids = tokenizer.encode([text])[0]
    pieces = streamed(tokenizer, ids, skip_special_tokens=False)
    assert "".join(pieces) == tokenizer.batch_decode([ids])[0]
    assert all(pieces)
    replaced = text.count("\ufffd")
    assert sum(piece.count("\ufffd") for piece in pieces) == replaced


@FIXED
@given(data=st.data(), skip=st.booleans())
def test_any_tokens(tokenizer: Qwen2Tokenizer, data: st.DataObject, skip: bool) -> None:
    """Bytes in any order: what decoding shows as U+FFFD is left out, and nothing else."""
    ids = data.draw(st.lists(st.integers(0, tokenizer.backend.get_vocab_size() + 3), max_size=30))
    decoded = tokenizer.batch_decode([ids], skip_special_tokens=skip)[0]
    pieces = streamed(tokenizer, ids, skip_special_tokens=skip)
    assert "".join(pieces) == decoded.replace("\ufffd", "")


def test_a_character_of_several_tokens_comes_in_one_piece(tokenizer: Qwen2Tokenizer) -> None:
    ids = tokenizer.encode(["a🙂b"])[0]
    assert len(ids) == 4  # the character takes two
    assert streamed(tokenizer, ids) == ["a", "🙂", "b"]
    assert streamed(tokenizer, ids[:2]) == ["a"]  # cut off in the middle
    assert "\ufffd" in tokenizer.batch_decode([ids[:2]])[0]


def test_special_tokens_and_the_prompt_are_skipped(tokenizer: Qwen2Tokenizer) -> None:
    end = tokenizer.token_to_id("<|im_end|>")
    ids = [*tokenizer.encode(["hi"])[0], end]
    assert "".join(streamed(tokenizer, ids)) == "hi"
    assert "".join(streamed(tokenizer, ids, skip_special_tokens=False)) == "hi<|im_end|>"


def test_a_streamer_serves_one_answer_after_another(tokenizer: Qwen2Tokenizer) -> None:
    pieces: list[str] = []
    streamer = TextStreamer(tokenizer, pieces.append)
    cut, whole = tokenizer.encode(["🙂", "ok"])
    for ids in (cut[:1], whole):
        streamer.put(PROMPT)
        for token in ids:
            streamer.put(np.array([token]))
        streamer.end()
    assert "".join(pieces) == "ok"


def test_it_writes_to_standard_output(
    tokenizer: Qwen2Tokenizer, capsys: pytest.CaptureFixture[str]
) -> None:
    streamer = TextStreamer(tokenizer)
    streamer.put(PROMPT)
    for token in tokenizer.encode(["seen"])[0]:
        streamer.put(np.array([token]))
    assert capsys.readouterr().out == "seen"


def test_the_byte_table_is_the_references() -> None:
    theirs = bytes_to_unicode()
    assert {byte: character for character, byte in BYTE_OF_CHARACTER.items()} == theirs
    assert len(theirs) == 256


def test_refused(tokenizer: Qwen2Tokenizer) -> None:
    with pytest.raises(Qwen2VLError, match="writes one row and got 2"):
        TextStreamer(tokenizer).put(np.zeros((2, 3), np.int64))
    words = Tokenizer(models.WordLevel({"a": 0}, unk_token="a"))
    words.decoder = decoders.WordPiece()
    for wrong in (object(), Qwen2Tokenizer(words, {})):
        with pytest.raises(Qwen2VLError, match="is no byte-level tokenizer"):
            TextStreamer(wrong)
    with pytest.raises(Qwen2VLError, match="streamer is a int"):
        StepReporter(3)  # type: ignore[arg-type]


def test_a_function_gets_the_new_ids_of_each_row() -> None:
    seen: list[list[list[int]]] = []
    reporter = StepReporter(seen.append)
    reporter.prompt(PROMPT)
    reporter.step(np.array([4, 9]), [True, True])
    reporter.step(np.array([5, 0]), [True, False])
    reporter.end()
    assert seen == [[[4], [9]], [[5], []]]


def test_nobody_listens() -> None:
    reporter = StepReporter(None)
    reporter.prompt(PROMPT)
    reporter.step(np.array([4]), [True])
    reporter.end()
