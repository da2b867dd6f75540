"""The tokenizer against transformers' own."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from qwen2vl_ms import Qwen2VLError
from qwen2vl_ms.padding import pad_rows
from qwen2vl_ms.tests import tiny_checkpoint
from qwen2vl_ms.tests.tiny_checkpoint import CORPUS, SPECIAL_TOKENS, tokenizer_json
from qwen2vl_ms.tokenization import Qwen2Tokenizer

FIXED = settings(max_examples=200, deadline=None, derandomize=True, database=None)

# Words, special tokens whole and broken, characters of every kind, combining marks, white space.
PIECES = st.one_of(
    st.sampled_from(" ".join(CORPUS[:3]).split()),
    st.sampled_from(SPECIAL_TOKENS),
    st.sampled_from(["<|im_", "start|>", "<|", "|>", "\n\n", "  ", " \n", "\r\n", "\t", "'LL"]),
    st.sampled_from(["e\u0301", "\u1100\u1161", "\u212b", "ﬁ", "\u200d", "\ufeff", "\x00"]),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
)
TEXTS = st.lists(PIECES, max_size=12).map("".join)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tiny_checkpoint.write(tmp_path_factory.mktemp("tiny") / "checkpoint")


@pytest.fixture(scope="module")
def pair(folder):
    return Qwen2Tokenizer.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)


@FIXED
@given(text=TEXTS)
def test_any_text_becomes_the_references_ids_and_back(pair, text):
    ours, theirs = pair
    ids = theirs(text)["input_ids"]
    assert ours.encode([text]) == [ids]
    for skip in (False, True):
        expected = theirs.batch_decode([ids], skip_special_tokens=skip)
        assert ours.batch_decode([ids], skip_special_tokens=skip) == expected


@FIXED
@given(texts=st.lists(TEXTS, min_size=1, max_size=4), side=st.sampled_from(["left", "right", None]))
def test_any_batch_is_padded_as_by_the_reference(pair, texts, side):
    ours, theirs = pair
    expected = theirs(texts, padding=True, padding_side=side)
    padded = ours(texts, padding=True, padding_side=side)
    assert padded.input_ids.tolist() == expected["input_ids"]
    assert padded.attention_mask.tolist() == expected["attention_mask"]
    assert padded.input_ids.dtype == padded.attention_mask.dtype == np.int64


@FIXED
@given(ids=st.lists(st.integers(0, 450), max_size=20), skip=st.booleans())
def test_any_ids_are_decoded_as_by_the_reference(pair, ids, skip):
    """Broken characters and ids beyond the vocabulary too."""
    ours, theirs = pair
    assert ours.batch_decode([ids], skip) == theirs.batch_decode([ids], skip_special_tokens=skip)


def test_forms_of_ids_that_decode(pair):
    ours, _ = pair
    ids = ours.encode(["Which digits?"])[0]
    for form in (ids, [ids], np.array(ids), np.array([ids]), [np.array(ids)], tuple(ids)):
        assert ours.batch_decode(form) == ["Which digits?"]
    assert ours.batch_decode([]) == []
    assert ours.batch_decode([[], ids]) == ["", "Which digits?"]


def test_spaces_are_left_alone(pair):
    ours, theirs = pair
    ids = ours.encode(["Sure , I 'm here ."])
    for clean in (None, True, False):
        expected = theirs.batch_decode(ids, clean_up_tokenization_spaces=clean)
        assert ours.batch_decode(ids, clean_up_tokenization_spaces=clean) == expected


CONFIGS = {
    "no class": {"tokenizer_class": ...},
    "the fast class": {"tokenizer_class": "Qwen2TokenizerFast"},
    "the plain class": {"tokenizer_class": "PreTrainedTokenizerFast"},
    "transformers 5's plain class": {"tokenizer_class": "TokenizersBackend"},
    "defaults": {"padding_side": ..., "pad_token": ..., "eos_token": ..., "unk_token": ...},
    "right": {"padding_side": "right"},
    "a prefix space": {"add_prefix_space": True},
    "split special tokens": {"split_special_tokens": True},
    "named tokens": {"image_token": "<|image_pad|>"},
    "a token with its flags": {"eos_token": {"__type": "AddedToken", "content": "<|im_end|>"}},
    "a dict of tokens": {
        "additional_special_tokens": ...,
        "extra_special_tokens": {"video_token": "<|video_pad|>"},
    },
    "a list of tokens": {"additional_special_tokens": ..., "extra_special_tokens": ["<|im_end|>"]},
}
FILES = {
    "as trained": {},
    "another pipeline": {
        "normalizer": None,
        "pre_tokenizer": {
            "type": "ByteLevel",
            "add_prefix_space": True,
            "trim_offsets": True,
            "use_regex": True,
        },
    },
    "padding and truncation": {
        "truncation": {
            "direction": "Right",
            "max_length": 3,
            "strategy": "LongestFirst",
            "stride": 0,
        },
        "padding": {
            "strategy": "BatchLongest",
            "direction": "Left",
            "pad_to_multiple_of": 8,
            "pad_id": 0,
            "pad_type_id": 0,
            "pad_token": "!",
        },
    },
}


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("file", FILES)
def test_any_checkpoint_means_what_it_means_to_the_reference(tmp_path, config, file):
    folder = tiny_checkpoint.write(tmp_path / "c", tokenizer_json(**FILES[file]), **CONFIGS[config])
    ours, theirs = Qwen2Tokenizer.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    texts = [*CORPUS[:3], "".join(SPECIAL_TOKENS), " a<|im_end|> b", ""]
    assert ours.encode(texts) == theirs(texts)["input_ids"]
    assert ours.padding_side == theirs.padding_side
    assert ours.special_tokens == theirs.special_tokens_map
    ids = theirs(texts)["input_ids"]
    for skip in (False, True):
        expected = theirs.batch_decode(ids, skip_special_tokens=skip)
        assert ours.batch_decode(ids, skip_special_tokens=skip) == expected


def test_a_tokenizer_saved_by_the_reference_loads(folder, tmp_path, pair):
    AutoTokenizer.from_pretrained(folder).save_pretrained(tmp_path)
    saved = Qwen2Tokenizer.from_pretrained(tmp_path)
    assert saved.encode(CORPUS) == pair[0].encode(CORPUS)
    assert saved.special_tokens == pair[0].special_tokens


def test_the_older_file_of_special_tokens_is_read(tmp_path):
    folder = tiny_checkpoint.write(tmp_path / "c", pad_token=..., eos_token=...)
    tokens = {"pad_token": {"content": "<|im_start|>"}, "eos_token": "<|im_end|>"}
    (folder / "special_tokens_map.json").write_text(json.dumps(tokens))
    ours, theirs = Qwen2Tokenizer.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    assert ours.special_tokens == theirs.special_tokens_map
    assert ours.special_tokens["pad_token"] == "<|im_start|>"


def test_padding_to_a_length():
    rows = pad_rows([[5, 6], [7]], 9, "max_length", "left", 3)
    assert rows.input_ids.tolist() == [[9, 5, 6], [9, 9, 7]]
    assert rows.attention_mask.tolist() == [[0, 1, 1], [0, 0, 1]]


def test_rows_of_one_length_need_no_padding():
    assert pad_rows([[5], [7]], None, False).input_ids.tolist() == [[5], [7]]
    assert pad_rows([[]], None, False).input_ids.shape == (1, 0)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (([[1], [2, 3]], 9, False), "1 to 2 tokens.*padding=True"),
        (([[1], [2, 3]], None, True), "no token to pad with: set pad_token"),
        (([[1]], 9, "shortest"), "padding is 'shortest': use True"),
        (([[1]], 9, True, "middle"), "padding_side is 'middle'"),
        (([[1]], 9, "max_length"), "needs max_length"),
        (([[1], [2, 3]], 9, "max_length", "left", 1), "text 1 has 2 tokens, over max_length 1"),
    ],
)
def test_rows_that_do_not_fit_are_refused(arguments, words):
    with pytest.raises(Qwen2VLError, match=words):
        pad_rows(*arguments)


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        ([3], "text 0 is a int: give a string"),
        (["a", None], "text 1 is a NoneType"),
        ({"a": 1}, "text is a dict: give a text or a list"),
        (["a\ud800b"], "text 0 has half of a surrogate pair at character 1"),
    ],
)
def test_what_is_no_text_is_refused(pair, texts, words):
    with pytest.raises(Qwen2VLError, match=words):
        pair[0](texts)


@pytest.mark.parametrize("ids", [[-1], ["a"], [2**32], [1.5], [None], 3, "ab"])
def test_what_is_no_id_is_refused(pair, ids):
    with pytest.raises(Qwen2VLError, match=r"cannot decode .*(from 0 up|lists of ids)"):
        pair[0].batch_decode(ids)


def test_a_missing_token_is_named(pair):
    with pytest.raises(Qwen2VLError, match=r"tokenizer\.json has no token '<\|audio\|>'"):
        pair[0].token_to_id("<|audio|>")


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"padding_side": "up"}, r"tokenizer_config\.json: padding_side is 'up'"),
        ({"tokenizer_class": "LlamaTokenizer"}, "tokenizer_class is 'LlamaTokenizer': this port"),
        ({"pad_token": "<|pad|>"}, r"special token '<\|pad\|>', which tokenizer\.json"),
        ({"eos_token": 3}, "names 3 as a special token"),
        ({"added_tokens_decoder": {"1": {"content": "x"}}}, "disagree about the added token.* 1:"),
    ],
)
def test_a_bad_config_is_named(tmp_path, config, words):
    folder = tiny_checkpoint.write(tmp_path / "c", **config)
    with pytest.raises(Qwen2VLError, match=words):
        Qwen2Tokenizer.from_pretrained(folder)


def test_files_that_disagree_are_refused(tmp_path):
    tokens = {str(t["id"]): t for t in tokenizer_json()["added_tokens"]}
    tokens = {index: {k: v for k, v in t.items() if k != "id"} for index, t in tokens.items()}
    folder = tiny_checkpoint.write(tmp_path / "c", added_tokens_decoder=tokens)
    Qwen2Tokenizer.from_pretrained(folder)
    last = max(tokens, key=int)
    tokens[last]["special"] = False
    tiny_checkpoint.write(folder, added_tokens_decoder=tokens)
    with pytest.raises(Qwen2VLError, match=f"disagree.*{last}: copy both"):
        Qwen2Tokenizer.from_pretrained(folder)
    del tokens[last]
    tiny_checkpoint.write(folder, added_tokens_decoder=tokens)
    with pytest.raises(Qwen2VLError, match=f"disagree.*{last}"):
        Qwen2Tokenizer.from_pretrained(folder)


def test_another_kind_of_model_is_refused(tmp_path):
    model = {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"}
    folder = tiny_checkpoint.write(tmp_path / "c", tokenizer_json(model=model, added_tokens=[]))
    with pytest.raises(Qwen2VLError, match="holds a WordLevel model: Qwen2's is BPE"):
        Qwen2Tokenizer.from_pretrained(folder)


def test_a_missing_or_damaged_file_is_named(tmp_path):
    folder = tiny_checkpoint.write(tmp_path / "c")
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(Qwen2VLError, match=r"tokenizer\.json is not a tokenizer .*copy it again"):
        Qwen2Tokenizer.from_pretrained(folder)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(Qwen2VLError, match=r"tokenizer\.json is missing: copy it"):
        Qwen2Tokenizer.from_pretrained(folder)
    with pytest.raises(Qwen2VLError, match="no checkpoint folder"):
        Qwen2Tokenizer.from_pretrained(tmp_path / "absent")
