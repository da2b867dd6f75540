"""The settings of the image and the video processor, and the files they are read from.

A setting that is neither known nor listed as harmless is an error: a misspelt ``max_pixel`` would
otherwise change every picture without a word.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import Field, dataclass, field, fields
from numbers import Integral, Real
from pathlib import Path
from typing import Any, TypeVar

from qwen2vl_ms.errors import Qwen2VLError

OPENAI_CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
OPENAI_CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
BICUBIC = 3  # PIL.Image.Resampling.BICUBIC, and the number the files use

PROCESSOR_FILE = "processor_config.json"
IMAGE_FILE = "preprocessor_config.json"
VIDEO_FILE = "video_preprocessor_config.json"

# Keys that published files carry and that do not change a pixel: for whom the file was saved, what
# the reference's other back end does, sizes of steps that are off, the form of the answer.
HARMLESS_KEYS = frozenset(
    {
        *("image_processor_type", "video_processor_type", "processor_class"),
        *("default_to_square", "device", "disable_grouping", "crop_size", "pad_size", "use_fast"),
        *("data_format", "input_data_format", "return_tensors", "return_metadata"),
    }
)
# Steps of the reference's base class that its Qwen2-VL classes never take. A file that turns one
# on expects something that would not happen.
ABSENT_STEPS = frozenset({"do_center_crop", "do_pad"})
TYPES: Mapping[str, frozenset[str]] = {
    "image_processor_type": frozenset(
        {"Qwen2VLImageProcessor", "Qwen2VLImageProcessorFast", "Qwen2VLImageProcessorPil"}
    ),
    "video_processor_type": frozenset({"Qwen2VLVideoProcessor"}),
}
# The layout of a patch, which the weights were trained with.
FIXED_BY_WEIGHTS = frozenset({"patch_size", "temporal_patch_size", "merge_size"})
SIZE_NAMES: Mapping[str, str] = {
    "shortest_edge": "min_pixels",
    "longest_edge": "max_pixels",
    "min_pixels": "min_pixels",
    "max_pixels": "max_pixels",
}

Settings = TypeVar("Settings", bound="PixelSettings")


def setting(default: Any, accepts: Callable[[Any], bool], wants: str) -> Any:
    """A dataclass field that knows what values it takes, and the words for it."""
    return field(default=default, metadata={"accepts": accepts, "wants": wants})


def flag(default: bool) -> Any:
    """A field that is true or false."""
    return setting(default, lambda value: isinstance(value, bool), "true or false")


def count(default: int) -> Any:
    """A field that is an integer of at least 1."""
    return setting(default, is_count, "an integer of at least 1")


def is_count(value: Any) -> bool:
    """Whether ``value`` is an integer of at least 1."""
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= 1


def is_positive(value: Any) -> bool:
    """Whether ``value`` is a finite number above 0."""
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    return is_number and 0 < value <= sys.float_info.max


def _is_finite(value: Any) -> bool:
    """Whether a float can hold a number; ``math.isfinite`` raises on too large an integer."""
    return bool(abs(value) <= sys.float_info.max)


def _is_triple(value: Any) -> bool:
    return (
        isinstance(value, (list, tuple))
        and len(value) == 3
        and all(isinstance(x, Real) and _is_finite(x) for x in value)
    )


def _is_positive_triple(value: Any) -> bool:
    return _is_triple(value) and all(x > 0 for x in value)


@dataclass(frozen=True, kw_only=True)
class PixelSettings:
    """What the image and the video processor have in common.

    The names and defaults are those of ``Qwen2VLImageProcessorPil`` (transformers 5.23), with its
    ``size.shortest_edge`` and ``size.longest_edge``, which count pixels of a whole picture, under
    the names ``min_pixels`` and ``max_pixels`` that published files use for them.

    Raises:
        Qwen2VLError: a value is not of the kind its field wants.
    """

    do_convert_rgb: bool = flag(True)
    do_resize: bool = flag(True)
    resample: int = setting(BICUBIC, lambda v: v in range(6), "a Pillow filter number, 0 to 5")
    min_pixels: int = count(56 * 56)
    max_pixels: int = count(28 * 28 * 1280)
    do_rescale: bool = flag(True)
    rescale_factor: float = setting(1 / 255, is_positive, "a number above 0")
    do_normalize: bool = flag(True)
    image_mean: Sequence[float] = setting(OPENAI_CLIP_MEAN, _is_triple, "three numbers")
    image_std: Sequence[float] = setting(
        OPENAI_CLIP_STD, _is_positive_triple, "three numbers above 0"
    )
    patch_size: int = count(14)
    temporal_patch_size: int = count(2)
    merge_size: int = count(2)

    def __post_init__(self) -> None:
        """Check every value."""
        for item in fields(self):
            _check_value(item, getattr(self, item.name))
        if self.min_pixels > self.max_pixels:
            raise Qwen2VLError(
                f"min_pixels {self.min_pixels} is more than max_pixels {self.max_pixels}: "
                "lower the one or raise the other"
            )

    @property
    def factor(self) -> int:
        """What heights and widths are multiples of, in pixels: one merged token's side."""
        return self.patch_size * self.merge_size

    @property
    def size(self) -> dict[str, int]:
        """The pixel budget under the reference's names."""
        return {"shortest_edge": self.min_pixels, "longest_edge": self.max_pixels}

    @classmethod
    def from_settings(
        cls: type[Settings], settings: Mapping[str, Any], source: str = "settings"
    ) -> Settings:
        """Build a processor from the contents of a preprocessor file.

        Args:
            settings: Values by name; ``None`` means the default. The pixel budget may be spelt
                ``min_pixels`` and ``max_pixels``, or as a dict ``size`` with ``shortest_edge``
                and ``longest_edge``; the former win, as they do in the reference.
            source: What to call the settings in an error message.

        Raises:
            Qwen2VLError: an unknown name or a value of the wrong kind, with ``source`` named.
        """
        try:
            return cls(**_known_values(settings, {item.name for item in fields(cls)}))
        except Qwen2VLError as error:
            raise Qwen2VLError(f"{source}: {error}") from None

    def overridden(self: Settings, **changes: Any) -> Settings:
        """A processor with other settings for one call; spelt and checked as `from_settings`.

        Raises:
            Qwen2VLError: as `from_settings`, or a setting that the weights depend on.
        """
        changes = _with_plain_size(changes)
        if fixed := sorted(FIXED_BY_WEIGHTS & set(changes)):
            raise Qwen2VLError(
                f"{fixed[0]} cannot change from call to call, the weights depend on it: set it in "
                "the checkpoint's preprocessor file"
            )
        own = {item.name: getattr(self, item.name) for item in fields(self)}
        return self.from_settings(own | changes, "this call")


def _check_value(item: Field[Any], value: Any) -> None:
    if not item.metadata["accepts"](value):
        raise Qwen2VLError(f"{item.name} is {value!r}: it has to be {item.metadata['wants']}")


def _known_values(settings: Mapping[str, Any], known: set[str]) -> dict[str, Any]:
    values = _with_plain_size(settings)
    for key, names in TYPES.items():
        if key in values and not (isinstance(values[key], str) and values[key] in names):
            raise Qwen2VLError(
                f"{key} is {values[key]!r}: these are another model's settings; "
                f"this port reads those of {' or '.join(sorted(names))}"
            )
    if active := sorted(name for name in ABSENT_STEPS if values.pop(name, False)):
        raise Qwen2VLError(f"{active[0]} is on, a step Qwen2-VL does not take: remove it")
    if unknown := sorted(set(values) - known - HARMLESS_KEYS):
        raise Qwen2VLError(
            f"unknown setting {unknown[0]!r}: remove it, or use one of {', '.join(sorted(known))}"
        )
    return {name: value for name, value in values.items() if name in known}


def _with_plain_size(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that are set, with ``size`` spelt as ``min_pixels`` and ``max_pixels``."""
    values = {name: value for name, value in settings.items() if value is not None}
    size = values.pop("size", None)
    if size is None:
        return values
    if isinstance(size, Mapping) and set(size) <= set(SIZE_NAMES):
        spelt = {SIZE_NAMES[name]: value for name, value in size.items()}
        if len(spelt) == len(size) and {"min_pixels", "max_pixels"} <= set(spelt | values):
            return spelt | values
    raise Qwen2VLError(
        f"size is {size!r}: it has to be a dict with 'shortest_edge' and 'longest_edge', the "
        "least and the most pixels of a whole picture"
    )


def read_settings(
    folder: str | Path, section: str, file_names: Sequence[str]
) -> tuple[dict[str, Any], str]:
    """Find and read the settings of one processor, in the reference's order.

    Mirrors ``get_image_processor_dict`` and ``get_video_processor_dict`` (transformers 5.23): a
    section of ``processor_config.json`` where there is one, else the first file that exists.

    Args:
        folder: A checkpoint folder.
        section: Name of the section, ``image_processor`` or ``video_processor``.
        file_names: Files of the older layout, in order of preference.

    Returns:
        The settings, and what to call them in an error message.

    Raises:
        Qwen2VLError: there is no such folder or none of the files, or one is not valid.
    """
    folder = existing_folder(folder)
    nested = folder / PROCESSOR_FILE
    if nested.is_file() and (found := read_json_object(nested).get(section)) is not None:
        if not isinstance(found, dict):
            raise Qwen2VLError(f"{nested}: {section!r} is not a JSON object; save it again")
        return found, f"{nested}, {section}"
    for name in file_names:
        if (folder / name).is_file():
            return read_json_object(folder / name), str(folder / name)
    raise Qwen2VLError(
        f"{folder} has no {' or '.join(file_names)}: copy it from the original checkpoint"
    )


def existing_folder(folder: str | Path) -> Path:
    """The folder as a path.

    Raises:
        Qwen2VLError: it does not exist or is not a folder.
    """
    if not Path(folder).is_dir():
        raise Qwen2VLError(
            f"no checkpoint folder {folder}: give the path of a local folder in the Hugging Face "
            "layout (nothing is downloaded)"
        )
    return Path(folder)


def read_json_object(path: Path) -> dict[str, Any]:
    """Read a JSON file that holds one object.

    Raises:
        Qwen2VLError: the file is missing or unreadable, or holds something else.
    """
    try:
        contents = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise Qwen2VLError(f"{path} cannot be read ({error.strerror}): check it exists") from None
    except (ValueError, RecursionError) as error:
        raise Qwen2VLError(f"{path} is not valid JSON ({error}): copy it again") from None
    if not isinstance(contents, dict):
        raise Qwen2VLError(f"{path} holds no JSON object: copy it again")
    return contents
