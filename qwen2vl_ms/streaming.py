"""Tokens while they are generated, and text made of them as soon as it is certain.

A character outside of ASCII may take several tokens, none of which is text of its own: their bytes
are collected until the character is complete.
"""

from __future__ import annotations

import codecs
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

from qwen2vl_ms.errors import Qwen2VLError
from qwen2vl_ms.positions import Ints


@runtime_checkable
class Streamer(Protocol):
    """What `generate` reports to. Mirrors ``BaseStreamer`` of transformers 5.23."""

    def put(self, value: Ints) -> None:
        """Take the prompt, int64 [B, S], then the tokens of each step, int64 [B]."""

    def end(self) -> None:
        """Take note that no more follow, also when generation stopped with an exception."""


_PLAIN_BYTES = (*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100))
_OTHER_BYTES = sorted({*range(0x100)} - {*_PLAIN_BYTES})
BYTE_OF_CHARACTER: Mapping[str, int] = {
    **{chr(byte): byte for byte in _PLAIN_BYTES},
    **{chr(0x100 + place): byte for place, byte in enumerate(_OTHER_BYTES)},
}
"""The byte that each character of a byte-level vocabulary stands for.

Bytes that print are themselves (in Latin-1); the others follow from U+0100 on, in order. Mirrors
``bytes_to_unicode`` of transformers 5.23, read the other way.
"""


RowsCallback = Callable[[list[list[int]]], object]
"""Called at each step with the new token ids of each row; a row that has ended has none."""


class StepReporter:
    """Hands each step to a streamer of either kind, or to nobody."""

    def __init__(self, streamer: Streamer | RowsCallback | None) -> None:
        """Take a streamer.

        Raises:
            Qwen2VLError: It is neither kind.
        """
        if streamer is not None and not isinstance(streamer, Streamer) and not callable(streamer):
            raise Qwen2VLError(
                f"streamer is a {type(streamer).__name__}: give a function of the new token ids, "
                "or an object with put and end"
            )
        self._streamer = streamer

    def prompt(self, input_ids: Ints) -> None:
        """Report the prompt, int64 [B, S]; functions are not called with it."""
        if isinstance(self._streamer, Streamer):
            self._streamer.put(input_ids)

    def step(self, tokens: Ints, going: Sequence[bool]) -> None:
        """Report the tokens of one step, int64 [B], of rows that were still going or not."""
        if isinstance(self._streamer, Streamer):
            self._streamer.put(tokens)
        elif self._streamer is not None:
            rows = zip(tokens.tolist(), going, strict=True)
            self._streamer([[token] if more else [] for token, more in rows])

    def end(self) -> None:
        """Report the end."""
        if isinstance(self._streamer, Streamer):
            self._streamer.end()


class TextStreamer:
    """Writes a single row's answer as it grows, without the prompt.

    The pieces together are the decoded answer; bytes that are no UTF-8, such as half a character
    where `max_new_tokens` cut the answer off, are left out.
    """

    _at_prompt: bool
    _characters: codecs.IncrementalDecoder

    def __init__(
        self,
        tokenizer: Any,
        write: Callable[[str], object] | None = None,
        skip_special_tokens: bool = True,
    ) -> None:
        """Prepare to write.

        Args:
            tokenizer: A `Qwen2Tokenizer`, or a processor that has one.
            write: Takes each piece of text, never an empty one; standard output by default.
            skip_special_tokens: Leave out tokens such as ``<|im_end|>``.

        Raises:
            Qwen2VLError: It is no byte-level tokenizer.
        """
        backend = getattr(getattr(tokenizer, "tokenizer", tokenizer), "backend", None)
        if backend is None or type(backend.decoder).__name__ != "ByteLevel":
            raise Qwen2VLError(
                f"a {type(tokenizer).__name__} is no byte-level tokenizer: pass the "
                "Qwen2VLProcessor of the checkpoint, or its tokenizer"
            )
        self._backend = backend
        self._write = write or _print
        self._skipped = _special_ids(backend) if skip_special_tokens else frozenset()
        self.end()

    def put(self, value: Ints) -> None:
        """Take the prompt, int64 [1, S], and then one token at a time, int64 [1].

        Raises:
            Qwen2VLError: There are several rows.
        """
        if len(value) != 1:
            raise Qwen2VLError(
                f"TextStreamer writes one row and got {len(value)}: generate one row, or pass a "
                "function as streamer, which gets the new token ids of each row"
            )
        if self._at_prompt:
            self._at_prompt = False
            return
        for token in np.ravel(value).tolist():
            if text := self._characters.decode(self._bytes(token)):
                self._write(text)

    def end(self) -> None:
        """Forget an unfinished character, and be ready for another answer."""
        self._at_prompt = True
        self._characters = codecs.getincrementaldecoder("utf-8")("ignore")

    def _bytes(self, token_id: int) -> bytes:
        """What a token stands for; nothing for one that is skipped or unknown, as in decoding."""
        token = None if token_id in self._skipped else self._backend.id_to_token(token_id)
        if token is None:
            return b""
        if all(character in BYTE_OF_CHARACTER for character in token):
            return bytes(BYTE_OF_CHARACTER[character] for character in token)
        return str(token).encode()  # an added token is spelt out


def _special_ids(backend: Any) -> frozenset[int]:
    added = backend.get_added_tokens_decoder()
    return frozenset(index for index, token in added.items() if token.special)


def _print(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
