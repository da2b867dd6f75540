"""Strict reading of a checkpoint's ``config.json``.

Two layouts are in use and both are read:

* the hub's: text keys beside ``vision_config``, ``rope_theta`` and ``rope_scaling``
  ``{"type": "mrope", "mrope_section": [16, 24, 24]}`` on the top level;
* transformers 5: ``text_config`` and ``vision_config``, each with ``rope_parameters``.

Some files carry both; then they have to agree. A key that is neither read nor known to be without
effect is an error, and so is a missing one: a default that differs from the value a checkpoint was
trained with (``rms_norm_eps`` is 1e-5 in the reference's class and 1e-6 in every published
checkpoint) breaks the model without a word.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from qwen2vl_ms.config import Qwen2VLConfig, Qwen2VLTextConfig, Qwen2VLVisionConfig
from qwen2vl_ms.errors import Qwen2VLError

MODEL_TYPE = "qwen2_vl"

# Keys that published files carry and that change nothing in the forward pass.
IGNORED_KEYS = frozenset(
    {
        # bookkeeping
        *("architectures", "dtype", "torch_dtype", "transformers_version", "_name_or_path"),
        *("_attn_implementation_autoset", "attn_implementation", "model_type"),
        *("chunk_size_feed_forward", "id2label", "label2id", "is_encoder_decoder", "problem_type"),
        *("output_attentions", "output_hidden_states", "return_dict"),
        # training
        *("attention_dropout", "initializer_range"),
        # generation and tokenisation
        *("bos_token_id", "eos_token_id", "pad_token_id", "use_cache", "vision_token_id"),
        *("vision_start_token_id", "vision_end_token_id"),
        # limits that the arithmetic does not know; a copy of patch_size
        *("max_position_embeddings", "spatial_patch_size"),
        # sliding windows: refused when enabled (see `_refuse_unsupported`)
        *("max_window_layers", "sliding_window", "use_sliding_window", "layer_types"),
    }
)

# The reference's class defaults of the vision tower. transformers 4 left keys equal to these out
# of the files it saved, and the first published files never had the last three.
VISION_DEFAULTS: Mapping[str, Any] = {
    "depth": 32,
    "embed_dim": 1280,
    "hidden_size": 3584,
    "mlp_ratio": 4,
    "num_heads": 16,
    "patch_size": 14,
    "spatial_merge_size": 2,
    "temporal_patch_size": 2,
    "in_channels": 3,
    "hidden_act": "quick_gelu",
    "rope_theta": 10000.0,
}

_TOKEN_KEYS = ("image_token_id", "video_token_id")
_TEXT_SIZES = (
    *("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers"),
    *("num_attention_heads", "num_key_value_heads"),
)
_VISION_SIZES = (
    *("depth", "embed_dim", "hidden_size", "num_heads", "in_channels", "patch_size"),
    *("spatial_merge_size", "temporal_patch_size"),
)
_ROPE_DICTS = ("rope_parameters", "rope_scaling")
_TEXT_SCALARS = frozenset({*_TEXT_SIZES, "hidden_act", "rms_norm_eps", "rope_theta"})
_TEXT_KEYS = _TEXT_SCALARS | frozenset(_ROPE_DICTS)
_VISION_KEYS = frozenset({*VISION_DEFAULTS, *_ROPE_DICTS, "in_chans"})
_TOP_KEYS = frozenset({*_TOKEN_KEYS, "tie_word_embeddings"})


class Section:
    """One JSON object of the file; what is wrong in it goes to the list shared by all."""

    def __init__(self, prefix: str, values: Mapping[str, Any], problems: list[str]) -> None:
        self.prefix = prefix
        self.values = values
        self.problems = problems

    def complain(self, key: str, problem: str) -> None:
        """Note one problem under the key's full name."""
        self.problems.append(f"{self.prefix}{key} {problem}")

    def read(self, key: str, wanted: str, accepts: Callable[[Any], bool]) -> Any:
        """The value of a key that has to be there and acceptable, or None and a noted problem."""
        value = self.values.get(key)
        if value is None:
            self.complain(key, f"is missing: it has to be {wanted}, as the checkpoint was trained")
        elif not accepts(value):
            self.complain(key, f"is {value!r}: it has to be {wanted}")
            return None
        return value

    def size(self, key: str, minimum: int = 1) -> Any:
        """An integer (JSON's true is none) of at least `minimum`."""
        wanted = f"an integer of at least {minimum}"
        return self.read(key, wanted, lambda v: type(v) is int and v >= minimum)

    def number(self, key: str) -> Any:
        """A positive finite number."""
        return self.read(
            key,
            "a positive number",
            lambda v: type(v) in (int, float) and 0 < v <= sys.float_info.max,
        )

    def choice(self, key: str, *allowed: Any) -> Any:
        """One of the values that the port implements; 1 is not true."""
        wanted = " or ".join(map(repr, allowed))
        return self.read(key, wanted, lambda v: any(type(v) is type(a) and v == a for a in allowed))

    def mapping(self, key: str) -> Mapping[str, Any]:
        """A JSON object."""
        return self.read(key, "an object", lambda v: isinstance(v, Mapping)) or {}

    def refuse_unknown(self, *known: Iterable[str]) -> None:
        """Note every key that is not in the known ones."""
        for key in sorted(set(self.values).difference(*known)):
            self.complain(
                key,
                f"(= {self.values[key]!r}) is unknown and could change the model: remove it, or "
                "add it to IGNORED_KEYS in qwen2vl_ms/config_reader.py",
            )


def read_json_object(path: Path) -> Mapping[str, Any]:
    """Decode a file that holds one JSON object.

    Raises:
        Qwen2VLError: The folder or the file is missing, or holds something else.
    """
    if not path.parent.is_dir():
        raise Qwen2VLError(f"{path.parent} is not a folder: pass a checkpoint's folder")
    if not path.is_file():
        raise Qwen2VLError(f"{path} is missing: every checkpoint's folder holds one")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # ValueError: of the text's decoding as well
        raise Qwen2VLError(f"{path} is not valid JSON ({error}): copy it again") from error
    if not isinstance(values, dict):
        raise Qwen2VLError(f"{path} holds a {type(values).__name__}: it has to be a JSON object")
    return values


def read_config(values: Mapping[str, Any], source: str) -> Qwen2VLConfig:
    """Mirror of `Qwen2VLConfig.from_dict`, which documents it."""
    _refuse_another_architecture(values, source)
    problems: list[str] = []
    top = Section("", values, problems)
    top.choice("model_type", MODEL_TYPE)
    text, vision = _text_section(top), _vision_section(top)
    fields = _top_fields(top, text)
    text_fields, vision_fields = _text_fields(text), _vision_fields(vision)
    if not problems:  # only well-typed values can be inconsistent
        problems += _inconsistencies(fields, text_fields, vision_fields)
    if problems:
        raise Qwen2VLError(f"{source} cannot be used:" + "".join(f"\n  - {p}" for p in problems))
    return Qwen2VLConfig(
        text_config=Qwen2VLTextConfig(**text_fields),
        vision_config=Qwen2VLVisionConfig(**vision_fields),
        **fields,
    )


def _refuse_another_architecture(values: Mapping[str, Any], source: str) -> None:
    """Raise for a checkpoint of another model: its other keys would only bury the reason."""
    found = values.get("model_type")
    if isinstance(found, str) and found != MODEL_TYPE:
        listed = values.get("architectures")
        classes = listed if isinstance(listed, list) else []
        named = "".join(f" ({name})" for name in classes[:1] if isinstance(name, str))
        raise Qwen2VLError(
            f"{source} is of another architecture: its model_type is {found!r}{named}; this port "
            f"is for Qwen2-VL ({MODEL_TYPE!r}), as Qwen2-VL-2B, 7B and 72B: pass one of their "
            "folders"
        )


def _text_section(top: Section) -> Section:
    """The text keys: of ``text_config``, or of the top level, or of both when they agree."""
    flat = {key: top.values[key] for key in _TEXT_KEYS if key in top.values}
    top.refuse_unknown(_TOP_KEYS, _TEXT_KEYS, IGNORED_KEYS, ("text_config", "vision_config"))
    _refuse_unsupported(top)
    if "text_config" not in top.values:
        return Section("", flat, top.problems)
    nested = top.mapping("text_config")
    section = Section("text_config.", {**flat, **nested}, top.problems)
    for key in sorted(_TEXT_SCALARS & set(flat) & set(nested)):
        if flat[key] != nested[key]:
            section.complain(key, f"is {nested[key]!r}, on the top level it is {flat[key]!r}")
    # transformers 4 copied the token ids and the tying switch here.
    section.refuse_unknown(_TOP_KEYS, _TEXT_KEYS, IGNORED_KEYS)
    _refuse_unsupported(section)
    return section


def _vision_section(top: Section) -> Section:
    """The vision keys; ``in_chans`` is the hub's name of ``in_channels``."""
    given = {k: v for k, v in top.mapping("vision_config").items() if v is not None}
    section = Section("vision_config.", given, top.problems)
    section.refuse_unknown(_VISION_KEYS, IGNORED_KEYS)
    channels = given.get("in_chans", given.get("in_channels", VISION_DEFAULTS["in_channels"]))
    if given.get("in_channels", channels) != channels:
        section.complain("in_chans", f"is {channels!r}, unlike in_channels")
    section.values = {**VISION_DEFAULTS, **given, "in_channels": channels}
    return section


def _refuse_unsupported(section: Section) -> None:
    """Note what would change the model and is not implemented."""
    if section.values.get("use_sliding_window"):
        section.complain("use_sliding_window", "is on: the port has full attention only")
    kinds = section.values.get("layer_types")
    if kinds is not None and not (
        isinstance(kinds, list) and all(k == "full_attention" for k in kinds)
    ):
        section.complain("layer_types", f"is {kinds!r}: the port has 'full_attention' only")


def _top_fields(top: Section, text: Section) -> dict[str, Any]:
    """The fields of `Qwen2VLConfig` beside the two towers."""
    fields = {key: top.size(key, minimum=0) for key in _TOKEN_KEYS}
    # transformers 4 saved the switch in text_config; as in the reference, either place turns it on.
    tied = text.values.get("tie_word_embeddings") is True or top.choice(
        "tie_word_embeddings", True, False
    )
    return {**fields, "tie_word_embeddings": tied}


def _text_fields(text: Section) -> dict[str, Any]:
    """The fields of `Qwen2VLTextConfig`."""
    rope = _rope_section(text, "default", "mrope")
    section = rope.read("mrope_section", "a list of three positive integers", _is_section)
    return {
        **{key: text.size(key) for key in _TEXT_SIZES},
        "hidden_act": text.choice("hidden_act", "silu"),
        "rms_norm_eps": text.number("rms_norm_eps"),
        "rope_theta": rope.number("rope_theta"),
        "mrope_section": tuple(section or ()),
    }


def _vision_fields(vision: Section) -> dict[str, Any]:
    """The fields of `Qwen2VLVisionConfig`."""
    given = any(key in vision.values for key in _ROPE_DICTS)
    rope = _rope_section(vision, "axial") if given else vision
    return {
        **{key: vision.size(key) for key in _VISION_SIZES},
        "mlp_ratio": vision.number("mlp_ratio"),
        "hidden_act": vision.choice("hidden_act", "quick_gelu"),
        "rope_theta": rope.number("rope_theta"),
    }


def _rope_section(owner: Section, *types: str) -> Section:
    """The rotary parameters under one set of names.

    ``rope_type`` is the newer name of ``type``; "default" beside an ``mrope_section`` still means
    M-RoPE. ``rope_theta`` is inside or, in the hub's layout, beside.
    """
    given = [key for key in _ROPE_DICTS if owner.values.get(key) is not None]
    if len(given) == 2 and owner.values[given[0]] != owner.values[given[1]]:
        owner.complain(given[0], f"and {given[1]} differ: keep the one used in training")
    name = given[0] if given else _ROPE_DICTS[0]
    inside = dict(owner.mapping(name))
    rope = Section(f"{owner.prefix}{name}.", inside, owner.problems)
    rope.refuse_unknown(("type", "rope_type", "rope_theta", "mrope_section"))
    for key in ("type", "rope_type"):
        if key in inside or (key == "rope_type" and "type" not in inside):
            rope.choice(key, *types)
    rope.values = {"rope_theta": owner.values.get("rope_theta"), **inside}
    return rope


def _is_section(value: Any) -> bool:
    """Whether a value can be an ``mrope_section``."""
    return isinstance(value, list) and [type(v) is int and v > 0 for v in value] == [True] * 3


def _inconsistencies(
    top: Mapping[str, Any], text: Mapping[str, Any], vision: Mapping[str, Any]
) -> list[str]:
    """What is wrong between values that are each acceptable."""
    hidden, heads, kv_heads = (
        text[key] for key in ("hidden_size", "num_attention_heads", "num_key_value_heads")
    )
    section, tokens = list(text["mrope_section"]), [top[key] for key in _TOKEN_KEYS]
    width, vision_heads = vision["embed_dim"], vision["num_heads"]
    checks = (
        (
            hidden % heads == 0,
            f"hidden_size {hidden} is not a multiple of num_attention_heads {heads}",
        ),
        (
            heads % kv_heads == 0,
            f"num_attention_heads {heads} is not a multiple of num_key_value_heads {kv_heads}",
        ),
        (
            2 * sum(section) == hidden // heads,
            f"mrope_section {section} sums to {sum(section)}: it has to be half of the head's "
            f"width {hidden // heads}",
        ),
        (
            width % (4 * vision_heads) == 0,
            f"vision_config.embed_dim {width} is not a multiple of 4 x num_heads {vision_heads}",
        ),
        (
            vision["hidden_size"] == hidden,
            f"vision_config.hidden_size {vision['hidden_size']} is not the text's hidden_size "
            f"{hidden}",
        ),
        (
            len(set(tokens)) == len(tokens) and max(tokens) < text["vocab_size"],
            f"{' and '.join(_TOKEN_KEYS)} are {tokens}: they have to be two different ids below "
            f"vocab_size {text['vocab_size']}",
        ),
    )
    return [problem for fits, problem in checks if not fits]
