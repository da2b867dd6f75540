"""Questions and answers: a loaded checkpoint, what is asked of it, and how long that took."""

from __future__ import annotations

import platform
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qwen2vl_ms.conversation import Message
from qwen2vl_ms.errors import Qwen2VLError

if TYPE_CHECKING:
    from qwen2vl_ms.model import Qwen2VLForConditionalGeneration
    from qwen2vl_ms.processing import ModelInputs, Qwen2VLProcessor

KINDS = ("text", "image", "video")  # by mm_token_type_ids: 0, 1, 2
PACKAGES = ("mindspore", "numpy", "pillow", "safetensors", "tokenizers")
_DEVICE = re.compile(r"(CPU|Ascend)(?::(\d+))?")


@dataclass(frozen=True)
class ChatOptions:
    """How a checkpoint is loaded and asked.

    Attributes:
        dtype: A precision policy: fp32, fp16, bf16 or ascend-mixed.
        device: As CPU, Ascend or Ascend:1; None leaves the choice to MindSpore.
        attention: eager, chunked or flash; None chooses the best on the device.
        jit: Whether to compile graphs.
        min_pixels: Fewest pixels of an image, and of a video's frame; None: the checkpoint's.
        max_pixels: Most pixels of an image, and of a video's frame; None: the checkpoint's.
        generation: Settings of ``generate``; those that are None are left to the checkpoint.
    """

    dtype: str = "fp32"
    device: str | None = None
    attention: str | None = None
    jit: bool = False
    min_pixels: int | None = None
    max_pixels: int | None = None
    generation: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Answer:
    """What came of a question.

    Attributes:
        answer: The text, without special tokens.
        token_ids: The new tokens, the end token included.
        stop_reason: "end token" or "length".
        prompt_tokens: Of each of `KINDS`, and "all".
        preprocessing_seconds: Reading and preparing pictures, videos and text.
        prefill_seconds: The prompt, up to the first token's logits.
        decode_ms: Each later token's forward pass, in milliseconds.
        tokens_per_second: Of the later tokens; None when there is none.
        seed: What sampling started from; None for greedy.
    """

    answer: str
    token_ids: list[int]
    stop_reason: str
    prompt_tokens: dict[str, int]
    preprocessing_seconds: float
    prefill_seconds: float
    decode_ms: list[float]
    tokens_per_second: float | None
    seed: int | None


@dataclass(frozen=True)
class Chat:
    """A loaded checkpoint.

    Attributes:
        model: The model.
        processor: Its processor.
        options: How it was loaded.
        load_seconds: How long that took, the framework's start included.
    """

    model: Qwen2VLForConditionalGeneration
    processor: Qwen2VLProcessor
    options: ChatOptions
    load_seconds: float

    @classmethod
    def load(cls, folder: str | Path, options: ChatOptions, progress: bool = False) -> Chat:
        """Load a checkpoint folder.

        Args:
            folder: In the Hugging Face layout.
            options: How.
            progress: Show a progress bar on standard error, if that is a terminal.

        Raises:
            Qwen2VLError: The device, the checkpoint or an option cannot be used.
        """
        started = time.perf_counter()
        from qwen2vl_ms.processing import Qwen2VLProcessor

        processor = Qwen2VLProcessor.from_pretrained(folder)  # first: it fails sooner
        start_device(options.device)
        from qwen2vl_ms.model import Qwen2VLForConditionalGeneration

        model = Qwen2VLForConditionalGeneration.from_pretrained(
            folder,
            mindspore_dtype=options.dtype,
            attn_implementation=options.attention,
            jit=options.jit,
            progress=progress,
        )
        return cls(model, processor, options, time.perf_counter() - started)

    def ask(self, messages: list[Message], write: Callable[[str], object]) -> Answer:
        """Answer the last of some messages.

        Args:
            messages: As `Conversation.messages`.
            write: Takes the text piece by piece, as soon as it is certain.

        Raises:
            Qwen2VLError: A picture, a video or a setting cannot be used, or the prompt is too long.
            KeyboardInterrupt: Nothing is left over in the model: it can be asked again.
        """
        from qwen2vl_ms.generate import generate_with_info
        from qwen2vl_ms.streaming import TextStreamer

        started = time.perf_counter()
        inputs = self._inputs(messages)
        prepared = time.perf_counter() - started
        pieces: list[str] = []
        streamer = TextStreamer(self.processor, _both(pieces.append, write))
        arguments: dict[str, Any] = {**inputs, **self.options.generation}
        result = generate_with_info(self.model, streamer=streamer, **arguments)
        seconds = result.step_seconds
        return Answer(
            answer="".join(pieces),
            token_ids=list(result.new_tokens[0]),
            stop_reason=result.stop_reasons[0].value,
            prompt_tokens=_token_kinds(inputs),
            preprocessing_seconds=prepared,
            prefill_seconds=result.prefill_seconds,
            decode_ms=[1000 * step for step in seconds],
            tokens_per_second=len(seconds) / sum(seconds) if seconds else None,
            seed=result.seeds[0] if result.seeds else None,
        )

    def _inputs(self, messages: list[Message]) -> ModelInputs:
        """The model's inputs for a prompt of one row."""
        from qwen2vl_ms.vision_info import process_vision_info

        text = self.processor.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=True
        )
        images, videos = process_vision_info(messages)
        sizes = {"min_pixels": self.options.min_pixels, "max_pixels": self.options.max_pixels}
        given = {name: value for name, value in sizes.items() if value is not None}
        return self.processor(
            text=text,
            images=images,
            videos=videos,
            padding=True,
            return_tensors="np",
            images_kwargs=given,
        )

    def as_json(self, answer: Answer) -> dict[str, Any]:
        """Everything about an answer, for ``json.dumps``."""
        import mindspore as ms

        from qwen2vl_ms.attention import choose

        return {
            **asdict(answer),
            "load_seconds": self.load_seconds,
            "dtype": self.model.policy.name,
            "device": ms.get_context("device_target"),
            "attention": choose(self.options.attention, self.model.policy),
            "jit": self.options.jit,
            "versions": {
                "python": platform.python_version(),
                **{name: version(name) for name in PACKAGES},
            },
        }


def start_device(device: str | None) -> None:
    """Compute on a device from now on, which a process can choose once.

    On CPU operations are launched one after the other from then on, which was measured to make a
    small model's tokens four times as fast as MindSpore's own asynchronous launch.

    Args:
        device: As CPU, Ascend or Ascend:1; None leaves the choice to MindSpore.

    Raises:
        Qwen2VLError: There is no such device here.
    """
    parts = _DEVICE.fullmatch(device or "CPU")
    if parts is None:
        raise Qwen2VLError(f"device is {device!r}: it has to be CPU, Ascend, or as Ascend:1")
    import mindspore as ms

    try:
        if device is not None:
            ms.set_device(parts[1], int(parts[2] or 0))
    except (RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise Qwen2VLError(f"device {device} cannot be used here: {reason}") from None
    if ms.get_context("device_target") == "CPU":
        ms.runtime.launch_blocking()


def _token_kinds(inputs: Mapping[str, Any]) -> dict[str, int]:
    """How many tokens of the prompt are text, image and video."""
    types = inputs["mm_token_type_ids"][inputs["attention_mask"] != 0]
    counts = {kind: int((types == index).sum()) for index, kind in enumerate(KINDS)}
    return {**counts, "all": int(types.size)}


def _both(keep: Callable[[str], object], write: Callable[[str], object]) -> Callable[[str], None]:
    """One function that keeps a piece of text and writes it."""

    def both(text: str) -> None:
        keep(text)
        write(text)

    return both
