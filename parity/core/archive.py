"""A folder as one tar file and back: the same content gives the same bytes, and none escapes.

Only plain files travel, by plain USTAR headers. What else a tar file can hold (links, devices,
sparse files, extended headers of any size) is refused when it is met.
"""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from parity.core.errors import BundleError, ParityError
from parity.core.files import temporary_beside
from parity.core.portable import (
    MANIFEST,
    MAX_JSON_BYTES,
    Manifest,
    damaged,
    inside,
    is_safe,
    parse,
)

PIECE = 1 << 20
BLOCK = tarfile.BLOCKSIZE


def write_tar(folder: Path, manifest: Manifest, tar: Path) -> None:
    """Write a portable bundle as a tar file: the manifest first, then every file by name.

    Raises:
        ParityError: a file or its name is too long for a tar file, or it cannot be written.
    """
    with (
        temporary_beside(tar) as temporary,
        tarfile.open(temporary, mode="w", format=tarfile.USTAR_FORMAT) as archive,
    ):
        for name in (MANIFEST, *sorted(manifest.files)):
            _add(archive, folder, name, tar)


def _add(archive: tarfile.TarFile, folder: Path, name: str, tar: Path) -> None:
    """Add one file, with nothing in its header that depends on when or by whom."""
    path = folder / name
    header = tarfile.TarInfo(name)
    header.size, header.mode = path.stat().st_size, 0o644
    try:
        with path.open("rb") as file:
            archive.addfile(header, file)
    except ValueError as error:  # of tarfile, for a number or a name that does not fit
        raise ParityError(
            f"{name} ({header.size:,} bytes) does not fit into {tar}: {error}; copy the folder "
            "itself, or give it shorter names"
        ) from error


def read_manifest(tar: Path) -> Manifest:
    """The manifest of the portable bundle in ``tar``.

    Raises:
        BundleError: it is no such file, or damaged.
    """
    with _opened(tar) as members:
        return parse(members.manifest(), tar)


def unpack(tar: Path, into: Path) -> Manifest:
    """Write the files of the portable bundle in ``tar`` to the empty folder ``into``.

    Each is checked against the manifest, which stands first, while it is written: name, size and
    hash. Nothing that the manifest does not list is written.

    Raises:
        BundleError: the file is damaged, or holds something that no bundle does.
        OSError: the folder cannot be written.
    """
    with _opened(tar) as members:
        text = members.manifest()
        manifest = parse(text, tar)
        wanted = dict(manifest.files)
        while (header := members.next()) is not None:
            stored = wanted.pop(header.name, None)
            if stored is None or header.size != stored.size:
                raise damaged(tar, f"{header.name!r} is not in its manifest with that size, once")
            if members.copy(header, into) != stored.sha256:
                raise damaged(tar, f"the content of {header.name} does not match its hash")
        if wanted:
            raise damaged(tar, f"it ends without {min(wanted)}")
    (into / MANIFEST).write_bytes(text)
    return manifest


@contextmanager
def _opened(tar: Path) -> Iterator[_Members]:
    """The members of a tar file.

    Raises:
        BundleError: it cannot be read.
    """
    try:
        file = tar.open("rb")
    except OSError as error:
        raise BundleError(f"cannot read {tar}: {error.strerror}") from error
    with file:
        yield _Members(file, tar)


@dataclass
class _Members:
    """A tar file, read from its beginning to its end."""

    file: IO[bytes]
    where: Path

    def manifest(self) -> bytes:
        """The text of the first member, which has to be the manifest."""
        header = self.next()
        if header is None or header.name != MANIFEST or header.size > MAX_JSON_BYTES:
            raise BundleError(
                f"{self.where} is no portable bundle: it does not begin with a {MANIFEST}; "
                "`python -m parity bundle --tar` makes one"
            )
        text = b"".join(self._pieces(header.size))
        self._skip_padding(header.size)
        return text

    def next(self) -> tarfile.TarInfo | None:
        """The header of the next member; ``None`` at the end of the archive."""
        block = self.file.read(BLOCK)
        if block == bytes(BLOCK):
            return None
        try:
            header = tarfile.TarInfo.frombuf(block, "utf-8", "strict")
        except (tarfile.HeaderError, ValueError) as error:
            raise damaged(self.where, f"it is no plain tar file ({error})") from error
        if header.type != tarfile.REGTYPE or not is_safe(header.name) or header.size < 0:
            raise damaged(self.where, f"{header.name!r} is no plain file of a bundle")
        return header

    def copy(self, header: tarfile.TarInfo, into: Path) -> str:
        """Write a member's content to its place in the folder ``into``; return its SHA-256."""
        place = inside(into, header.name)
        place.parent.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256()
        with place.open("xb") as copy:
            for piece in self._pieces(header.size):
                digest.update(piece)
                copy.write(piece)
        self._skip_padding(header.size)
        return digest.hexdigest()

    def _pieces(self, size: int) -> Iterator[bytes]:
        """A member's content."""
        while size:
            piece = self.file.read(min(size, PIECE))
            if not piece:
                raise damaged(self.where, "it ends too early")
            size -= len(piece)
            yield piece

    def _skip_padding(self, size: int) -> None:
        self.file.read(-size % BLOCK)
