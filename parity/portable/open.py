"""Opening a portable bundle that came from another machine: a folder, or a tar file of one."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

from parity.core.archive import read_manifest, unpack
from parity.core.errors import ParityError
from parity.core.files import locked, replace_folder
from parity.core.numerics import precision
from parity.core.portable import CASES, CHECKPOINT, Manifest, open_manifest, verify
from parity.core.store import mark_used
from parity.portable.model import check_model
from parity.portable.unpacked import default_place, let_go_of_unused
from parity.settings import Settings


def on_bundle(settings: Settings, dtypes: tuple[str, ...] | None) -> Settings:
    """The settings of a run on the portable bundle that they name, which is checked in full.

    Its cases, its checkpoint (unless another folder with the same files is named) and, where none
    are asked for, its dtypes take the place of the settings' own.

    Args:
        settings: with ``bundle`` set to a folder or a tar file.
        dtypes: those asked for; ``None`` for all that the bundle was made for.

    Raises:
        ParityError: it is damaged, lacks what is asked for, or is of another checkpoint.
    """
    assert settings.bundle is not None
    folder = opened(settings.bundle)
    manifest = open_manifest(folder)
    verify(folder, manifest)
    if settings.cases_file not in (Settings.cases_file, folder / CASES):
        raise ParityError(
            f"{settings.bundle} has cases of its own; leave --cases-file {settings.cases_file} out"
        )
    wanted = dtypes or manifest.dtypes
    _check_asked(settings.cases, wanted, manifest, settings.bundle)
    checkpoint = settings.checkpoint
    if manifest.carries_checkpoint and checkpoint == Settings.checkpoint:
        checkpoint = folder / CHECKPOINT
    check_model(checkpoint, manifest.checkpoint, manifest.checkpoint_name)
    reference = str(manifest.made.get("reference"))
    return replace(settings, bundle=folder, cases_file=folder / CASES, dtypes=wanted,
                   checkpoint=checkpoint, reference=reference)  # fmt: skip


def _check_asked(
    cases: tuple[str, ...], dtypes: tuple[str, ...], manifest: Manifest, where: Path
) -> None:
    """Refuse cases and dtypes that the bundle holds no reference of."""
    there = {record.dtype for record in manifest.records}
    lacking = [case for case in cases if case not in manifest.cases]
    lacking += [dtype for dtype in dtypes if precision(dtype).reference not in there]
    if lacking:
        raise ParityError(
            f"{where} has no reference for {', '.join(lacking)}; it was made for "
            f"{', '.join(manifest.cases)} in {', '.join(manifest.dtypes)}. Make one with more "
            "where PyTorch is: `python -m parity bundle`"
        )


def opened(path: Path, place: Path | None = None) -> Path:
    """The folder of a portable bundle; a tar file is unpacked once, under its content's hash.

    Args:
        path: a folder or a tar file.
        place: where tar files are unpacked; the user's cache if it is not given.

    Raises:
        ParityError: there is nothing of the kind, or no place to unpack it.
    """
    if path.is_dir():
        return path
    if not path.exists():
        raise ParityError(f"there is no bundle at {path}")
    place = place or default_place()
    folder = place / read_manifest(path).sha256
    try:
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
        with locked(folder):
            if not folder.exists():
                _unpack(path, folder)
            mark_used(folder)
        let_go_of_unused(place)
    except OSError as error:
        raise ParityError(
            f"cannot unpack {path} to {folder}: {error.strerror or error}; free some space, or "
            "unpack it elsewhere and name the folder"
        ) from error
    return folder


def _unpack(tar: Path, folder: Path) -> None:
    """Write the files in ``tar`` to ``folder``, all or nothing."""
    staging = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        unpack(tar, staging)
        replace_folder(staging, folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
