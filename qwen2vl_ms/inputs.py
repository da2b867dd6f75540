"""Checks of the model's integer arguments, and the choice of positions they call for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from qwen2vl_ms.errors import Qwen2VLError
from qwen2vl_ms.positions import (
    Ints,
    check_grid,
    continued_position_ids,
    rope_deltas,
    rope_index,
    text_position_ids,
)


@dataclass(frozen=True)
class IntegerInputs:
    """The integer arguments of one forward pass, checked, as int64 arrays.

    B rows, S new tokens, L = past + S: input_ids [B, S], attention_mask [B, L],
    mm_token_type_ids [B, S], position_ids [3, B, S], grids [n, 3], rope_deltas [B, 1].
    """

    past: int
    merge_size: int
    input_ids: Ints
    attention_mask: Ints | None
    mm_token_type_ids: Ints | None
    position_ids: Ints | None
    image_grid_thw: Ints | None
    video_grid_thw: Ints | None
    rope_deltas: Ints | None

    @classmethod
    def check(
        cls, past: int, merge_size: int, vocab_size: int, input_ids: Any, **others: Any
    ) -> IntegerInputs:
        """Take arrays or tensors of any integer dtype.

        Raises:
            Qwen2VLError: An argument has another shape, or does not hold integers, or an id is
                not in the vocabulary.
        """
        ids = _token_ids(input_ids, vocab_size)
        batch, length = ids.shape
        shapes = {
            "attention_mask": (batch, past + length),
            "mm_token_type_ids": (batch, length),
            "position_ids": (3, batch, length),
            "rope_deltas": (batch, 1),
        }
        arrays = {name: _integers(name, value) for name, value in others.items()}
        for name, shape in shapes.items():
            _check_shape(name, arrays[name], shape, past)
        for name in ("image_grid_thw", "video_grid_thw"):
            grid = arrays[name]
            arrays[name] = None if grid is None else check_grid(grid, merge_size, name)
        return cls(past=past, merge_size=merge_size, input_ids=ids, **arrays)

    def positions(self) -> tuple[Ints, Ints]:
        """Position ids [3, B, S] and rope deltas [B, 1] of this pass.

        Mirrors ``Qwen2VLModel.compute_3d_position_ids`` of transformers 5.23: positions that were
        passed, or those of a prompt with grids, or of tokens that follow a prompt, or of text.

        Raises:
            Qwen2VLError: Grids without token types, after a cached prompt, or out of step.
        """
        batch, length = self.input_ids.shape
        if self.position_ids is not None:
            positions = self.position_ids
        elif self.image_grid_thw is not None or self.video_grid_thw is not None:
            return self._prompt_positions()
        elif self.past and self.rope_deltas is not None:
            positions = continued_position_ids(
                self.attention_mask, self.rope_deltas, batch, length, self.past
            )
            return positions, self.rope_deltas
        else:
            positions = text_position_ids(batch, length, self.past)
        return positions, rope_deltas(positions, self.attention_mask, self.past)

    def _prompt_positions(self) -> tuple[Ints, Ints]:
        if self.mm_token_type_ids is None:
            raise Qwen2VLError(
                "grids were passed without mm_token_type_ids, which say where the images are: "
                "pass the processor's (0 text, 1 image, 2 video)"
            )
        if self.past:
            raise Qwen2VLError(
                f"grids were passed with a cache that holds {self.past} tokens: the positions of "
                "new images depend on the whole prompt, so pass position_ids as well"
            )
        return rope_index(
            self.mm_token_type_ids,
            self.image_grid_thw,
            self.video_grid_thw,
            self.attention_mask,
            self.merge_size,
        )


def _integers(name: str, value: Any) -> Ints | None:
    """An array or tensor of integers as int64, None as None."""
    if value is None:
        return None
    array = np.asarray(value.asnumpy() if hasattr(value, "asnumpy") else value)
    if array.dtype.kind not in "iub":
        raise Qwen2VLError(f"{name} has dtype {array.dtype}: it has to hold integers")
    return array.astype(np.int64)


def _token_ids(value: Any, vocab_size: int) -> Ints:
    """The ids [B, S], each in the vocabulary."""
    ids = _integers("input_ids", value)
    if ids is None or ids.ndim != 2 or not ids.size:
        shape = None if ids is None else ids.shape
        raise Qwen2VLError(f"input_ids has shape {shape}: it has to be [batch, tokens]")
    outside = np.argwhere((ids < 0) | (ids >= vocab_size))
    if len(outside):
        row, column = outside[0].tolist()
        raise Qwen2VLError(
            f"input_ids has an id of {ids[row, column]} at [{row}, {column}], the vocabulary ends "
            f"at {vocab_size - 1}: the tokenizer and the checkpoint do not belong together"
        )
    return ids


def _check_shape(name: str, array: Ints | None, shape: tuple[int, ...], past: int) -> None:
    if array is not None and array.shape != shape:
        raise Qwen2VLError(
            f"{name} has shape {array.shape}: with these input_ids and {past} cached tokens it has "
            f"to be {shape}"
        )
