"""A folder with everything a processor is loaded from, made on the spot."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, trainers
from transformers import AutoTokenizer
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.models.qwen2_vl.processing_qwen2_vl import Qwen2VLProcessor

from qwen2vl_ms.tokenization import SPLIT_PATTERN, use_qwen2_pipeline

SPECIAL_TOKENS = (
    *("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>"),
    *("<|image_pad|>", "<|video_pad|>"),
)
# The template that Qwen2-VL's checkpoints come with.
TEMPLATE = (
    "{% set image_count = namespace(value=0) %}{% set video_count = namespace(value=0) %}"
    "{% for message in messages %}{% if loop.first and message['role'] != 'system' %}"
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}"
    "<|im_start|>{{ message['role'] }}\n{% if message['content'] is string %}"
    "{{ message['content'] }}<|im_end|>\n{% else %}{% for content in message['content'] %}"
    "{% if content['type'] == 'image' or 'image' in content or 'image_url' in content %}"
    "{% set image_count.value = image_count.value + 1 %}"
    "{% if add_vision_id %}Picture {{ image_count.value }}: {% endif %}"
    "<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif content['type'] == 'video' or 'video' in content %}"
    "{% set video_count.value = video_count.value + 1 %}"
    "{% if add_vision_id %}Video {{ video_count.value }}: {% endif %}"
    "<|vision_start|><|video_pad|><|vision_end|>"
    "{% elif 'text' in content %}{{ content['text'] }}{% endif %}{% endfor %}<|im_end|>\n"
    "{% endif %}{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CORPUS = [
    "The quick brown fox jumps over the lazy dog. Which digits are shown, and where?",
    "It's 1234 o'clock; we'll see, they've said, I'm sure you'd agree!\r\n\r\n  Indented lines.",
    "Größe, naïve, café, Ελληνικά, русский, 你好世界, こんにちは, नमस्ते, 🙂🙃",
] * 5


@functools.cache
def trained() -> str:
    """A byte-level BPE tokenizer of about 400 tokens as ``tokenizer.json``."""
    tokenizer = Tokenizer(models.BPE())
    use_qwen2_pipeline(tokenizer)
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in SPECIAL_TOKENS])
    assert (
        SPLIT_PATTERN
        in json.loads(tokenizer.to_str())["pre_tokenizer"]["pretokenizers"][0]["pattern"].values()
    )
    return tokenizer.to_str()


def tokenizer_json(**changes: Any) -> dict[str, Any]:
    return json.loads(trained()) | changes


def write(folder: Path, tokenizer: dict[str, Any] | None = None, **config: Any) -> Path:
    """Write every file; ``config`` changes ``tokenizer_config.json``, ``...`` removes a key."""
    folder.mkdir(exist_ok=True)
    settings = {
        "tokenizer_class": "Qwen2Tokenizer",
        "padding_side": "left",
        "pad_token": "<|endoftext|>",
        "eos_token": "<|im_end|>",
        "unk_token": None,
        "bos_token": None,
        "additional_special_tokens": list(SPECIAL_TOKENS[1:]),
    } | config
    settings = {key: value for key, value in settings.items() if value is not ...}
    contents = {
        "tokenizer.json": tokenizer_json() if tokenizer is None else tokenizer,
        "tokenizer_config.json": settings,
        "config.json": {"model_type": "qwen2_vl"},
        "chat_template.json": {"chat_template": TEMPLATE},
        "preprocessor_config.json": {"min_pixels": 784, "max_pixels": 9408},
    }
    for name, content in contents.items():
        (folder / name).write_text(json.dumps(content))
    return folder


def reference_processor(folder: Path, video_processor: Any = None) -> Qwen2VLProcessor:
    """The reference; without a video processor, which needs torchvision, unless one is given."""
    processor = Qwen2VLProcessor.__new__(Qwen2VLProcessor)
    processor.check_argument_for_proper_class = lambda *_: None
    processor.__init__(
        Qwen2VLImageProcessorPil.from_pretrained(folder),
        AutoTokenizer.from_pretrained(folder),
        video_processor,
        chat_template=TEMPLATE,
    )
    return processor
