"""What a night is asked for, and where its things are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from parity.core.files import file_hash, locked, replace_folder
from parity.core.store import json_hash
from parity.nightly.cells import WIDE, Cell
from parity.settings import HERE, Settings

RUN_SECONDS = 3 * 3600.0
_WIDE_SOURCES = ("bench/checkpoints.py", "nightly/wide.py", "seeds_weights.py")


@dataclass(frozen=True)
class Asked:
    """The options of a night; what a run takes as well has its name there."""

    output: Path
    history: str
    """Folder with a database for each cell, or the URL of one for all."""
    device: str = "CPU"
    bundles: Path | None = None
    """Folder of portable bundles, ``SIZE`` or ``SIZE.tar``; without one references are captured."""
    candidate: str = Settings.candidate
    plant: str | None = None
    cases: tuple[str, ...] = ()
    """Cases to run; none: those of the size."""
    seconds: float = RUN_SECONDS
    """For one run."""
    resume: bool = False
    """Take finished runs over, and go on with one that was interrupted."""

    def folder(self, cell: Cell) -> Path:
        """Where all that a cell leaves behind goes."""
        return self.output / cell.name

    def bundle(self, cell: Cell) -> Path | None:
        """The bundle of a cell's size, which may not be there."""
        if self.bundles is None:
            return None
        tar = self.bundles / f"{cell.size}.tar"
        return tar if tar.exists() else self.bundles / cell.size

    def history_of(self, cell: Cell) -> str:
        """The history that a cell is held against: one of its own, so that no night is crowded out.

        A gate looks back so many runs; those of fifteen other cells would be most of them.
        """
        if "://" in self.history:
            return self.history
        return str(Path(self.history) / f"{cell.name}.sqlite")


def default_checkpoints() -> Path:
    """The user's cache folder for checkpoints that are made here."""
    import platformdirs

    return Path(platformdirs.user_cache_dir("parity")) / "checkpoints"


def checkpoint_of(size: str, place: Path | None = None) -> Path:
    """The checkpoint of a size; the wide one is written once, below ``place``.

    Raises:
        ParityError: it cannot be written.
    """
    if size != WIDE.name:
        return Settings.checkpoint
    from parity.nightly.wide import write_wide

    place = place or default_checkpoints()
    made_by = json_hash([file_hash(HERE / name) for name in _WIDE_SOURCES])[:16]
    folder = place / f"{size}-{made_by}"
    with locked(folder):
        if not folder.exists():
            staging = folder.with_name(f".{folder.name}.new")
            write_wide(Settings.checkpoint, staging)
            replace_folder(staging, folder)
    return folder
