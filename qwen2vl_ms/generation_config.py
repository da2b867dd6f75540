"""How tokens are chosen and when a row ends: a checkpoint's ``generation_config.json``.

Every key of the file, and every keyword of a call, is either read, or listed below as without
effect, or known with the one value that changes nothing. Anything else is an error: a misspelt or
unimplemented setting would otherwise change every answer without a word.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from qwen2vl_ms.errors import Qwen2VLError
from qwen2vl_ms.preprocessor_config import existing_folder, read_json_object

FILE = "generation_config.json"
MODEL_FILE = "config.json"
TOKEN_KEYS = ("bos_token_id", "eos_token_id", "pad_token_id")
DEFAULT_NEW_TOKENS = 20  # what the reference generates when nothing says how much
PREFILL_CHUNK = 1024  # prompt tokens computed at a time

# Keys of the reference that change no token here: bookkeeping, how the work is done, and the
# details of methods that are refused as long as they are on (beams, assistants).
IGNORED_KEYS = frozenset(
    {
        # bookkeeping
        *("transformers_version", "_from_model_config", "_commit_hash", "attn_implementation"),
        # how keys and values are kept, how the prompt is cut, what is compiled
        *("use_cache", "cache_config", "max_cache_len", "prefill_chunk_size"),
        *("compile_config", "disable_compile", "continuous_batching_config", "low_memory"),
        # details of beam search
        *("early_stopping", "length_penalty", "diversity_penalty", "num_beam_groups"),
        # details of assisted generation
        *("num_assistant_tokens", "num_assistant_tokens_schedule", "max_matching_ngram_size"),
        *("assistant_confidence_threshold", "assistant_lookbehind", "target_lookbehind"),
        "assistant_ensemble_weight",
        # models with an encoder
        "decoder_start_token_id",
    }
)

# Keys of the reference (GenerationConfig of transformers 5.23) that are not implemented, with the
# values that ask for nothing. None always does.
NEUTRAL_VALUES: Mapping[str, tuple[Any, ...]] = {
    "num_beams": (1,),
    "num_return_sequences": (1,),
    "constraints": (),
    "force_words_ids": (),
    "penalty_alpha": (0,),
    "dola_layers": (),
    "use_mtp": (False,),
    "prompt_lookup_num_tokens": (),
    "assistant_early_exit": (),
    "is_assistant": (False,),
    "speculation_type": (),
    "cache_implementation": ("dynamic", "static", "offloaded", "offloaded_static"),
    "min_length": (0,),
    "min_new_tokens": (0,),
    "max_time": (),
    "stop_strings": (),
    "min_p": (0,),
    "top_h": (),
    "typical_p": (1,),
    "epsilon_cutoff": (0,),
    "eta_cutoff": (0,),
    "no_repeat_ngram_size": (0,),
    "encoder_no_repeat_ngram_size": (0,),
    "encoder_repetition_penalty": (1,),
    "bad_words_ids": (),
    "renormalize_logits": (False,),
    "forced_bos_token_id": (),
    "forced_eos_token_id": (),
    "remove_invalid_values": (False,),
    "exponential_decay_length_penalty": (),
    "suppress_tokens": ([],),
    "begin_suppress_tokens": ([],),
    "sequence_bias": (),
    "token_healing": (False,),
    "guidance_scale": (1,),
    "watermarking_config": (),
    "output_attentions": (False,),
    "output_hidden_states": (False,),
    "output_scores": (False,),
    "output_logits": (False,),
    "return_dict_in_generate": (False,),
}
INSTEAD: Mapping[str, str] = {
    "stop_strings": "pass the ids of single tokens to generate as stop",
    "return_dict_in_generate": "call qwen2vl_ms.generate.generate_with_info for more than the ids",
    "min_new_tokens": "pass eos_token_id=[] to generate max_new_tokens tokens whatever they are",
}


def _setting(default: Any, accepts: Callable[[Any], bool], wants: str) -> Any:
    """A dataclass field that knows what values it takes, and the words for it."""
    return field(default=default, metadata={"accepts": accepts, "wants": wants})


def _whole(least: int) -> Callable[[Any], bool]:
    return lambda value: type(value) is int and value >= least


def _number(low: float, high: float, low_included: bool = False) -> Callable[[Any], bool]:
    def accepts(value: Any) -> bool:
        if type(value) not in (int, float) or not abs(value) <= sys.float_info.max:
            return False
        return (low < value or (low_included and low == value)) and value <= high

    return accepts


def _optional(accepts: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or accepts(value)


@dataclass(frozen=True)
class GenerationConfig:
    """Settings of `generate`. Mirrors ``GenerationConfig`` of transformers 5.23 where it has them.

    Attributes:
        max_new_tokens: Tokens generated at most.
        max_length: Tokens of prompt and answer at most; counts only without `max_new_tokens`.
        do_sample: Draw from the distribution, or take the likeliest token (greedy).
        temperature: Divides the logits before drawing.
        top_k: Draw from the k likeliest tokens only; 0 is off.
        top_p: Draw from the fewest tokens whose probabilities reach this; 1.0 is off.
        repetition_penalty: Makes tokens that occurred less likely, greedy too; 1.0 is off.
        eos_token_id: Tokens that end a row; none: rows end at their greatest length.
        pad_token_id: What follows the end of a row while others go on.
        bos_token_id: Kept for whoever builds prompts; generation does not use it.
    """

    max_new_tokens: int | None = _setting(
        None, _optional(_whole(1)), "a whole number of at least 1"
    )
    max_length: int | None = _setting(None, _optional(_whole(1)), "a whole number of at least 1")
    do_sample: bool = _setting(False, lambda v: type(v) is bool, "true or false")
    temperature: float = _setting(
        1.0, _number(0, math.inf), "a number over 0 (for greedy, set do_sample to false)"
    )
    top_k: int = _setting(50, _whole(0), "a whole number of at least 0 (0 is off)")
    top_p: float = _setting(1.0, _number(0, 1, True), "a number from 0 to 1 (1 is off)")
    repetition_penalty: float = _setting(1.0, _number(0, math.inf), "a number over 0 (1 is off)")
    eos_token_id: tuple[int, ...] = _setting(
        (), lambda v: isinstance(v, tuple) and all(map(_whole(0), v)), "a token id or a list of ids"
    )
    pad_token_id: int | None = _setting(None, _optional(_whole(0)), "a token id")
    bos_token_id: int | None = _setting(None, _optional(_whole(0)), "a token id")

    def __post_init__(self) -> None:
        """Check every value.

        Raises:
            Qwen2VLError: One is of a wrong type or out of range.
        """
        for item in fields(self):
            value = getattr(self, item.name)
            if not item.metadata["accepts"](value):
                raise Qwen2VLError(
                    f"{item.name} is {value!r}: it has to be {item.metadata['wants']}"
                )

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> GenerationConfig:
        """Read a checkpoint folder's ``generation_config.json``.

        Without one the token ids of ``config.json`` are used, as in the reference.

        Raises:
            Qwen2VLError: The file is damaged, or holds a key or value that is not implemented.
        """
        folder = existing_folder(folder)
        path = folder / FILE
        if path.is_file():
            return cls.from_mapping(read_json_object(path), str(path))
        path = folder / MODEL_FILE
        return cls.from_mapping(_token_ids(read_json_object(path)), str(path))

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any], where: str) -> GenerationConfig:
        """Settings from a file's keys; ``where`` begins the message of an error."""
        try:
            return cls(**_readable(values))
        except Qwen2VLError as error:
            raise Qwen2VLError(f"{where}: {error}") from None

    def overridden(self, **settings: Any) -> GenerationConfig:
        """These settings with those of one call; None leaves one as it is.

        A call's `max_length` also counts against a `max_new_tokens` of the file, which the
        reference prefers.

        Raises:
            Qwen2VLError: One is unknown, not implemented, or out of range, or both lengths.
        """
        given = _readable(settings)
        if "max_new_tokens" in given and "max_length" in given:
            raise Qwen2VLError(
                "max_new_tokens and max_length were both given: give one, and better the first"
            )
        if "max_length" in given:
            given["max_new_tokens"] = None
        return replace(self, **given)

    def new_tokens(self, prompt_length: int) -> int:
        """Tokens to generate at most after a prompt of this length, padding included.

        Raises:
            Qwen2VLError: `max_length` leaves no room for any.
        """
        if self.max_new_tokens is not None:
            return self.max_new_tokens
        if self.max_length is None:
            return DEFAULT_NEW_TOKENS
        if self.max_length <= prompt_length:
            raise Qwen2VLError(
                f"max_length is {self.max_length} and the prompt has {prompt_length} tokens: "
                "nothing is left to generate; set max_new_tokens instead"
            )
        return self.max_length - prompt_length

    @property
    def fill_token_id(self) -> int:
        """What rows that ended are filled up with: the padding token, else the first that ends."""
        if self.pad_token_id is not None:
            return self.pad_token_id
        return self.eos_token_id[0] if self.eos_token_id else 0


_READ = frozenset(item.name for item in fields(GenerationConfig))


def _readable(values: Mapping[str, Any]) -> dict[str, Any]:
    """The settings among the keys, the others refused unless they change nothing."""
    given = {}
    for key, value in values.items():
        if key in _READ:
            if value is not None:
                given[key] = _as_ids(value) if key == "eos_token_id" else value
        elif key not in IGNORED_KEYS:
            _refuse_effect(key, value)
    return given


def _as_ids(value: Any) -> Any:
    """One id as a tuple of one, a list as a tuple."""
    if isinstance(value, list):
        return tuple(value)
    return (value,) if type(value) is int else value


def _refuse_effect(key: str, value: Any) -> None:
    if key not in NEUTRAL_VALUES:
        raise Qwen2VLError(
            f"unknown generation setting {key!r} ({value!r}): correct its name or remove it; known "
            f"are {', '.join(sorted(_READ))}"
        )
    neutral = NEUTRAL_VALUES[key]
    if value is not None and not any(_same(value, one) for one in neutral):
        off = " or ".join(map(repr, neutral)) if neutral else "null"
        advice = INSTEAD.get(key, "other software has to be used for it")
        raise Qwen2VLError(
            f"{key} is {value!r}, which is not implemented: remove it or set it to {off}; {advice}"
        )


def _same(value: Any, other: Any) -> bool:
    """Equal, and both true or false or neither: 1 is not true."""
    return bool(value == other) and isinstance(value, bool) == isinstance(other, bool)


def _token_ids(config: Mapping[str, Any]) -> dict[str, Any]:
    """Token ids of a model's configuration: its own, else its text part's."""
    text = config.get("text_config")
    sources = (config, text if isinstance(text, Mapping) else {})
    return {
        key: next((s[key] for s in sources if s.get(key) is not None), None) for key in TOKEN_KEYS
    }
