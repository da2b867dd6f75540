"""Generation: a prompt, then one token a step, until every row has ended.

    B rows, S prompt tokens (padded on the left), N new tokens at most, V vocabulary

    prompt [B, S] -> model -> logits [B, V] -> token of each row [B] -> model -> ...

Everything a generation needs is made here and dropped at its end: the cache, the mask, the rope
deltas, the sources of random numbers. An exception, Ctrl-C included, leaves the model as it was.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import mindspore as ms
import numpy as np
import numpy.typing as npt
from mindspore import Tensor

from qwen2vl_ms import sampling
from qwen2vl_ms.errors import Qwen2VLError
from qwen2vl_ms.generation_config import PREFILL_CHUNK, GenerationConfig
from qwen2vl_ms.generation_prompt import Prompt, checked_prompt
from qwen2vl_ms.positions import Ints
from qwen2vl_ms.streaming import RowsCallback, StepReporter, Streamer


class StopReason(str, Enum):
    """Why a row ended."""

    END_TOKEN = "end token"
    """One of `eos_token_id` or `stop`; it is the row's last token."""
    LENGTH = "length"
    """`max_new_tokens` or `max_length` was reached."""


@dataclass(frozen=True)
class GenerationResult:
    """What `generate_with_info` returns.

    Attributes:
        sequences: int32 [B, S + new], prompt included; rows that ended are filled with padding.
        new_tokens: Each row's own new tokens, its end token included, padding not.
        stop_reasons: Why each row ended.
        seeds: The seed each row was drawn with; empty for greedy.
        prefill_seconds: From the start to the logits after the prompt, pictures included.
        step_seconds: One later forward pass each, choosing the token not included.
    """

    sequences: Tensor
    new_tokens: tuple[tuple[int, ...], ...]
    stop_reasons: tuple[StopReason, ...]
    seeds: tuple[int, ...]
    prefill_seconds: float
    step_seconds: tuple[float, ...]


def generate(model: Any, input_ids: Any, *args: Any, **kwargs: Any) -> Tensor:
    """Generate tokens after a prompt.

    Takes the arguments of `generate_with_info`.

    Returns:
        int32 [B, S + new], prompt included, as the reference's ``generate``. Rows that ended
        before others are filled with the padding token.

    Raises:
        Qwen2VLError: See `generate_with_info`.
    """
    return generate_with_info(model, input_ids, *args, **kwargs).sequences


def generate_with_info(
    model: Any,
    input_ids: Any,
    attention_mask: Any = None,
    mm_token_type_ids: Any = None,
    pixel_values: Any = None,
    image_grid_thw: Any = None,
    pixel_values_videos: Any = None,
    video_grid_thw: Any = None,
    *,
    generation_config: GenerationConfig | None = None,
    streamer: Streamer | RowsCallback | None = None,
    stop: int | Sequence[int] | None = None,
    seed: int | Sequence[int] | None = None,
    chunk_size: int | None = PREFILL_CHUNK,
    cache_length: int | None = None,
    **settings: Any,
) -> GenerationResult:
    """Generate tokens after a prompt, and tell how it went.

    Mirrors ``GenerationMixin.generate`` of transformers 5.23 with one beam. Integers may be
    MindSpore tensors or NumPy arrays.

    Args:
        model: A `Qwen2VLForConditionalGeneration`.
        input_ids: int [B, S].
        attention_mask: int [B, S], 0 at padding, which has to be on the left.
        mm_token_type_ids: int [B, S]: 0 text, 1 image, 2 video. Found from the ids if missing.
        pixel_values: Flattened patches of all images, float [N, P].
        image_grid_thw: int [n, 3]: (t, h, w) of each image, in patches.
        pixel_values_videos: The same for videos.
        video_grid_thw: The same for videos.
        generation_config: Instead of the checkpoint's (``model.generation_config``).
        streamer: Called at each step with the new token ids of each row, or an object with
            ``put`` and ``end`` such as `TextStreamer`.
        stop: Further tokens that end a row, besides ``eos_token_id``.
        seed: Makes sampling reproducible: row i is drawn with ``seed + i``, or with its own of a
            list. A row does not depend on the rows beside it.
        chunk_size: Prompt tokens computed at a time, so that the memory of masks and scores grows
            with the prompt and not with its square; None computes all at once.
        cache_length: Tokens that the cache holds for each row, if more than this call needs: the
            same length for calls of different lengths lets graph mode compile once.
        **settings: Any setting of `GenerationConfig` for this call: ``max_new_tokens``,
            ``do_sample``, ``temperature``, ``top_k``, ``top_p``, ``repetition_penalty``,
            ``eos_token_id``, ...

    Raises:
        Qwen2VLError: Arguments that do not go together, padding on the right, a setting that is
            unknown, not implemented or out of range, a prompt that does not fit into the cache,
            or logits that are not finite.
    """
    base = generation_config or getattr(model, "generation_config", None) or GenerationConfig()
    config = base.overridden(**settings)
    prompt = checked_prompt(
        model.config, input_ids, attention_mask, mm_token_type_ids, image_grid_thw, video_grid_thw,
        pad_token_id=config.fill_token_id,
    )  # fmt: skip
    rows = _Rows(prompt, config, _end_tokens(config, stop, model.config), seed)
    capacity = _capacity(prompt.input_ids.shape[1], rows.limit, cache_length)
    decoding = Decoding(model, prompt, capacity)
    reporter = StepReporter(streamer)
    try:
        reporter.prompt(prompt.input_ids)
        logits = decoding.prefill(pixel_values, pixel_values_videos, chunk_size)
        while True:
            going = ~rows.ended
            tokens = rows.choose(logits)
            reporter.step(tokens, going.tolist())
            if rows.finished:
                break
            logits = decoding.step(tokens)
    finally:
        reporter.end()
    return rows.result(decoding.seconds)


def _end_tokens(
    config: GenerationConfig, stop: int | Sequence[int] | None, model_config: Any
) -> tuple[int, ...]:
    """Every token that ends a row.

    Raises:
        Qwen2VLError: One is no token id.
    """
    further = [stop] if isinstance(stop, int) else list(stop or ())
    size = model_config.text_config.vocab_size
    for name, tokens in (("stop", further), ("eos_token_id", config.eos_token_id)):
        for token in tokens:
            if type(token) is not int or not 0 <= token < size:
                raise Qwen2VLError(
                    f"{name} holds {token!r}: it has to be token ids, whole numbers from 0 to "
                    f"{size - 1}"
                )
    return (*config.eos_token_id, *further)


def _capacity(prompt_length: int, new_tokens: int, cache_length: int | None) -> int:
    """Tokens that the cache has to hold for each row.

    Raises:
        Qwen2VLError: The one asked for is too short.
    """
    needed = prompt_length + new_tokens - 1  # the last token is never fed
    if cache_length is None:
        return needed
    if cache_length < needed:
        raise Qwen2VLError(
            f"cache_length is {cache_length}: a prompt of {prompt_length} tokens and {new_tokens} "
            f"new ones need {needed}; raise it, or lower max_new_tokens"
        )
    return cache_length


class _Rows:
    """The rows as they grow: which have ended, and how the next tokens are chosen."""

    def __init__(
        self,
        prompt: Prompt,
        config: GenerationConfig,
        end_tokens: Sequence[int],
        seed: int | Sequence[int] | None,
    ) -> None:
        batch, self.prompt_length = prompt.input_ids.shape
        self.limit = config.new_tokens(self.prompt_length)
        self.config, self.end_tokens = config, list(end_tokens)
        fill = ((0, 0), (0, self.limit))
        self.ids = np.pad(prompt.input_ids, fill, constant_values=config.fill_token_id)  # [B, S+N]
        self.keep = np.pad(prompt.attention_mask != 0, fill, constant_values=True)  # [B, S+N]
        self.length = self.prompt_length
        self.lengths = np.full(batch, self.length + self.limit)  # each row's own, its end included
        self.ended = np.zeros(batch, bool)
        self.seeds = sampling.row_seeds(seed, batch) if config.do_sample else ()
        self.streams = [np.random.default_rng(one) for one in self.seeds]

    @property
    def finished(self) -> bool:
        """Whether nothing is left to generate."""
        return bool(self.ended.all()) or self.length == self.ids.shape[1]

    def choose(self, logits: npt.NDArray[np.float32]) -> Ints:
        """Add a token to each row, padding to those that ended: [B, V] to int64 [B]."""
        self._check(logits)
        columns = slice(0, self.length)
        scores = sampling.processed(
            logits, self.ids[:, columns], self.config, self.keep[:, columns]
        )
        drawn = self.config.do_sample
        tokens = sampling.draw(scores, self.streams) if drawn else sampling.likeliest(scores)
        tokens = np.where(self.ended, self.config.fill_token_id, tokens)
        self.ids[:, self.length] = tokens
        self.length += 1
        ending = ~self.ended & np.isin(tokens, self.end_tokens)
        self.lengths[ending] = self.length
        self.ended |= ending
        return tokens

    def _check(self, logits: npt.NDArray[np.float32]) -> None:
        wrong = np.flatnonzero(~np.isfinite(logits).all(axis=-1) & ~self.ended)
        if len(wrong):
            raise Qwen2VLError(
                f"the logits of row {wrong[0]} after {self.length - self.prompt_length} new tokens "
                "are not finite: float16 overflows where activations pass 65504; use bfloat16 or "
                "float32"
            )

    def result(self, seconds: Sequence[float]) -> GenerationResult:
        """What came of it, with the seconds of each forward pass."""
        rows = zip(self.ids, self.lengths, strict=True)
        reasons = [StopReason.END_TOKEN if ended else StopReason.LENGTH for ended in self.ended]
        return GenerationResult(
            sequences=Tensor(self.ids[:, : self.length], ms.int32),
            new_tokens=tuple(tuple(ids[self.prompt_length : end].tolist()) for ids, end in rows),
            stop_reasons=tuple(reasons),
            seeds=self.seeds,
            prefill_seconds=seconds[0],
            step_seconds=tuple(seconds[1:]),
        )


class Decoding:
    """The model with what goes from one pass to the next.

    Attributes:
        seconds: How long each pass took.
    """

    def __init__(self, model: Any, prompt: Prompt, capacity: int) -> None:
        """Make a cache that holds ``capacity`` tokens of each row."""
        self.model, self.prompt = model, prompt
        self.cache = model.make_cache(len(prompt.input_ids), capacity)
        self.mask = prompt.attention_mask
        self.rope_deltas: Any = None
        self.seconds: list[float] = []

    def prefill(
        self,
        pixel_values: Any = None,
        pixel_values_videos: Any = None,
        chunk_size: int | None = None,
    ) -> npt.NDArray[np.float32]:
        """Run the prompt: float32 [B, V], the logits of its last token."""
        prompt = self.prompt
        return self._run(
            input_ids=prompt.input_ids,
            attention_mask=prompt.attention_mask,
            mm_token_type_ids=prompt.mm_token_type_ids,
            position_ids=prompt.text_positions,
            pixel_values=pixel_values,
            image_grid_thw=prompt.image_grid_thw,
            pixel_values_videos=pixel_values_videos,
            video_grid_thw=prompt.video_grid_thw,
            chunk_size=chunk_size,
        )

    def step(self, tokens: Ints) -> npt.NDArray[np.float32]:
        """Run one new token of each row, int64 [B]: float32 [B, V]."""
        self.mask = np.pad(self.mask, ((0, 0), (0, 1)), constant_values=1)  # [B, past+1]
        return self._run(
            input_ids=tokens[:, None], attention_mask=self.mask, rope_deltas=self.rope_deltas
        )

    def _run(self, **arguments: Any) -> npt.NDArray[np.float32]:
        started = time.perf_counter()
        output = self.model(**arguments, cache=self.cache, logits_to_keep=1)
        # Fetching waits for the device, so the time is that of the whole pass.
        logits = output.logits.astype(ms.float32).asnumpy()[:, -1]  # [B, V]
        self.seconds.append(time.perf_counter() - started)
        self.cache, self.rope_deltas = output.cache, output.rope_deltas
        return np.asarray(logits)
