"""The portable bundle: everything a comparison needs of the reference, in one folder.

::

    manifest.json      what is in it, how exact it is, what made it, the hash of every file
    cases.toml         the cases; the files that they read stand beside it
    records/           a JSON file a case and dtype: which point uses which tensor
    tensors/           safetensors; each content once, in the first record that has it
    checkpoint/        the model's files, where they were asked for

It comes from another machine, so nothing in it is believed before its hash fits, no name in it
leads out of the folder, and nothing in it is ever unpickled.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from parity.core.errors import BundleError
from parity.core.files import file_hash
from parity.core.store import json_hash

PORTABLE_FORMAT = 1
KIND = "parity portable bundle"
MANIFEST = "manifest.json"
CASES = "cases.toml"
RECORDS, TENSORS, CHECKPOINT = "records", "tensors", "checkpoint"
MAX_JSON_BYTES = 64 << 20
"""Of the manifest and of one record."""
MAX_FILES = 20_000
_HASH = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"(?!\.)[^\x00-\x1f\x7f/\\\\:*?\"<>|]+(?<![. ])")
"""A part of a path: a name on every system, nothing hidden, nothing that leads upwards."""


@dataclass(frozen=True)
class Stored:
    """A file of the bundle."""

    sha256: str
    size: int
    """In bytes."""


@dataclass(frozen=True)
class Record:
    """What the reference left behind on one case in one dtype."""

    case: str
    dtype: str
    """The reference's; a dtype that is held to it uses the same record."""
    size: int = field(default=0, compare=False)
    """Bytes of all tensors that it uses, whichever record brought them."""

    @property
    def name(self) -> str:
        """Name of its files, without folder and suffix."""
        return f"{self.case}-{self.dtype}"


@dataclass(frozen=True)
class Manifest:
    """What a portable bundle says of itself."""

    cases: tuple[str, ...]
    dtypes: tuple[str, ...]
    """Those it was made for, which may share records."""
    records: tuple[Record, ...]
    files: Mapping[str, Stored]
    """Every file but the manifest, by its path."""
    checkpoint: Mapping[str, str]
    """The files of the model it was made with, each with its hash."""
    checkpoint_name: str
    exactness: Mapping[str, object]
    """What is kept exactly and what is rounded or sampled, in words and figures."""
    made: Mapping[str, object]
    """What made it: versions, commit, cases file."""
    sha256: str = field(default="", compare=False)
    """Hash of all of the above, and so of the whole bundle."""

    @property
    def carries_checkpoint(self) -> bool:
        """Whether the model's files are in it."""
        return any(path.startswith(f"{CHECKPOINT}/") for path in self.files)

    @property
    def size(self) -> int:
        """Bytes of all files that it lists."""
        return sum(one.size for one in self.files.values())

    def to_json(self) -> str:
        """The manifest's text; the same content gives the same bytes."""
        data = {"kind": KIND, "format": PORTABLE_FORMAT, **asdict(self)}
        del data["sha256"]
        data["sha256"] = json_hash(data)
        return json.dumps(data, indent=1, sort_keys=True) + "\n"


def parse(text: bytes, where: Path) -> Manifest:
    """The manifest in ``text``, which was read from ``where``.

    Raises:
        BundleError: it is damaged, no portable bundle's, or of another format.
    """
    data = json_object(text, where)
    if data.get("kind") != KIND:
        raise BundleError(
            f"{where} is no portable bundle's manifest; `python -m parity bundle` makes one"
        )
    if data.get("format") != PORTABLE_FORMAT:
        raise BundleError(
            f"{where} has format {data.get('format')!r}, this version reads {PORTABLE_FORMAT}; "
            "make the bundle again with the version of parity that is to read it"
        )
    claimed = data.pop("sha256", None)
    if claimed != json_hash(data):
        raise damaged(where, "its content does not match its own hash")
    try:
        return _manifest(data, claimed)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise damaged(where, f"unexpected structure ({error})") from error


def _manifest(data: Mapping[str, Any], sha256: str) -> Manifest:
    files = {path: Stored(**entry) for path, entry in data["files"].items()}
    manifest = Manifest(
        cases=_texts(data["cases"]),
        dtypes=_texts(data["dtypes"]),
        records=tuple(Record(**entry) for entry in data["records"]),
        files=files,
        checkpoint=dict(data["checkpoint"]),
        checkpoint_name=str(data["checkpoint_name"]),
        exactness=dict(data["exactness"]),
        made=dict(data["made"]),
        sha256=sha256,
    )
    _check_files(files)
    for record in manifest.records:
        if not isinstance(record.size, int) or isinstance(record.size, bool) or record.size < 0:
            raise ValueError(f"the size of record {record.name}")
        if record.case not in manifest.cases or f"{RECORDS}/{record.name}.json" not in files:
            raise ValueError(f"record {record.name} without its case or file")
    if not manifest.records or CASES not in files:
        raise ValueError("no record, or no cases file")
    return manifest


def _texts(values: Any) -> tuple[str, ...]:
    if not isinstance(values, list) or not all(isinstance(one, str) for one in values):
        raise ValueError("a list of names is not one")
    return tuple(values)


def _check_files(files: Mapping[str, Stored]) -> None:
    """Refuse paths that lead anywhere else, and sizes and hashes that are none."""
    if len(files) > MAX_FILES:
        raise ValueError(f"{len(files)} files are more than a bundle can have")
    folded: set[str] = set()
    for path, stored in files.items():
        if not is_safe(path) or path.lower() in folded or path == MANIFEST:
            raise ValueError(f"the path {path!r}")
        folded.add(path.lower())
        size = stored.size
        if not isinstance(size, int) or isinstance(size, bool) or size < 0:
            raise ValueError(f"the size of {path}")
        if not isinstance(stored.sha256, str) or not _HASH.fullmatch(stored.sha256):
            raise ValueError(f"the hash of {path}")


def is_safe(path: str) -> bool:
    """Whether a path of a bundle stays in its folder on every system, and hides nothing."""
    parts = path.split("/")
    return len(path) <= 1000 and all(_NAME.fullmatch(part) for part in parts)


def open_manifest(folder: Path) -> Manifest:
    """The manifest of the portable bundle in ``folder``, its own hash checked.

    Raises:
        BundleError: there is none, or as `parse`.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise BundleError(
            f"{folder} is no portable bundle: it has no {MANIFEST}; `python -m parity bundle` "
            "makes one, where PyTorch is"
        )
    return parse(read_json_bytes(path), path)


def verify(folder: Path, manifest: Manifest) -> None:
    """Check that every file of the bundle is there and has its size and hash.

    Files that the manifest does not list are not looked at, and never read.

    Raises:
        BundleError: one is missing, changed, or a link that leads out of the folder.
    """
    for name, stored in manifest.files.items():
        verified(folder, name, stored)


def verified(folder: Path, name: str, stored: Stored) -> Path:
    """The path of one file of the bundle, after checking it.

    Raises:
        BundleError: it is missing or changed, or leads out of the folder.
    """
    path = inside(folder, name)
    if not path.is_file():
        raise damaged(path, "it is missing")
    if path.stat().st_size != stored.size:
        raise damaged(path, f"it has {path.stat().st_size:,} bytes instead of {stored.size:,}")
    if file_hash(path) != stored.sha256:
        raise damaged(path, "its content does not match its hash")
    return path


def inside(folder: Path, name: str) -> Path:
    """The path of ``name``, a relative path in the folder.

    Raises:
        BundleError: it leads out of the folder, through a link for instance.
    """
    path = folder.joinpath(*PurePosixPath(name).parts)
    if not path.resolve().is_relative_to(folder.resolve()):
        raise damaged(path, "it leads out of the bundle")
    return path


def read_record(folder: Path, manifest: Manifest, record: Record) -> dict[str, Any]:
    """What a record says, its hash checked.

    Raises:
        BundleError: it is missing, damaged or too large.
    """
    name = f"{RECORDS}/{record.name}.json"
    path = verified(folder, name, manifest.files[name])
    return json_object(read_json_bytes(path), path)


def read_json_bytes(path: Path) -> bytes:
    """The bytes of a JSON file of the bundle.

    Raises:
        BundleError: it cannot be read, or is too large.
    """
    try:
        size = path.stat().st_size
        if size > MAX_JSON_BYTES:
            raise damaged(path, f"{size:,} bytes are more than it can have")
        return path.read_bytes()
    except OSError as error:
        raise damaged(path, error.strerror or str(error)) from error


def json_object(text: bytes, where: Path) -> dict[str, Any]:
    """The JSON object in ``text``.

    Raises:
        BundleError: it is something else.
    """
    try:
        data = json.loads(text.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise damaged(where, str(error)) from error
    if not isinstance(data, dict):
        raise damaged(where, "it is not a JSON object")
    return data


def damaged(path: Path, reason: str) -> BundleError:
    """The error of a file that is not what the bundle's maker wrote."""
    return BundleError(
        f"{path} is damaged: {reason}; the bundle is not used. Copy it again, or make it again "
        "with `python -m parity bundle`"
    )
