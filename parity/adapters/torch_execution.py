"""How the reference and its truths are run: calls of one loaded model, one after the other.

    B rows, S prompt tokens, H width, V vocabulary

A prompt may be fed to the decoder in parts. ``generate(prefill_chunk_size=...)`` of transformers
then embeds the tokens and applies the head part by part too; a port has no reason to. So the same
modules are called here with all embeddings made at once and one head at the end: what the decoder
sees and leaves is the same, and every point occurs as often as in a port (a test compares both).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import DynamicCache

from parity.adapters.torch_truth import widen_value
from parity.core.trace import Array
from parity.subjects.qwen2vl import part_length


@dataclass(frozen=True)
class Called:
    """What a call of the reference gives."""

    tokens: list[list[int]]
    """Tokens fed after the prompt, for each row."""
    deltas: torch.Tensor | None
    """Rope deltas ``[B, 1]``; ``None`` without images and videos."""
    logits: Sequence[torch.Tensor]
    """What each forward returns: ``[B, S, V]``, or ``[B, V]`` of the last token."""


def run_reference(model: Any, inputs: Mapping[str, Array], steps: int, chunks: int = 1) -> Called:
    """One call: a forward, or a greedy ``generate`` that feeds ``steps`` tokens after the prompt.

    Raises:
        ParityError: the prompt is too short for so many chunks.
    """
    tensors = {name: torch.from_numpy(array) for name, array in inputs.items()}
    if chunks > 1:
        return _run_in_parts(model, tensors, steps, chunks)
    if not steps:
        logits = model(**tensors, use_cache=False).logits
        return Called([[] for _ in logits], _deltas(model, tensors), [logits])
    # One more new token than steps: a step feeds a token, and the last one is never fed.
    count = steps + 1
    output = model.generate(
        **tensors, do_sample=False, max_new_tokens=count, min_new_tokens=count, logits_to_keep=0,
        output_logits=True, return_dict_in_generate=True,
    )  # fmt: skip
    fed = output.sequences[:, -count:-1].tolist()
    return Called(fed, _deltas(model, tensors), output.logits)


def _deltas(model: Any, tensors: Mapping[str, torch.Tensor]) -> torch.Tensor | None:
    """The model keeps them from call to call: a text has none, whatever was left there."""
    pictures = any(name.endswith("grid_thw") for name in tensors)
    return model.model.rope_deltas if pictures else None


def _run_in_parts(
    model: Any, tensors: Mapping[str, torch.Tensor], steps: int, chunks: int
) -> Called:
    """A greedy call whose prompt is fed in parts."""
    names = ("mm_token_type_ids", "image_grid_thw", "video_grid_thw", "attention_mask")
    prompt, deltas = model.model.get_rope_index(
        tensors["input_ids"], **{name: tensors.get(name) for name in names}
    )  # [3, B, S], [B, 1]
    model.model.rope_deltas = deltas
    length = prompt.shape[-1]
    parts = prompt.split(part_length(length, chunks), dim=-1)
    later = [(length + step + deltas).expand(3, -1, -1) for step in range(steps)]  # [3, B, 1]
    tokens: list[torch.Tensor] = []

    def likeliest(step: int, logits: torch.Tensor) -> torch.Tensor:
        tokens.append(logits[:, -1].argmax(dim=-1))
        return tokens[step]

    logits = forwards(model, tensors, [*parts, *later], chunks, likeliest)
    fed = torch.stack(tokens, dim=1).tolist() if tokens else [[] for _ in deltas]
    return Called(fed, _deltas(model, tensors), logits)


def run_truth(
    model: Any,
    inputs: Mapping[str, torch.Tensor],
    tokens: Sequence[Sequence[int]],
    positions: Sequence[torch.Tensor],
    chunks: int = 1,
) -> None:
    """The forwards of one call in float64, fed the reference's tokens and position ids."""

    def given(step: int, logits: torch.Tensor) -> torch.Tensor:
        return torch.tensor([row[step] for row in tokens])

    model.model.rope_deltas = None
    forwards(model, widen_value(inputs), positions, chunks, given)


def forwards(
    model: Any,
    tensors: Mapping[str, torch.Tensor],
    positions: Sequence[torch.Tensor],
    chunks: int,
    choose: Callable[[int, torch.Tensor], torch.Tensor],
) -> list[torch.Tensor]:
    """The prompt, then one token at a time, with a cache; the logits ``[B, tokens, V]`` of each.

    Args:
        model: Qwen2-VL with its head.
        tensors: what the processor gives.
        positions: position ids ``[3, B, tokens]`` of every part of the prompt and every step.
        chunks: how many of them are the prompt's.
        choose: from the step and the logits before it, the tokens ``[B]`` to feed.
    """
    cache = DynamicCache(config=model.config.text_config)
    mask = tensors["attention_mask"]
    logits = [_prompt(model, tensors, positions[:chunks], cache)]
    for step, position in enumerate(positions[chunks:]):
        mask = torch.cat([mask, mask.new_ones(mask.shape[0], 1)], dim=1)
        column = choose(step, logits[-1])[:, None]
        output = model(input_ids=column, attention_mask=mask, position_ids=position,
                       past_key_values=cache, use_cache=True)  # fmt: skip
        logits.append(output.logits)
    return logits


def _prompt(
    model: Any, tensors: Mapping[str, torch.Tensor], parts: Sequence[torch.Tensor], cache: Any
) -> torch.Tensor:
    """The logits of a prompt ``[B, S, V]``, which the decoder is fed in ``parts``."""
    keep: dict[str, Any] = {"past_key_values": cache, "use_cache": True}
    if len(parts) == 1:
        logits: torch.Tensor = model(**tensors, position_ids=parts[0], **keep).logits
        return logits
    embeds, mask = embedded(model.model, tensors), tensors["attention_mask"]
    hidden, start = [], 0
    for part in parts:
        stop = start + part.shape[-1]
        output = model.model(inputs_embeds=embeds[:, start:stop], attention_mask=mask[:, :stop],
                             position_ids=part, **keep)  # fmt: skip
        hidden.append(output.last_hidden_state)
        start = stop
    joined: torch.Tensor = model.lm_head(torch.cat(hidden, dim=1))
    return joined


def embedded(model: Any, tensors: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Token embeddings with images and videos in their places: ``[B, S, H]``.

    Mirrors the first half of ``Qwen2VLModel.forward``.
    """
    ids = tensors["input_ids"]
    embeds: torch.Tensor = model.get_input_embeddings()(ids)
    kinds = (
        ("pixel_values", "image_grid_thw", model.get_image_features, model.config.image_token_id),
        ("pixel_values_videos", "video_grid_thw", model.get_video_features,
         model.config.video_token_id),
    )  # fmt: skip
    for pixels, grid, see, token in kinds:
        if pixels in tensors:
            features = torch.cat(see(tensors[pixels], tensors[grid]).pooler_output)
            places = (ids == token)[:, :, None]
            embeds = embeds.masked_scatter(places, features.to(embeds.dtype))
    return embeds
