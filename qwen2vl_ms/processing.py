"""Texts, images and videos to the model's inputs, without torch."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from qwen2vl_ms.chat_template import OWN_VARIABLES, ChatTemplate
from qwen2vl_ms.errors import Qwen2VLError
from qwen2vl_ms.image_processing import Int64, Qwen2VLImageProcessor, list_images
from qwen2vl_ms.message_parts import named_media
from qwen2vl_ms.model_inputs import ModelInputs as ModelInputs
from qwen2vl_ms.model_inputs import check_tensor_kind
from qwen2vl_ms.preprocessor_config import existing_folder
from qwen2vl_ms.tokenization import Qwen2Tokenizer
from qwen2vl_ms.video_processing import Qwen2VLVideoProcessor
from qwen2vl_ms.video_reading import list_videos

IMAGE_TYPE, VIDEO_TYPE = 1, 2  # in mm_token_type_ids; text is 0

CALL_ARGUMENTS = frozenset(
    {
        *("padding", "padding_side", "max_length", "return_tensors"),
        *("images_kwargs", "videos_kwargs"),
    }
)
IMAGE_SETTINGS = frozenset({"size", *(item.name for item in fields(Qwen2VLImageProcessor))})
VIDEO_SETTINGS = frozenset(
    {"size", "video_metadata", *(item.name for item in fields(Qwen2VLVideoProcessor))}
)


class Qwen2VLProcessor:
    """Everything that happens before the model.

    Mirrors ``Qwen2VLProcessor`` (transformers 5.23) with the Pillow image processor; all arrays
    are equal bit for bit.
    """

    def __init__(
        self,
        image_processor: Qwen2VLImageProcessor,
        tokenizer: Qwen2Tokenizer,
        video_processor: Qwen2VLVideoProcessor,
        chat_template: ChatTemplate | None = None,
    ) -> None:
        self.image_processor = image_processor
        self.tokenizer = tokenizer
        self.video_processor = video_processor
        self.chat_template = chat_template
        self.image_token = tokenizer.special_tokens.get("image_token", "<|image_pad|>")
        self.video_token = tokenizer.special_tokens.get("video_token", "<|video_pad|>")
        self.image_token_id = tokenizer.token_to_id(self.image_token)
        self.video_token_id = tokenizer.token_to_id(self.video_token)

    @classmethod
    def from_pretrained(cls, folder: str | Path, **settings: Any) -> Qwen2VLProcessor:
        """Load everything from a checkpoint folder.

        Args:
            folder: A folder in the Hugging Face layout.
            settings: Settings of the image or the video processor instead of the checkpoint's,
                as ``max_pixels``; one that both know is set on both.

        Raises:
            Qwen2VLError: a file is missing, damaged or of another model, or an unknown setting.
        """
        folder = existing_folder(folder)
        for_images, for_videos = split_settings(settings)
        if "video_metadata" in for_videos:
            raise Qwen2VLError("video_metadata belongs to one call: give it there")
        return cls(
            Qwen2VLImageProcessor.from_pretrained(folder).overridden(**for_images),
            Qwen2Tokenizer.from_pretrained(folder),
            Qwen2VLVideoProcessor.from_pretrained(folder).overridden(**for_videos),
            ChatTemplate.from_pretrained(folder),
        )

    def __call__(
        self,
        *,
        text: str | Sequence[str],
        images: Any = None,
        videos: Any = None,
        padding: bool | str = False,
        padding_side: str | None = None,
        max_length: int | None = None,
        return_tensors: str | None = "np",
        images_kwargs: Mapping[str, Any] | None = None,
        videos_kwargs: Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> ModelInputs:
        """Turn a batch of texts with their images and videos into the model's inputs.

        Arguments are by keyword only, since the reference's first one is ``images``.

        Args:
            text: One text or one a row, with ``<|image_pad|>`` or ``<|video_pad|>`` once for
                each image or video.
            images: Images in the order of their places in the texts, flat or nested.
            videos: Videos, likewise; see `Qwen2VLVideoProcessor`.
            padding: See `Qwen2Tokenizer`, as ``padding_side`` and ``max_length``.
            padding_side: ``left`` or ``right`` instead of the checkpoint's.
            max_length: Length of rows with ``padding="max_length"``.
            return_tensors: ``"np"`` or ``None`` for NumPy arrays, ``"ms"`` for MindSpore tensors
                (int64 as int32).
            images_kwargs: Settings for this call's images only.
            videos_kwargs: Settings for this call's videos only, and ``video_metadata``.
            settings: Settings for both, as ``max_pixels``.

        Returns:
            ``input_ids``, ``attention_mask`` and ``mm_token_type_ids`` (0 text, 1 image,
            2 video), int64 [B, S]; with images ``pixel_values`` float32 [N, C * K * P * P] and
            ``image_grid_thw`` int64 [images, 3]; with videos ``pixel_values_videos`` and
            ``video_grid_thw``.

        Raises:
            Qwen2VLError: an input or a setting cannot be used, or the places in the texts do not
                match the images and videos in number.
        """
        check_tensor_kind(return_tensors)
        for_images, for_videos = split_settings(settings)
        vision = self._images(images, _merged(for_images, images_kwargs, "images_kwargs"))
        vision |= self._videos(videos, _merged(for_videos, videos_kwargs, "videos_kwargs"))
        expanded = self._expanded(text, vision)
        rows = self.tokenizer(expanded, padding, padding_side, max_length)
        types = self._types(rows.input_ids, expanded)
        inputs = ModelInputs(**rows._asdict(), mm_token_type_ids=types, **vision)
        return inputs.tensors() if return_tensors == "ms" else inputs

    def apply_chat_template(
        self,
        messages: Any,
        *,
        tokenize: bool = False,
        add_generation_prompt: bool = False,
        return_dict: bool = False,
        return_tensors: str | None = "np",
        processor_kwargs: Mapping[str, Any] | None = None,
        **variables: Any,
    ) -> Any:
        """Render a conversation, or a list of them, to text or on to the model's inputs.

        Mirrors ``ProcessorMixin.apply_chat_template`` (transformers 5.23). Pictures go to the
        processor as they are, by its rules: unlike `process_vision_info`, this samples a video
        only with ``fps`` or ``num_frames``, and heeds no wishes in a part such as ``max_pixels``.

        Args:
            messages: See `ChatTemplate.render`.
            tokenize: Load the images and videos that the messages name and call the processor.
            add_generation_prompt: Begin the assistant's answer.
            return_dict: With ``tokenize``, return all inputs and not the ids alone.
            return_tensors: With ``tokenize``, see `__call__`.
            processor_kwargs: With ``tokenize``, what else `__call__` gets, as ``padding`` or
                ``fps``; those that the template does not read may be given by themselves too.
            variables: Variables of the template, as ``add_vision_id``.

        Returns:
            The text or one text a conversation; with ``tokenize`` the ids [B, S], or all inputs.

        Raises:
            Qwen2VLError: there is no template, it does not know a variable, or it cannot render;
                with ``tokenize`` as `__call__`.
        """
        if self.chat_template is None:
            raise Qwen2VLError(
                "the checkpoint has no chat template: copy chat_template.jinja or "
                "chat_template.json into its folder"
            )
        known = self.chat_template.variables - OWN_VARIABLES
        if tokenize:
            call = {k: v for k, v in variables.items() if k not in known}
            call |= processor_kwargs or {}
            variables = {k: v for k, v in variables.items() if k in known}
        elif unknown := sorted(set(variables) - known):
            raise Qwen2VLError(
                f"the chat template does not read {unknown[0]!r}: it reads "
                f"{', '.join(sorted(known)) or 'nothing but the messages'}"
            )
        text = self.chat_template.render(
            messages,
            add_generation_prompt=add_generation_prompt,
            **{**self.tokenizer.special_tokens, **variables},
        )
        if not tokenize:
            return text
        inputs = self._inputs_of(messages, text, {"return_tensors": return_tensors, **call})
        return inputs if return_dict else inputs["input_ids"]

    def _inputs_of(self, messages: Any, text: str | list[str], call: dict[str, Any]) -> ModelInputs:
        if unknown := sorted(set(call) - CALL_ARGUMENTS - IMAGE_SETTINGS - VIDEO_SETTINGS):
            raise Qwen2VLError(
                f"neither the chat template nor the processor knows {unknown[0]!r}: remove it"
            )
        if call.get("fps") is not None or call.get("num_frames") is not None:
            call.setdefault("do_sample_frames", True)
        images, videos = named_media(messages)
        return self(text=text, images=images or None, videos=videos or None, **call)

    def batch_decode(
        self,
        sequences: Any,
        skip_special_tokens: bool = False,
        clean_up_tokenization_spaces: bool | None = None,
    ) -> list[str]:
        """Texts from token ids; see `Qwen2Tokenizer.batch_decode`."""
        return self.tokenizer.batch_decode(
            sequences, skip_special_tokens, clean_up_tokenization_spaces
        )

    def decode(
        self,
        ids: Any,
        skip_special_tokens: bool = False,
        clean_up_tokenization_spaces: bool | None = None,
    ) -> str:
        """One text from the ids of one row; see `Qwen2Tokenizer.decode`."""
        return self.tokenizer.decode(ids, skip_special_tokens, clean_up_tokenization_spaces)

    def _images(self, images: Any, settings: Mapping[str, Any]) -> dict[str, npt.NDArray[Any]]:
        listed = [] if images is None else list_images(images)
        return self.image_processor(listed, **settings) if listed else {}

    def _videos(self, videos: Any, settings: Mapping[str, Any]) -> dict[str, npt.NDArray[Any]]:
        listed = [] if videos is None else list_videos(videos)
        return self.video_processor([*listed], **settings) if listed else {}

    def _expanded(self, text: Any, vision: Mapping[str, npt.NDArray[Any]]) -> list[str]:
        texts = [text] if isinstance(text, str) else text
        if not isinstance(texts, (list, tuple)) or not all(isinstance(t, str) for t in texts):
            raise Qwen2VLError("text has to be a string or a list of strings, one a row")
        if not texts:
            raise Qwen2VLError("no texts were given: pass at least one")
        merge = self.image_processor.merge_size
        counts = token_counts(vision.get("image_grid_thw"), merge)
        texts = expand_placeholders(texts, self.image_token, counts, "image")
        counts = token_counts(vision.get("video_grid_thw"), self.video_processor.merge_size)
        return expand_placeholders(texts, self.video_token, counts, "video")

    def _types(self, input_ids: Int64, texts: Sequence[str]) -> Int64:
        types = np.zeros_like(input_ids)
        for token, token_id, kind in (
            (self.image_token, self.image_token_id, IMAGE_TYPE),
            (self.video_token, self.video_token_id, VIDEO_TYPE),
        ):
            places = input_ids == token_id
            if int(places.sum()) != sum(text.count(token) for text in texts):
                raise Qwen2VLError(
                    f"the tokenizer splits {token}: set split_special_tokens to false in "
                    "tokenizer_config.json"
                )
            types[places] = kind
        return types


def token_counts(grid_thw: Int64 | None, merge_size: int) -> list[int]:
    """Tokens of each image or video: patches over merged ones, from a grid int64 [n, 3]."""
    if grid_thw is None:
        return []
    return [int(patches) // merge_size**2 for patches in grid_thw.prod(axis=1)]


def expand_placeholders(
    texts: Sequence[str], token: str, counts: Sequence[int], kind: str
) -> list[str]:
    """Repeat the i-th ``token`` of the whole batch ``counts[i]`` times.

    Mirrors ``ProcessorMixin.get_text_with_replacements`` (transformers 5.23).

    Raises:
        Qwen2VLError: there are not as many places as counts.
    """
    places = [text.count(token) for text in texts]
    if sum(places) != len(counts):
        raise Qwen2VLError(
            f"the text has {sum(places)} {token} ({places} by row), but {len(counts)} {kind}(s) "
            f"were given: write {token} once for each {kind}"
        )
    remaining = iter(counts)
    return [re.sub(re.escape(token), lambda _: token * next(remaining), text) for text in texts]


def split_settings(settings: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Settings by the processor that knows them: images, videos or both.

    Raises:
        Qwen2VLError: neither knows one.
    """
    if unknown := sorted(set(settings) - IMAGE_SETTINGS - VIDEO_SETTINGS):
        known = ", ".join(sorted(IMAGE_SETTINGS | VIDEO_SETTINGS))
        raise Qwen2VLError(f"unknown setting {unknown[0]!r}: remove it, or use one of {known}")
    return (
        {name: value for name, value in settings.items() if name in IMAGE_SETTINGS},
        {name: value for name, value in settings.items() if name in VIDEO_SETTINGS},
    )


def _merged(common: Mapping[str, Any], own: Mapping[str, Any] | None, name: str) -> dict[str, Any]:
    if twice := sorted(set(common) & set(own or {})):
        raise Qwen2VLError(f"{twice[0]} was given twice, alone and in {name}: give it once")
    return {**common, **(own or {})}
