"""Writing cases to a cases file of their own, with the files that they read beside it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from parity.core.cases import Case, Part, load_cases
from parity.core.errors import CaseError, ParityError
from parity.core.files import file_hash
from parity.core.portable import CASES, is_safe

FILES = "cases"
"""Folder of what the cases read."""


def write_cases(cases: Sequence[Case], root: Path, folder: Path) -> None:
    """Write ``cases`` to ``folder``, so that reading them there gives them again.

    Texts that come from files are written out. Pictures keep their paths below ``root``, so that
    two cases that read one file share its copy.

    Args:
        cases: what to write.
        root: the folder of the file that they come from.
        folder: of the portable bundle.

    Raises:
        CaseError: a file has a name that is none on every system, or the copy is another case.
        ParityError: a file cannot be copied.
    """
    (folder / CASES).write_text(cases_text(cases, root), encoding="utf-8")
    for file in sorted({file for case in cases for file in case.files}):
        place = folder / _place(file, root)
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, place)
        except OSError as error:
            raise ParityError(f"cannot copy {file} to {place}: {error.strerror}") from error
    _check(cases, folder)


def cases_text(cases: Sequence[Case], root: Path) -> str:
    """The cases file of ``cases``, whose own files are below ``root``.

    Raises:
        CaseError: a file has a name that is none on every system.
    """
    return "\n".join("\n".join(_table(case, root)) for case in cases)


def _check(cases: Sequence[Case], folder: Path) -> None:
    """Read the copy back: links among the files could have made it something else."""
    copies = load_cases(folder / CASES)
    for case in cases:
        copy = copies[case.name]
        same = copy.inputs == case.inputs and len(copy.files) == len(case.files)
        if not same or any(
            file_hash(one) != file_hash(other)
            for one, other in zip(copy.files, case.files, strict=True)
        ):
            raise CaseError(
                f"the case {case.name!r} cannot travel: its copy reads other files; let every "
                "video be a folder of plain files"
            )


def _table(case: Case, root: Path) -> Iterator[str]:
    """The lines of one case."""
    name = quoted(case.name)
    yield f"[{name}]"
    yield f"about = {quoted(case.about)}"
    yield f"decode_steps = {case.decode_steps}"
    yield f"chunks = {case.chunks}"
    yield f"mask_value = {case.mask_value}"
    if case.max_pixels is not None:
        yield f"max_pixels = {case.max_pixels}"
    for key, prompts in (("prompts", case.prompts), ("again", case.again)):
        for prompt in prompts:
            yield f"[[{name}.{key}]]"
            yield "content = [" + ", ".join(_part(part, root) for part in prompt) + "]"


def _part(part: Part, root: Path) -> str:
    """A part of a prompt as an inline table."""
    if part.text is not None:
        return f"{{ text = {quoted(part.text)} }}"
    if part.image is not None:
        return f"{{ image = {quoted(_place(part.image, root))} }}"
    video = _place(part.frames[0], root).rpartition("/")[0]
    return f"{{ video = {quoted(video)}, fps = {part.fps!r} }}"


def _place(file: Path, root: Path) -> str:
    """Where a case's file stands in the bundle."""
    place = f"{FILES}/{file.relative_to(root.resolve()).as_posix()}"
    if not is_safe(place):
        raise CaseError(f"{file} cannot travel: rename it so that it is a file's name everywhere")
    return place


def quoted(text: str) -> str:
    """A TOML string. JSON's is one, but for DEL, which TOML wants escaped."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
