"""Cases: the inputs of a comparison, read from one TOML file."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from parity.core.errors import CaseError
from parity.core.files import read_text

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

CASE_KEYS = {"about", "again", "chunks", "decode_steps", "mask_value", "max_pixels", "prompts"}
PART_KEYS = ({"image"}, {"video", "fps"}, {"text"}, {"text_file"})
FRAME_SUFFIXES = {".png", ".jpg"}
MAX_BYTES = 16 << 20
"""Of a cases file, and of a text that a case names."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
"""A case's name becomes part of test ids and of a folder's name."""


@dataclass(frozen=True)
class Part:
    """A piece of a prompt: exactly one of text, an image file or a folder of frames."""

    text: str | None = None
    image: Path | None = None
    frames: tuple[Path, ...] = ()
    fps: float | None = None

    @property
    def content(self) -> dict[str, str]:
        """The part in the form chat templates take: text, or a place for an image or a video."""
        if self.text is not None:
            return {"type": "text", "text": self.text}
        return {"type": "image" if self.image else "video"}


@dataclass(frozen=True)
class Case:
    """One input to compare on."""

    name: str
    about: str
    prompts: tuple[tuple[Part, ...], ...]
    """A conversation turn for each row of the batch."""
    decode_steps: int = 0
    """Tokens to decode after the prompt, the reference's own choices."""
    max_pixels: int | None = None
    """Pixel budget of an image, instead of the checkpoint's."""
    again: tuple[tuple[Part, ...], ...] = ()
    """Prompts of a second call of the same loaded model, whose points then fire again."""
    chunks: int = 1
    """Parts of equal length (the last may be shorter) in which the decoder is fed a prompt."""
    mask_value: int = 1
    """What marks a real token in the attention mask: packing collators write other numbers."""

    @property
    def calls(self) -> tuple[Case, ...]:
        """A case for each call of the loaded model, in order."""
        first = replace(self, again=())
        return (first, replace(first, prompts=self.again)) if self.again else (first,)

    @property
    def files(self) -> tuple[Path, ...]:
        """Every file the case reads."""
        parts = [part for prompt in (*self.prompts, *self.again) for part in prompt]
        return tuple(f for p in parts for f in ((p.image,) if p.image else p.frames))

    @property
    def modalities(self) -> tuple[str, ...]:
        """``image`` and ``video``, as far as the case has them."""
        parts = [part for prompt in self.prompts for part in prompt]
        has = {"image": any(p.image for p in parts), "video": any(p.frames for p in parts)}
        return tuple(name for name, present in has.items() if present)

    @property
    def messages(self) -> list[list[dict[str, Any]]]:
        """A conversation for each row, in the form chat templates take."""
        return [
            [{"role": "user", "content": [part.content for part in prompt]}]
            for prompt in self.prompts
        ]

    @property
    def rows(self) -> int:
        """Batch size."""
        return len(self.prompts)

    @property
    def inputs(self) -> dict[str, Any]:
        """All that decides what the model is given, besides files and checkpoint; plain data."""
        return {
            "messages": [call.messages for call in self.calls],
            "decode_steps": self.decode_steps,
            "max_pixels": self.max_pixels,
            "chunks": self.chunks,
            "mask_value": self.mask_value,
        }


def load_cases(path: Path) -> dict[str, Case]:
    """Read every case in ``path``; files are looked for beside it.

    Raises:
        CaseError: the file is missing or malformed, or a case names a file that is not there.
    """
    try:
        data = tomllib.loads(read_text(path, MAX_BYTES))
    except OSError as error:
        raise CaseError(f"cannot read the cases file {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise CaseError(f"the cases file {path} is not TOML: {error}") from error
    if not data:
        raise CaseError(f"the cases file {path} holds no case")
    return {name: _case(name, table, path) for name, table in data.items()}


def select_cases(cases: Mapping[str, Case], names: Sequence[str]) -> list[Case]:
    """The cases named, or all of them.

    Raises:
        CaseError: a name is none of them.
    """
    unknown = [name for name in names if name not in cases]
    if unknown:
        raise CaseError(f"no case is named {', '.join(unknown)}; there are: {', '.join(cases)}")
    return [cases[name] for name in dict.fromkeys(names)] if names else list(cases.values())


def _case(name: str, table: Any, path: Path) -> Case:
    """One table as a case."""
    where = f"{path}: case {name!r}"
    root = path.parent
    if not NAME.fullmatch(name):
        raise CaseError(f"{where}: a name is made of letters, digits, '-', '_' and '.'")
    if not isinstance(table, dict):
        raise CaseError(f"{where} needs a list of prompts ([[{name}.prompts]])")
    _known(table, CASE_KEYS, where)
    case = Case(
        name,
        about=_string(table, "about", where) if "about" in table else "",
        prompts=_prompts(table.get("prompts"), f"[[{name}.prompts]]", where, root),
        decode_steps=_whole(table, "decode_steps", 0, where) or 0,
        max_pixels=_whole(table, "max_pixels", 1, where),
        again=_prompts(table["again"], f"[[{name}.again]]", where, root)
        if "again" in table
        else (),
        chunks=_whole(table, "chunks", 1, where) or 1,
        mask_value=_whole(table, "mask_value", 1, where) or 1,
    )
    _check_calls(case, where)
    return case


def _check_calls(case: Case, where: str) -> None:
    """Refuse what a comparison of several calls, or of a prompt in parts, cannot tell apart."""
    unpadded = case.rows == 1 and len(case.again) <= 1
    if (case.again or case.chunks > 1) and not unpadded:
        raise CaseError(
            f"{where}: again and chunks go with a single prompt each: several would be padded to "
            "one length, and padding is left out of a first, whole prompt only"
        )
    first, *later = case.calls
    if any(call.modalities != first.modalities for call in later):
        raise CaseError(
            f"{where}: prompts and again have to hold the same kinds of parts, images or videos: "
            "each point has to fire in every call"
        )


def _prompts(prompts: Any, header: str, where: str, root: Path) -> tuple[tuple[Part, ...], ...]:
    """The rows of one call, each under ``header`` in the file."""
    if not isinstance(prompts, list):
        raise CaseError(f"{where} needs a list of prompts ({header})")
    if not prompts:
        raise CaseError(f"{where} has an empty list of prompts; add a {header}")
    return tuple(_prompt(prompt, where, root) for prompt in prompts)


def _prompt(prompt: Any, where: str, root: Path) -> tuple[Part, ...]:
    """One batch row's parts."""
    content = prompt.get("content") if isinstance(prompt, dict) else None
    if not isinstance(content, list) or not content:
        raise CaseError(f"{where}: a prompt needs a non-empty list named content")
    _known(prompt, {"content"}, f"{where}: a prompt")
    return tuple(_part(part, where, root) for part in content)


def _part(part: Any, where: str, root: Path) -> Part:
    """One ``{kind = value}`` table as a part."""
    if not isinstance(part, dict) or not any(
        part.keys() & k and part.keys() <= k for k in PART_KEYS
    ):
        raise CaseError(
            f"{where}: {part!r} is no part of a prompt; write one of {{text = ..}}, "
            "{text_file = ..}, {image = ..}, {video = .., fps = ..}"
        )
    if "text" in part:
        return Part(text=_string(part, "text", where))
    if "text_file" in part:
        return Part(text=_text(_file(root, _string(part, "text_file", where), where), where))
    if "image" in part:
        return Part(image=_file(root, _string(part, "image", where), where))
    if "video" not in part:
        raise CaseError(f"{where}: {part!r} has fps and no video; add video = .. or drop fps")
    return Part(frames=_frames(root, _string(part, "video", where), where), fps=_fps(part, where))


def _frames(root: Path, name: str, where: str) -> tuple[Path, ...]:
    """The frames in the folder ``name``, by name."""
    folder = _inside(root, name, where)
    try:
        found = sorted(entry for entry in folder.iterdir() if entry.suffix in FRAME_SUFFIXES)
    except OSError as error:
        raise CaseError(
            f"{where} names {name!r}, which is no folder of frames: {error.strerror}"
        ) from error
    if not found:
        raise CaseError(f"{where}: {folder} holds no frames (*.png, *.jpg)")
    return tuple(_file(root, str(frame), where) for frame in found)


def _fps(part: Mapping[str, Any], where: str) -> float:
    """Frames a second of a video; 2 where it is not said."""
    value = part.get("fps", 2.0)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 < value <= sys.float_info.max:
        raise CaseError(f"{where}: fps = {value!r} has to be a positive number")
    return float(value)


def _text(path: Path, where: str) -> str:
    """The content of a text file."""
    try:
        return read_text(path, MAX_BYTES)
    except UnicodeDecodeError as error:
        raise CaseError(f"{where}: {path} is not UTF-8 ({error}); save it as UTF-8") from error
    except OSError as error:
        raise CaseError(f"{where}: cannot read {path}: {error.strerror}") from error


def _file(root: Path, name: str, where: str) -> Path:
    """The existing file ``name`` below ``root``."""
    path = _inside(root, name, where)
    if not path.is_file():
        raise CaseError(f"{where} names {name!r}, which is no file")
    return path


def _inside(root: Path, name: str, where: str) -> Path:
    """What is called ``name`` below ``root``, links followed."""
    try:
        path = (root / name).resolve()
        inside, there = path.is_relative_to(root.resolve()), path.exists()
    except (OSError, RuntimeError, ValueError) as error:
        # A folder that may not be entered, a loop of links, a NUL in the name.
        raise CaseError(f"{where} names {name!r}, which is no usable path: {error}") from error
    if not inside:
        raise CaseError(f"{where} names {name!r}, which is outside {root}; copy it there")
    if not there:
        raise CaseError(f"{where} names {name!r}, which is not in {root}")
    return path


def _known(table: Mapping[str, Any], keys: set[str], where: str) -> None:
    """Refuse keys that would be ignored."""
    if unknown := set(table) - keys:
        raise CaseError(f"{where} has unknown keys {sorted(unknown)}; known: {sorted(keys)}")


def _string(table: Mapping[str, Any], key: str, where: str) -> str:
    """A value that has to be text."""
    value = table[key]
    if not isinstance(value, str):
        raise CaseError(f"{where}: {key} = {value!r} has to be a string in quotes")
    return value


def _whole(table: Mapping[str, Any], key: str, least: int, where: str) -> int | None:
    """A value that has to be a whole number, if it is there."""
    value = table.get(key)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise CaseError(f"{where}: {key} = {value!r} has to be a whole number from {least}")
    return value
