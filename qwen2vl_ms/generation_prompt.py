"""What a prompt for generation has to be: checked integers, padded on the left."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from qwen2vl_ms.errors import Qwen2VLError
from qwen2vl_ms.inputs import IntegerInputs
from qwen2vl_ms.positions import IMAGE, TEXT, VIDEO, Ints, continued_position_ids


@dataclass(frozen=True)
class Prompt:
    """The integers of a prompt, checked: all int64, [B, S] and [n, 3]."""

    input_ids: Ints
    attention_mask: Ints
    mm_token_type_ids: Ints | None
    image_grid_thw: Ints | None
    video_grid_thw: Ints | None

    @property
    def text_positions(self) -> Ints | None:
        """Positions of a prompt without pictures, [3, B, S]; None where the grids give them.

        The reference's ``generate`` counts unpadded tokens, and its ``forward`` columns.
        """
        if self.image_grid_thw is not None or self.video_grid_thw is not None:
            return None
        batch, length = self.input_ids.shape
        deltas = np.zeros((batch, 1), np.int64)
        return continued_position_ids(self.attention_mask, deltas, batch, length, past=0)


def checked_prompt(
    model_config: Any,
    input_ids: Any,
    attention_mask: Any = None,
    mm_token_type_ids: Any = None,
    image_grid_thw: Any = None,
    video_grid_thw: Any = None,
    pad_token_id: int | None = None,
) -> Prompt:
    """The integers of a prompt, checked, with token types where there are grids.

    The first six are what `generate_with_info` takes. A row that begins with ``pad_token_id``
    needs an attention mask.

    Raises:
        Qwen2VLError: Shapes or dtypes that are wrong, or padding in a wrong place.
    """
    integers = IntegerInputs.check(
        past=0,
        merge_size=model_config.vision_config.spatial_merge_size,
        vocab_size=model_config.text_config.vocab_size,
        input_ids=input_ids,
        attention_mask=attention_mask,
        mm_token_type_ids=mm_token_type_ids,
        position_ids=None,
        image_grid_thw=image_grid_thw,
        video_grid_thw=video_grid_thw,
        rope_deltas=None,
    )
    ids, types = integers.input_ids, integers.mm_token_type_ids
    grids = integers.image_grid_thw, integers.video_grid_thw
    if types is None and any(grid is not None for grid in grids):
        types = token_types(ids, model_config.image_token_id, model_config.video_token_id)
    mask = _checked_mask(ids, integers.attention_mask, pad_token_id)
    return Prompt(ids, mask, types, *grids)


def token_types(input_ids: Ints, image_token_id: int, video_token_id: int) -> Ints:
    """What each token stands for, from its id: int64 [B, S] of 0 text, 1 image, 2 video.

    Mirrors ``ProcessorMixin.create_mm_token_type_ids`` of transformers 5.23; processors before it
    give no types.
    """
    kinds = [input_ids == image_token_id, input_ids == video_token_id]
    return np.select(kinds, [IMAGE, VIDEO], TEXT).astype(np.int64)


def _checked_mask(input_ids: Ints, mask: Ints | None, pad_token_id: int | None) -> Ints:
    if mask is None:
        padded = np.flatnonzero(input_ids[:, 0] == pad_token_id)
        if len(input_ids) > 1 and len(padded):
            raise Qwen2VLError(
                f"attention_mask is missing, and row {padded[0]} begins with the padding token "
                f"{pad_token_id}: pass the processor's attention_mask too"
            )
        return np.ones_like(input_ids)
    right = np.flatnonzero(mask[:, -1] == 0)
    if len(right):
        raise Qwen2VLError(
            f"row {right[0]} of attention_mask ends with padding: an answer goes on where its row "
            'ends, so pad on the left, with padding_side="left" in the processor\'s call'
        )
    return mask
