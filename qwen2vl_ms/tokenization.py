"""Texts to token ids and back, from a checkpoint's ``tokenizer.json``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers, pre_tokenizers

from qwen2vl_ms.errors import Qwen2VLError
from qwen2vl_ms.padding import PaddedRows, pad_rows
from qwen2vl_ms.preprocessor_config import existing_folder, read_json_object

TOKENIZER_FILE = "tokenizer.json"
CONFIG_FILE = "tokenizer_config.json"
SPECIAL_TOKENS_FILE = "special_tokens_map.json"

# How texts are cut before byte pairs are merged (Qwen2Tokenizer, transformers 5.23).
SPLIT_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
END_OF_TEXT = "<|endoftext|>"
QWEN2_CLASSES = frozenset({"Qwen2Tokenizer", "Qwen2TokenizerFast"})
PLAIN_CLASSES = frozenset({"PreTrainedTokenizerFast", "TokenizersBackend"})
ADDED_TOKEN_FLAGS = ("special", "lstrip", "rstrip", "normalized", "single_word")


@dataclass(frozen=True)
class Qwen2Tokenizer:
    """A byte-level BPE tokenizer.

    Mirrors ``Qwen2Tokenizer`` as ``AutoTokenizer`` loads it (transformers 5.23).
    """

    backend: Tokenizer
    special_tokens: Mapping[str, str]
    """Special tokens by role, as ``pad_token``; what chat templates get as variables."""
    padding_side: str = "right"

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> Qwen2Tokenizer:
        """Load ``tokenizer.json`` and ``tokenizer_config.json`` of a checkpoint folder.

        Raises:
            Qwen2VLError: a file is missing or damaged, they contradict each other, or they
                belong to another kind of tokenizer.
        """
        folder = existing_folder(folder)
        config = _read_config(folder)
        backend = _read_backend(folder / TOKENIZER_FILE)
        padding = backend.padding or {}
        side = config.get("padding_side", padding.get("direction", "right"))
        if side not in ("left", "right"):
            raise Qwen2VLError(
                f"{folder / CONFIG_FILE}: padding_side is {side!r}: use 'left' or 'right'"
            )
        try:
            _configure(backend, config)
            special_tokens = _special_tokens(backend, config)
        except Qwen2VLError as error:
            raise Qwen2VLError(f"{folder}: {error}") from None
        return cls(backend, special_tokens, side)

    def __call__(
        self,
        texts: str | Sequence[str],
        padding: bool | str = False,
        padding_side: str | None = None,
        max_length: int | None = None,
    ) -> PaddedRows:
        """Tokenize a batch of texts into arrays.

        Args:
            texts: One text or a list of them.
            padding: ``True`` or ``"longest"`` pads to the longest row, ``"max_length"`` to
                ``max_length``; without padding all rows have to be of one length.
            padding_side: Instead of the checkpoint's ``left`` or ``right``.
            max_length: Length of the rows with ``padding="max_length"``.

        Returns:
            ``input_ids`` and ``attention_mask``, int64 [B, S].

        Raises:
            Qwen2VLError: not texts, or rows that do not fit each other or ``max_length``.
        """
        rows = self.encode([texts] if isinstance(texts, str) else texts)
        side = self.padding_side if padding_side is None else padding_side
        return pad_rows(rows, self._pad_id, padding, side, max_length)

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """The token ids of each text; an empty text has none.

        Raises:
            Qwen2VLError: something is not a text.
        """
        for index, text in enumerate(_listed(texts)):
            _require_text(index, text)
        return [encoding.ids for encoding in self.backend.encode_batch(list(texts))]

    def batch_decode(
        self,
        sequences: Any,
        skip_special_tokens: bool = False,
        clean_up_tokenization_spaces: bool | None = None,
    ) -> list[str]:
        """Texts from token ids.

        Args:
            sequences: Ids [B, S], as an array, a MindSpore tensor, or a list of rows of any
                lengths, which may be those too; one row is a batch of 1.
            skip_special_tokens: Leave out special tokens.
            clean_up_tokenization_spaces: Changes nothing, as in the reference: spaces belong to
                the tokens of a byte-level tokenizer.

        Raises:
            Qwen2VLError: something is not an id. Ids beyond the vocabulary are left out.
        """
        del clean_up_tokenization_spaces
        rows = _as_list(sequences)
        if not isinstance(rows, list):
            raise Qwen2VLError(f"cannot decode a {type(sequences).__name__}: give lists of ids")
        if rows and not any(isinstance(row, list) for row in rows):
            rows = [rows]
        return [self._decode(row, skip_special_tokens) for row in rows]

    def decode(
        self,
        ids: Any,
        skip_special_tokens: bool = False,
        clean_up_tokenization_spaces: bool | None = None,
    ) -> str:
        """One text from the ids of one row; arguments and errors as `batch_decode`'s.

        Raises:
            Qwen2VLError: several rows, or something that is not an id.
        """
        row = _as_list(ids)
        row = [row] if isinstance(row, int) else row
        texts = self.batch_decode(row, skip_special_tokens, clean_up_tokenization_spaces)
        if len(texts) > 1:
            raise Qwen2VLError(f"decode takes one row, not {len(texts)}: use batch_decode")
        return texts[0] if texts else ""

    def token_to_id(self, token: str) -> int:
        """The id of a token.

        Raises:
            Qwen2VLError: the vocabulary has no such token.
        """
        found = self.backend.token_to_id(token)
        if found is None:
            raise Qwen2VLError(
                f"{TOKENIZER_FILE} has no token {token!r}: use the tokenizer of a Qwen2-VL "
                "checkpoint"
            )
        return int(found)

    @property
    def _pad_id(self) -> int | None:
        pad_token = self.special_tokens.get("pad_token")
        return None if pad_token is None else self.token_to_id(pad_token)

    def _decode(self, row: Any, skip_special_tokens: bool) -> str:
        ids = row if isinstance(row, list) else [row]
        for token in ids:
            is_number = isinstance(token, int) and not isinstance(token, bool)
            if not is_number or not 0 <= token < 2**32:
                raise Qwen2VLError(f"cannot decode {token!r}: token ids are integers from 0 up")
        text: str = self.backend.decode(ids, skip_special_tokens=skip_special_tokens)
        return text


def _as_list(ids: Any) -> Any:
    """Arrays, tensors and NumPy's numbers as lists and numbers of Python, at any depth."""
    if hasattr(ids, "asnumpy"):  # a MindSpore tensor, which is not imported for this
        ids = ids.asnumpy()
    if isinstance(ids, (np.ndarray, np.generic)):
        return ids.tolist()
    return [_as_list(item) for item in ids] if isinstance(ids, (list, tuple)) else ids


def _listed(texts: Any) -> Sequence[Any]:
    if not isinstance(texts, (list, tuple)):
        raise Qwen2VLError(f"text is a {type(texts).__name__}: give a text or a list of texts")
    return texts


def _require_text(index: int, text: Any) -> None:
    if not isinstance(text, str):
        raise Qwen2VLError(f"text {index} is a {type(text).__name__}: give a string")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise Qwen2VLError(
            f"text {index} has half of a surrogate pair at character {error.start}, which is no "
            "character: decode it properly, or replace it"
        ) from None


def _read_config(folder: Path) -> dict[str, Any]:
    """``tokenizer_config.json``, with special tokens from the older file beside it."""
    config = read_json_object(folder / CONFIG_FILE) if (folder / CONFIG_FILE).is_file() else {}
    legacy = folder / SPECIAL_TOKENS_FILE
    if "added_tokens_decoder" not in config and legacy.is_file():
        config |= read_json_object(legacy)
    return config


def _read_backend(path: Path) -> Tokenizer:
    if not path.is_file():
        raise Qwen2VLError(
            f"{path} is missing: copy it from the original checkpoint (vocab.json and merges.txt "
            "alone are not read)"
        )
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises Exception itself
        raise Qwen2VLError(f"{path} is not a tokenizer ({error}): copy it again") from None


def _configure(backend: Tokenizer, config: Mapping[str, Any]) -> None:
    """Set the backend up as the reference does."""
    name = config.get("tokenizer_class") or "Qwen2Tokenizer"
    if not isinstance(name, str):
        raise Qwen2VLError(f"tokenizer_class is {name!r}: it has to be a text")
    if name in QWEN2_CLASSES:
        use_qwen2_pipeline(backend, bool(config.get("add_prefix_space")))
    elif name not in PLAIN_CLASSES:
        raise Qwen2VLError(
            f"tokenizer_class is {name!r}: this port loads {', '.join(sorted(QWEN2_CLASSES))}, or "
            f"{' or '.join(sorted(PLAIN_CLASSES))} for a {TOKENIZER_FILE} taken as it is"
        )
    backend.no_padding()
    backend.no_truncation()
    backend.encode_special_tokens = bool(config.get("split_special_tokens"))
    _check_added_tokens(backend, config.get("added_tokens_decoder") or {})


def use_qwen2_pipeline(backend: Tokenizer, add_prefix_space: bool = False) -> None:
    """Replace all of a backend but its vocabulary, merges and added tokens by Qwen2's.

    Mirrors ``Qwen2Tokenizer.__init__`` (transformers 5.23), which takes only those from
    ``tokenizer.json``.

    Raises:
        Qwen2VLError: it is not a byte-pair tokenizer.
    """
    model = backend.model
    if type(model).__name__ != "BPE":
        raise Qwen2VLError(
            f"{TOKENIZER_FILE} holds a {type(model).__name__} model: Qwen2's is BPE; use the "
            "tokenizer of a Qwen2-VL checkpoint"
        )
    model.dropout, model.unk_token = None, None
    model.fuse_unk = model.byte_fallback = model.ignore_merges = False
    backend.normalizer = normalizers.NFC()
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT_PATTERN), behavior="isolated", invert=False),
            pre_tokenizers.ByteLevel(add_prefix_space=add_prefix_space, use_regex=False),
        ]
    )
    backend.decoder = decoders.ByteLevel()


def _check_added_tokens(backend: Tokenizer, declared: Mapping[str, Any]) -> None:
    """The two files have to declare the same added tokens: the reference reads one or the other."""
    if not isinstance(declared, Mapping):
        raise Qwen2VLError(f"{CONFIG_FILE}: added_tokens_decoder is no JSON object: copy it again")
    held = {str(index): token for index, token in backend.get_added_tokens_decoder().items()}
    for index in sorted({*held, *declared} if declared else ()):
        if not _same_token(declared.get(index), held.get(index)):
            raise Qwen2VLError(
                f"{CONFIG_FILE} and {TOKENIZER_FILE} disagree about the added token with id "
                f"{index}: copy both from the same checkpoint"
            )


def _same_token(declared: Any, held: AddedToken | None) -> bool:
    if held is None or not isinstance(declared, Mapping):
        return False
    names = ["content", *(flag for flag in ADDED_TOKEN_FLAGS if flag in declared)]
    return all(declared.get(name) == getattr(held, name) for name in names)


def _special_tokens(backend: Tokenizer, config: Mapping[str, Any]) -> dict[str, str]:
    """Special tokens by role, checked to be in the vocabulary and to be marked special."""
    roles: dict[str, Any] = {key: v for key, v in config.items() if key.endswith("_token")}
    roles = {key: value for key, value in roles.items() if not isinstance(value, bool)}
    if (config.get("tokenizer_class") or "Qwen2Tokenizer") in QWEN2_CLASSES:
        roles = {f"{role}_token": END_OF_TEXT for role in ("unk", "eos", "pad")} | roles
    extra = config.get("extra_special_tokens") or config.get("additional_special_tokens") or []
    if not isinstance(extra, Mapping | list):
        raise Qwen2VLError(f"{CONFIG_FILE} lists {extra!r} as special tokens: it has to be a list")
    roles |= extra if isinstance(extra, Mapping) else {}
    named = {key: _content(value) for key, value in roles.items() if value is not None}
    others = [] if isinstance(extra, Mapping) else [_content(token) for token in extra]
    special = {t.content for t in backend.get_added_tokens_decoder().values() if t.special}
    for token in [*named.values(), *others]:
        if token not in special:
            raise Qwen2VLError(
                f"{CONFIG_FILE} names the special token {token!r}, which {TOKENIZER_FILE} does "
                "not have among its special added tokens: copy both from the same checkpoint"
            )
    return named


def _content(token: Any) -> str:
    """A token is a text, or an object with its text and flags."""
    text = token.get("content") if isinstance(token, Mapping) else token
    if not isinstance(text, str):
        raise Qwen2VLError(f"{CONFIG_FILE} names {token!r} as a special token: it has to be a text")
    return text
