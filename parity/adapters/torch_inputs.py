"""A case as the Hugging Face processor prepares it."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from parity.core.cases import Case
from parity.core.errors import CaseError, ParityError, describe_exception
from parity.core.trace import Array


def reference_inputs(case: Case, checkpoint: Path) -> dict[str, Array]:
    """The reference processor's outputs for ``case``: integers int64, pixels float32.

    Mirrors ``transformers.Qwen2VLProcessor.__call__`` with the Pillow image back end. Only a
    case with a video needs torchvision, which the reference's video processor is made of, and
    which has to be imported before transformers: that happens in a process of its own.

    Raises:
        CaseError: an image cannot be read.
        ParityError: a video case, and torchvision is not installed where it belongs.
    """
    if "video" not in case.modalities:
        return _prepare(case, checkpoint)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(_prepare, case, checkpoint).result()


def _prepare(case: Case, checkpoint: Path) -> dict[str, Array]:
    """The work of :func:`reference_inputs`, in this process."""
    videos = "video" in case.modalities
    video_processor = _video_processor(checkpoint) if videos else None
    from transformers import AutoTokenizer
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import (
        Qwen2VLImageProcessorPil,
    )
    from transformers.models.qwen2_vl.processing_qwen2_vl import Qwen2VLProcessor

    budget = {} if case.max_pixels is None else {"max_pixels": case.max_pixels}
    try:
        image_processor = Qwen2VLImageProcessorPil.from_pretrained(checkpoint, **budget)
        tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    except Exception as error:
        raise ParityError(
            f"the reference's processor cannot be loaded from the checkpoint {checkpoint}: "
            f"{describe_exception(error)}"
        ) from error
    processor = _assemble(Qwen2VLProcessor, image_processor, tokenizer, video_processor)
    texts = [
        tokenizer.apply_chat_template(conversation, tokenize=False, add_generation_prompt=True)
        for conversation in case.messages
    ]
    parts = [part for prompt in case.prompts for part in prompt]
    media: dict[str, Any] = {}
    if images := [part.image for part in parts if part.image]:
        # By name, as a user passes them: the reference reads a file its own way (orientation,
        # transparency), not as it treats an image that is open already.
        media["images"] = [str(path) for path in images if _open(path)]
    if clips := [part for part in parts if part.frames]:
        media["videos"] = [np.stack([_frame(f) for f in c.frames]) for c in clips]
        media["videos_kwargs"] = {"do_sample_frames": False, "cap_pixels_per_frame": False}
    try:
        batch = processor(text=texts, padding=True, return_tensors="np", **media)
    except ValueError as error:
        raise CaseError(
            f"case {case.name!r}: the reference's processor refuses its inputs: {error}; change "
            f"the case, or its files {[path.name for path in case.files]}"
        ) from error
    found = {name: _plain(np.asarray(value)) for name, value in batch.items()}
    found["attention_mask"] = np.multiply(found["attention_mask"], case.mask_value)
    return found


def _assemble(kind: Any, image_processor: Any, tokenizer: Any, video_processor: Any) -> Any:
    """A processor; one without a video processor is not checked for having one."""
    if video_processor is not None:
        return kind(image_processor, tokenizer, video_processor)
    processor = kind.__new__(kind)
    processor.check_argument_for_proper_class = lambda *_: None
    processor.__init__(image_processor, tokenizer, None)
    return processor


def _video_processor(checkpoint: Path) -> Any:
    from parity.adapters.torchvision_shim import reference_video_processor

    return reference_video_processor(checkpoint)


def _open(path: Path | None) -> Any:
    """The image in a file, read completely."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(str(path)) as image:
            image.load()
            return image.copy()
    except (UnidentifiedImageError, OSError) as error:
        raise CaseError(
            f"{path} cannot be read as an image ({error}); replace the file, or name another one "
            "in the case"
        ) from error


def _frame(path: Path) -> Array:
    """A frame as a decoder gives it: uint8 ``[H, W, 3]``."""
    return np.asarray(_open(path).convert("RGB"))


def _plain(array: Array) -> Array:
    wanted = np.float32 if np.issubdtype(array.dtype, np.floating) else np.int64
    return np.ascontiguousarray(array, dtype=wanted)
