"""Cases: the inputs of a comparison, read from one TOML file."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parity.core.errors import CaseError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

CASE_KEYS = {"about", "decode_steps", "max_pixels", "prompts"}
PART_KEYS = ({"image"}, {"video", "fps"}, {"text"}, {"text_file"})
FRAME_SUFFIXES = {".png", ".jpg"}


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

    @property
    def files(self) -> tuple[Path, ...]:
        """Every file the case reads."""
        parts = [part for prompt in self.prompts for part in prompt]
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


def load_cases(path: Path) -> dict[str, Case]:
    """Read every case in ``path``; files are looked for beside it.

    Raises:
        CaseError: the file is missing or malformed, or a case names a file that is not there.
    """
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CaseError(f"cannot read the cases file {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
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
    return [cases[name] for name in names] if names else list(cases.values())


def _case(name: str, table: Any, path: Path) -> Case:
    """One table as a case."""
    where = f"{path}: case {name!r}"
    if not isinstance(table, dict) or not isinstance(table.get("prompts"), list):
        raise CaseError(f"{where} needs a list of prompts ([[{name}.prompts]])")
    if unknown := set(table) - CASE_KEYS:
        raise CaseError(f"{where} has unknown keys {sorted(unknown)}; known: {sorted(CASE_KEYS)}")
    steps, budget = table.get("decode_steps", 0), table.get("max_pixels")
    if not _count(steps) or not (budget is None or (_count(budget) and budget > 0)):
        raise CaseError(f"{where}: decode_steps and max_pixels have to be whole numbers from 0")
    if not table["prompts"]:
        raise CaseError(f"{where} has an empty list of prompts")
    prompts = tuple(_prompt(prompt, where, path.parent) for prompt in table["prompts"])
    return Case(name, str(table.get("about", "")), prompts, steps, budget)


def _prompt(prompt: Any, where: str, root: Path) -> tuple[Part, ...]:
    """One batch row's parts."""
    content = prompt.get("content") if isinstance(prompt, dict) else None
    if not isinstance(content, list) or not content:
        raise CaseError(f"{where}: a prompt needs a non-empty list named content")
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
        return Part(text=str(part["text"]))
    if "text_file" in part:
        return Part(text=_inside(root, part["text_file"], where).read_text(encoding="utf-8"))
    if "image" in part:
        return Part(image=_inside(root, part["image"], where))
    if "video" not in part:
        raise CaseError(f"{where}: {part!r} has fps and no video")
    folder = _inside(root, part["video"], where)
    frames = tuple(sorted(f for f in folder.iterdir() if f.suffix in FRAME_SUFFIXES))
    if not frames:
        raise CaseError(f"{where}: {folder} holds no frames (*.png, *.jpg)")
    return Part(frames=frames, fps=float(part.get("fps", 2.0)))


def _inside(root: Path, name: object, where: str) -> Path:
    """The existing file ``name`` below ``root``."""
    path = (root / str(name)).resolve()
    if not path.is_relative_to(root.resolve()):
        raise CaseError(f"{where} names {name!r}, which is outside {root}")
    if not path.exists():
        raise CaseError(f"{where} names {name!r}, which is not in {root}")
    return path


def _count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
