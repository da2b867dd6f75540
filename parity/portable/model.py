"""The checkpoint that a portable bundle was made with, and whether this is it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from parity.core.errors import ParityError
from parity.core.files import file_hash

SUFFIXES = frozenset({".jinja", ".json", ".model", ".safetensors", ".txt"})
"""Of files that decide what a model computes; others may differ from copy to copy."""


def model_files(checkpoint: Path) -> list[Path]:
    """The files of a checkpoint that decide what is computed with it, by name.

    Raises:
        ParityError: there is no such folder.
    """
    try:
        return sorted(
            path
            for path in checkpoint.iterdir()
            if path.suffix in SUFFIXES and not path.name.startswith(".") and path.is_file()
        )
    except OSError as error:
        raise ParityError(f"cannot read the checkpoint {checkpoint}: {error.strerror}") from error


def check_model(checkpoint: Path, recorded: Mapping[str, str], name: str) -> None:
    """See that ``checkpoint`` is the one that a bundle was made with.

    Args:
        checkpoint: its folder here.
        recorded: hash of every file there, as the bundle has them.
        name: what the bundle calls it.

    Raises:
        ParityError: a file is missing, another one, or one that the other does not have.
    """
    here = {path.name: path for path in model_files(checkpoint)}
    different = sorted(here.keys() ^ recorded.keys())
    different += sorted(
        file
        for file, path in here.items()
        if file in recorded and file_hash(path) != recorded[file]
    )
    if different:
        raise ParityError(
            f"{checkpoint} is not the checkpoint that the bundle was made with ({name}): "
            f"{', '.join(different[:5])}{' and more' if len(different) > 5 else ''} "
            f"{'is' if len(different) == 1 else 'are'} missing, different or not in that one; name "
            "its folder with --checkpoint, or make the bundle with --with-checkpoint"
        )
