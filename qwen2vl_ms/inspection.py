"""What is in a checkpoint folder, does it load, and how much memory it takes.

Reads the configuration and the headers of the weights, never the weights, and needs no framework:
the answer for a checkpoint of 72 billion parameters takes a second.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from qwen2vl_ms.checkpoint import SafetensorsFile, survey
from qwen2vl_ms.config import CONFIG_FILE, Qwen2VLConfig
from qwen2vl_ms.errors import Qwen2VLError
from qwen2vl_ms.matching import Stored, match
from qwen2vl_ms.naming import HEAD, expected_shapes, naming_generation, parameter_name

PARTS = ("vision", "merger", "decoder", "embedding", "head")
# Bytes of one number in each precision policy of qwen2vl_ms.precision.
BYTES = {"fp32": 4, "fp16": 2, "bf16": 2, "ascend-mixed": 2}
# Beside the weights: what each file is needed for. Several names: any of them will do.
COMPANIONS: Mapping[str, tuple[str, ...]] = {
    "tokenizer": ("tokenizer.json",),
    "tokenizer settings": ("tokenizer_config.json",),
    "image processor": ("preprocessor_config.json", "processor_config.json"),
    "video processor": (
        *("video_preprocessor_config.json", "preprocessor_config.json"),
        "processor_config.json",
    ),
    "chat template": ("chat_template.jinja", "chat_template.json"),
    "generation settings": ("generation_config.json",),
}


@dataclass(frozen=True)
class Shard:
    """One file of weights.

    Attributes:
        file: Its name.
        bytes: Its size.
        tensors: How many it holds.
    """

    file: str
    bytes: int
    tensors: int


@dataclass(frozen=True)
class Memory:
    """Bytes that one precision takes.

    The first two are those of a device with kernels for the precision, where norms are kept in
    float32 all the same; the others those of the CPU, where it is emulated in float32.

    Attributes:
        weights: All parameters.
        cache_per_token: Keys and values of one token of one row, all layers.
        weights_on_cpu: All parameters, on CPU.
        cache_per_token_on_cpu: The same of the cache.
    """

    weights: int
    cache_per_token: int
    weights_on_cpu: int
    cache_per_token_on_cpu: int


@dataclass(frozen=True)
class Inspection:
    """What `inspect_checkpoint` found.

    Attributes:
        folder: The folder.
        architecture: The class that ``config.json`` names, else its ``model_type``.
        sizes: Layers, heads and widths; empty when the configuration cannot be used.
        tied: Whether the head is the embedding; None when the configuration cannot be used.
        parameters: Numbers in each of `PARTS`, and in "other" what is none of the model's.
        dtypes: Numbers stored in each dtype, in safetensors' spelling.
        naming: Which generation of names is used; see `qwen2vl_ms.naming.naming_generation`.
        shards: The files of the weights.
        memory: By the name of the precision policy; empty when the configuration cannot be used.
        companions: The file found for each of `COMPANIONS`, or None.
        problems: Why it does not load; empty when it does.
        chat_problems: Why a conversation is impossible even if the weights load.
        notes: What is worth knowing and stops nothing.
    """

    folder: str
    architecture: str | None
    sizes: dict[str, int]
    tied: bool | None
    parameters: dict[str, int]
    dtypes: dict[str, int]
    naming: str
    shards: list[Shard]
    memory: dict[str, Memory]
    companions: dict[str, str | None]
    problems: list[str]
    chat_problems: list[str]
    notes: list[str]

    @property
    def loads(self) -> bool:
        """Whether ``from_pretrained`` accepts the folder."""
        return not self.problems


def inspect_checkpoint(folder: str | Path) -> Inspection:
    """Look at a checkpoint folder without loading it.

    Raises:
        Qwen2VLError: There is no such folder, or neither a configuration nor weights in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise Qwen2VLError(f"{folder} is not a folder: pass a checkpoint's folder")
    stored, problems = survey(folder)
    if not stored and not (folder / CONFIG_FILE).is_file():
        raise Qwen2VLError(
            f"{folder} holds neither {CONFIG_FILE} nor weights: pass a checkpoint's folder"
        )
    config, config_problems = _config(folder)
    complete = not problems
    problems = [*config_problems, *problems]
    if config is not None and complete:
        problems += match(stored, expected_shapes(config))[1]
    problems += _generation_problems(folder)
    chat_problems = _chat_problems(folder)
    return Inspection(
        folder=str(folder),
        architecture=_architecture(folder),
        sizes={} if config is None else _sizes(config),
        tied=None if config is None else config.tie_word_embeddings,
        parameters=_parameters(stored),
        dtypes=_dtypes(stored),
        naming=naming_generation(stored),
        shards=_shards(stored),
        memory={} if config is None else _memory(config),
        companions=_companions(folder, chats=not chat_problems),
        problems=problems,
        chat_problems=chat_problems,
        notes=_notes(folder, config, stored),
    )


def _config(folder: Path) -> tuple[Qwen2VLConfig | None, list[str]]:
    try:
        return Qwen2VLConfig.from_pretrained(folder), []
    except Qwen2VLError as error:
        return None, [str(error)]


def _architecture(folder: Path) -> str | None:
    """What ``config.json`` calls the model, as far as it can be read."""
    from qwen2vl_ms.config_reader import read_json_object

    try:
        values = read_json_object(folder / CONFIG_FILE)
    except Qwen2VLError:
        return None
    classes = values.get("architectures")
    named = classes[0] if isinstance(classes, list) and classes else values.get("model_type")
    return named if isinstance(named, str) else None


def _sizes(config: Qwen2VLConfig) -> dict[str, int]:
    text, vision = config.text_config, config.vision_config
    return {
        "vision blocks": vision.depth,
        "vision width": vision.embed_dim,
        "vision heads": vision.num_heads,
        "vision head width": vision.head_dim,
        "vision MLP width": vision.intermediate_size,
        "decoder layers": text.num_hidden_layers,
        "decoder width": text.hidden_size,
        "decoder query heads": text.num_attention_heads,
        "decoder key heads": text.num_key_value_heads,
        "decoder head width": text.head_dim,
        "decoder MLP width": text.intermediate_size,
        "vocabulary": text.vocab_size,
    }


def part_of(stored_name: str) -> str | None:
    """Which of `PARTS` a stored tensor belongs to, "other", or None for a known constant."""
    try:
        name = parameter_name(stored_name)
    except KeyError:
        return "other"
    if name is None:
        return None
    for prefix, part in (
        ("model.visual.merger.", "merger"),
        ("model.visual.", "vision"),
        ("model.language_model.embed_tokens.", "embedding"),
        ("model.language_model.", "decoder"),
    ):
        if name.startswith(prefix):
            return part
    return "head"


def _parameters(stored: Stored) -> dict[str, int]:
    counts = dict.fromkeys((*PARTS, "other"), 0)
    for name, file in stored.items():
        part = part_of(name)
        if part is not None:
            counts[part] += math.prod(file.shape(name))
    return counts


def _dtypes(stored: Stored) -> dict[str, int]:
    numbers: Counter[str] = Counter()
    for name, file in stored.items():
        numbers[file.dtype(name)] += math.prod(file.shape(name))
    return dict(numbers.most_common())


def _shards(stored: Stored) -> list[Shard]:
    files: dict[str, SafetensorsFile] = {file.path.name: file for file in stored.values()}
    return [Shard(n, f.path.stat().st_size, len(f.names)) for n, f in sorted(files.items())]


def _memory(config: Qwen2VLConfig) -> dict[str, Memory]:
    numbers = {name: math.prod(shape) for name, shape in expected_shapes(config).items()}
    norms = sum(n for name, n in numbers.items() if "norm" in name or "ln_q" in name)
    others = sum(numbers.values()) - norms
    text, wide = config.text_config, BYTES["fp32"]
    cached = 2 * text.num_hidden_layers * text.num_key_value_heads * text.head_dim
    return {
        name: Memory(
            weights=others * size + norms * wide,
            cache_per_token=cached * size,
            weights_on_cpu=(others + norms) * wide,
            cache_per_token_on_cpu=cached * wide,
        )
        for name, size in BYTES.items()
    }


def _companions(folder: Path, chats: bool) -> dict[str, str | None]:
    """The file found for each need; a template may also be inside the tokenizer's settings."""
    found = {what: _first(folder, names) for what, names in COMPANIONS.items()}
    if chats and found["chat template"] is None:
        found["chat template"] = found["tokenizer settings"]
    return found


def _first(folder: Path, names: tuple[str, ...]) -> str | None:
    return next((name for name in names if (folder / name).is_file()), None)


def _generation_problems(folder: Path) -> list[str]:
    """What ``generation_config.json`` asks for that is unknown."""
    from qwen2vl_ms.generation_config import FILE, GenerationConfig

    if not (folder / FILE).is_file():
        return []
    try:
        GenerationConfig.from_pretrained(folder)
    except Qwen2VLError as error:
        return [str(error)]
    return []


def _chat_problems(folder: Path) -> list[str]:
    """Why the processor cannot be made, found by making it."""
    from qwen2vl_ms.processing import Qwen2VLProcessor

    try:
        processor = Qwen2VLProcessor.from_pretrained(folder)
    except Qwen2VLError as error:
        return [str(error)]
    if processor.chat_template is None:
        return [
            f"{folder} has no chat template: copy chat_template.jinja or chat_template.json into it"
        ]
    return []


def _notes(folder: Path, config: Qwen2VLConfig | None, stored: Stored) -> list[str]:
    found = []
    if config is not None and config.tie_word_embeddings and HEAD in stored:
        found.append(f"{HEAD} is stored and tied: loading checks that it equals the embedding")
    if _first(folder, COMPANIONS["generation settings"]) is None:
        found.append("no generation_config.json: answers end at the tokens that config.json names")
    return found
