"""The portable bundles of a night: one for each size, with the references of every dtype."""

from __future__ import annotations

import shutil
from pathlib import Path

from parity.nightly.asked import checkpoint_of
from parity.nightly.cells import REFERENCES, TINY
from parity.portable.command import bundle, tar_of


def make_bundle(size: str, cases: tuple[str, ...], output: Path, tar: bool) -> None:
    """Make the bundle of a size below ``output``, as a folder or as a tar file.

    Raises:
        ParityError: it cannot be made.
    """
    folder = output / size
    bundle(
        folder, list(cases) or None, list(REFERENCES), tar=tar, with_checkpoint=size == TINY.name,
        checkpoint=checkpoint_of(size),
    )  # fmt: skip
    if tar and tar_of(folder).is_file():
        shutil.rmtree(folder)
