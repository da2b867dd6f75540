"""Rows of token ids of different lengths as one array with its mask."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from qwen2vl_ms.errors import Qwen2VLError

STRATEGIES = {True: "longest", False: "do_not_pad"}


class PaddedRows(NamedTuple):
    """A batch: both int64 [B, S]."""

    input_ids: npt.NDArray[np.int64]
    attention_mask: npt.NDArray[np.int64]


def pad_rows(
    rows: Sequence[Sequence[int]],
    pad_id: int | None,
    padding: bool | str = True,
    side: str = "left",
    max_length: int | None = None,
) -> PaddedRows:
    """Pad rows of ids to one length.

    Args:
        rows: Ids of each row.
        pad_id: What to fill up with, if needed.
        padding: ``True`` or ``"longest"``, ``"max_length"``, ``False`` or ``"do_not_pad"``.
        side: ``"left"`` or ``"right"``.
        max_length: Length with ``"max_length"``.

    Returns:
        The ids, and a mask that is 1 on them and 0 on the padding.

    Raises:
        Qwen2VLError: an unknown strategy or side, a row that is too long, different lengths
            without padding, or no token to pad with.
    """
    lengths = [len(row) for row in rows]
    length = _target_length(lengths, padding, max_length)
    if side not in ("left", "right"):
        raise Qwen2VLError(f"padding_side is {side!r}: use 'left' or 'right'")
    if any(n < length for n in lengths) and pad_id is None:
        raise Qwen2VLError(
            "the tokenizer has no token to pad with: set pad_token in tokenizer_config.json"
        )
    input_ids = np.full((len(rows), length), 0 if pad_id is None else pad_id, dtype=np.int64)
    attention_mask = np.zeros_like(input_ids)
    for index, row in enumerate(rows):
        start = length - len(row) if side == "left" else 0
        input_ids[index, start : start + len(row)] = row
        attention_mask[index, start : start + len(row)] = 1
    return PaddedRows(input_ids, attention_mask)


def _target_length(lengths: Sequence[int], padding: bool | str, max_length: int | None) -> int:
    strategy = STRATEGIES[padding] if isinstance(padding, bool) else padding
    if strategy not in ("longest", "max_length", "do_not_pad"):
        raise Qwen2VLError(
            f"padding is {padding!r}: use True, False, 'longest', 'max_length' or 'do_not_pad'"
        )
    longest = max(lengths, default=0)
    if strategy == "do_not_pad" and len(set(lengths)) > 1:
        raise Qwen2VLError(
            f"the rows have {min(lengths)} to {longest} tokens, which do not fit one array: use "
            "padding=True"
        )
    if strategy != "max_length":
        return longest
    if max_length is None:
        raise Qwen2VLError("padding='max_length' needs max_length: give a number of tokens")
    if longest > max_length:
        raise Qwen2VLError(
            f"text {lengths.index(longest)} has {longest} tokens, over max_length {max_length}: "
            "raise it, or shorten the text or lower max_pixels"
        )
    return max_length
